"""What windows cost and what they change: the seam, and memory of one long RNA.

The seam: RNAs of the sample in the box are joined, and nucleotides at a given distance
from a window's edge are held against themselves in the middle of a window. Given is the
length of the difference over the length of the activation, and how many of the
dictionary's features of a nucleotide stay the same.

Memory: the peak resident size of a process of its own that loads the model and reads
one window, and the peak after it read one random RNA with `LanguageModel.spans`.

    python bench/lm_windows.py [--n-nucleotides 100000]
"""

import argparse
import json
import multiprocessing
import resource
import time

import numpy as np
import torch

import ribolex_bundle
from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna import read_rnas

WINDOW = 1022
DEPTHS = (0, 8, 16, 32, 64, 128, 256, 384)
N_PLACES = 40


def join_sample(n_nucleotides: int, random: np.random.Generator) -> str:
    """Returns RNAs of the sample in random order, one after the other."""
    sample = [r.sequence for r in read_rnas(ribolex_bundle.sample_path())]
    joined = "".join(sample[i] for i in random.permutation(len(sample)))
    return joined[:n_nucleotides]


def read_at(
    lm: LanguageModel, rna: str, starts: list[int], places: list[int], layer: int
) -> np.ndarray:
    """Returns the activation of each place, read in the window from its start on."""
    windows = [rna[start : start + WINDOW] for start in starts]
    found = lm.activations(windows, [layer])
    pairs = zip(found, starts, places, strict=True)
    return np.stack([x[layer][place - start] for x, start, place in pairs])


def seam(lm: LanguageModel, dictionary: Dictionary) -> dict[int, tuple[float, float]]:
    """Returns median difference and mean share of features kept, by depth."""
    random = np.random.default_rng(0)
    rna = join_sample(6000, random)
    layer = dictionary.identity.layer
    places = random.integers(WINDOW, len(rna) - WINDOW, N_PLACES).tolist()
    middle = read_at(lm, rna, [p - WINDOW // 2 for p in places], places, layer)
    features = dictionary.sae.encode(torch.from_numpy(middle)).indices.tolist()
    out = {}
    for depth in DEPTHS:
        differences, kept = [], []
        for starts in (
            [p - depth for p in places],
            [p - WINDOW + 1 + depth for p in places],
        ):
            got = read_at(lm, rna, starts, places, layer)
            off = np.linalg.norm(got - middle, axis=1)
            differences += (off / np.linalg.norm(middle, axis=1)).tolist()
            found = dictionary.sae.encode(torch.from_numpy(got)).indices.tolist()
            kept += [
                len(set(a) & set(b)) / len(a)
                for a, b in zip(found, features, strict=True)
            ]
        out[depth] = float(np.median(differences)), float(np.mean(kept))
        print(f"| {depth} | {out[depth][0]:.3f} | {out[depth][1]:.0%} |", flush=True)
    return out


def read_long(n_nucleotides: int) -> tuple[float, float, float]:
    """Returns the peak in MiB after one window, after the RNA, and CPU seconds."""
    torch.set_num_threads(1)
    lm = load_lm("bundled")
    lm.activations(["A" * WINDOW], [lm.config.n_layers])
    rna = "".join(np.random.default_rng(0).choice(list("ACGU"), n_nucleotides))
    before, begun = peak_mib(), time.process_time()
    n_read = sum(
        len(span.states[lm.config.n_layers])
        for span in lm.spans(lm.prepare([rna])[0], [lm.config.n_layers])
    )
    if n_read != n_nucleotides:
        raise SystemExit(f"{n_read} nucleotides came back of {n_nucleotides}")
    return before, peak_mib(), time.process_time() - begun


def peak_mib() -> float:
    """Returns the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-nucleotides", type=int, default=100_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    registry = FolderRegistry(ribolex_bundle.dictionaries_path())
    dictionary = registry.get("ribolex-mini-l6")
    print("| nucleotides to the edge | difference | features kept |")
    print("|---|---|---|")
    differences = seam(load_lm("bundled"), dictionary)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        window_mib, peak, seconds = pool.apply(read_long, (arguments.n_nucleotides,))
    print(
        json.dumps(
            {
                "bench": "lm_windows",
                "seam_difference": {d: round(x[0], 3) for d, x in differences.items()},
                "features_kept": {d: round(x[1], 3) for d, x in differences.items()},
                "n_nucleotides": arguments.n_nucleotides,
                "peak_mib_one_window": round(window_mib, 1),
                "peak_mib": round(peak, 1),
                "cpu_s": round(seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
