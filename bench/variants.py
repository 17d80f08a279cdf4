"""How fast all substitutions of an RNA are scanned, beside one variant at a time.

A server in a process of its own, one caller, one random RNA, the default dictionary.
The loop is what one would write first and gives the same numbers: for each variant its
own run for the code, for the letters, and with the substituted letter hidden. Both
have so many threads; processor time is the server's alone, that of its start left out,
so ratios hold on a busy machine, too. Linux only.

    python bench/variants.py [--n-nucleotides N] [--n-loop N] [--threads N]
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np
import torch

from ribolex.client import Client, VariantScan
from ribolex.client.child import running_server
from ribolex.dictionary import Codes, Dictionary
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import open_registry
from ribolex.rna.variants import Variant, saturation
from ribolex.server.dictionaries import choose_default
from ribolex.server.effects import Look, Reference, hidden_of
from ribolex.server.engine.encoding import Encoding
from ribolex.server.engine.scoring import Scored, letter_likelihoods

TICKS = os.sysconf("SC_CLK_TCK")


def server_seconds() -> float:
    """Gives the processor time of the one child of this process."""
    (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def one_at_a_time(
    lm: LanguageModel, dictionary: Dictionary, text: str, hidden: tuple[int, ...]
) -> tuple[Scored, np.ndarray]:
    """Gives what the model says of one variant, and of the hidden letters in it."""
    identity, sae = dictionary.identity, dictionary.sae
    (layers,) = lm.activations([text], [identity.layer], identity.hook)
    top = sae.encode(torch.from_numpy(layers[identity.layer]))
    codes = Codes.from_topk(top.indices.numpy(), top.values.numpy(), sae.n_features)
    (logits,) = lm.logits([text])
    (masked,) = lm.logits([text], [hidden])
    table = letter_likelihoods(torch.from_numpy(masked[list(hidden)]))
    letters = letter_likelihoods(torch.from_numpy(logits))
    return Scored(Encoding(codes, None, 0.0), letters), table


def loop(
    lm: LanguageModel, dictionary: Dictionary, variants: list[Variant]
) -> list[float]:
    """Gives what each variant gains, one after the other."""
    text = variants[0].reference
    scored, _ = one_at_a_time(lm, dictionary, text, (0,))
    reference, gained = Reference(text, scored, Look(10, 8, False)), []
    for variant in variants:
        hidden = hidden_of(variant) or ()
        found, table = one_at_a_time(lm, dictionary, variant.sequence, hidden)
        gained.append(reference.effect(variant, found, table).gains.gained)
    return gained


def scan(text: str, threads: int) -> tuple[VariantScan, float, float]:
    """Gives the scan, and what it took: seconds, and seconds of processor time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(Path(folder), options=["--threads", str(threads)]) as address,
        Client(address, timeout_s=3600) as client,
    ):
        client.scan(text, saturate=(0, 2))
        begun_s, used_s = time.perf_counter(), server_seconds()
        found = client.scan(text, saturate=True)
        return found, time.perf_counter() - begun_s, server_seconds() - used_s


def main() -> None:
    """Runs both and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-nucleotides", type=int, default=200)
    parser.add_argument("--n-loop", type=int, default=60, help="variants of the loop")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    text = "".join(Random(0).choices("ACGU", k=options.n_nucleotides))
    found, wall_s, cpu_s = scan(text, options.threads)
    lm, store = load_lm("bundled"), open_registry("bundled")
    dictionary = store.get(choose_default(store, lm))
    variants = list(saturation(text, 0, len(text)))
    step = max(1, len(variants) // options.n_loop)
    chosen = range(0, len(variants), step)
    loop(lm, dictionary, variants[:2])
    begun_s, used_s = time.perf_counter(), time.process_time()
    gained = loop(lm, dictionary, [variants[i] for i in chosen])
    loop_cpu_s = (time.process_time() - used_s) / len(chosen)
    loop_wall_s = (time.perf_counter() - begun_s) / len(chosen)
    off = max(
        abs(one - found.variants[i].gained) / found.code_sum
        for one, i in zip(gained, chosen, strict=True)
    )
    per_s = len(found) / cpu_s
    figures = {
        "variants": len(found),
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "variants_per_cpu_minute": round(60 * per_s),
        "variants_per_wall_minute": round(60 * len(found) / wall_s),
        "loop_per_cpu_minute": round(60 / loop_cpu_s),
        "loop_per_wall_minute": round(60 / loop_wall_s),
        "largest_difference": float(f"{off:.1e}"),
    }
    setting = {
        "model": lm.name,
        "dictionary": dictionary.ref,
        "n_nucleotides": len(text),
        "n_loop": len(chosen),
        "threads": options.threads,
    }
    ratios = {"scan_over_loop_cpu": round(per_s * loop_cpu_s, 2)}
    line = {
        "bench": "variants", "setting": setting, "ratios": ratios, "figures": figures
    }  # fmt: skip
    print(json.dumps(line))


if __name__ == "__main__":
    main()
