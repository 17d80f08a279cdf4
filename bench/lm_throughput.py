"""Nucleotides a second through RiNALMo: ours, and multimolecule's beside it.

Both run the same random weights on the same RNAs, one thread each, in turns; medians
of CPU time count (other work on the machine then matters little), or of wall time on a
GPU. Ours begins at token arrays and packs in the timed part; multimolecule's batches
are tokenised and padded beforehand. The mix: four RNAs in five are drawn from the
sample in the box, every fifth is joined from such to a length from 200 to 1,000,
evenly on a logarithmic scale.

    python bench/lm_throughput.py [--multimolecule-python PATH] [--sizes nano ...]

multimolecule is licensed AGPL, so it lives in an environment of its own:

    python -m venv PEER
    PEER/bin/pip install multimolecule==0.2.2 torch==2.13.0
    python bench/lm_throughput.py --multimolecule-python PEER/bin/python

Baselines: "default" is what a user gets (eager attention, float32, batches of 32 as
they come); "best" has sdpa attention and our precision; "sorted" has its RNAs sorted
by length, too. The last line is JSON.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

import ribolex_bundle
from ribolex.lm import PRESETS, LanguageModel, LmConfig, RiNALMo, load_network
from ribolex.lm.precision import Precision
from ribolex.rna import read_rnas

# Blocks of each size; giga's 33 would take long and tell nothing else.
LAYERS = {"nano": 6, "micro": 12, "giga": 2}
BATCH = 32
WORKER = Path(__file__).parent / "peers" / "padded_rinalmo.py"
SORTED, AS_THEY_COME = "sorted", "as they come"


class Time(NamedTuple):
    """Of one pass over the mix."""

    wall_s: float
    cpu_s: float


class Peer:
    """multimolecule's RiNALMo in a process of its own."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def ask(self, **order: Any) -> dict[str, Any]:
        """Returns the answer to one order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("answer "):
                answer: dict[str, Any] = json.loads(line.removeprefix("answer "))
                return answer
        raise SystemExit(f"{WORKER.name} died at {order}")

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def draw_mix(n_rnas: int, seed: int = 0) -> list[str]:
    """Returns the RNAs of the mix in random order."""
    random = np.random.default_rng(seed)
    sample = [r.sequence for r in read_rnas(ribolex_bundle.sample_path())]
    pool = [sequence for sequence in sample if len(sequence) >= 20]
    chosen = [pool[i] for i in random.permutation(len(pool))[: 30 * n_rnas]]
    out = [chosen.pop() for _ in range(n_rnas - n_rnas // 5)]
    for share in (np.arange(n_rnas // 5) + 0.5) / max(1, n_rnas // 5):
        length, joined = round(200 * 5**share), ""
        while len(joined) < length:
            joined += chosen.pop()
        out.append(joined[:length])
    return [out[i] for i in random.permutation(len(out))]


def run_ours(lm: LanguageModel, tokens: list[np.ndarray]) -> Time:
    """Times one pass to the last layer's output."""
    begun = time.perf_counter(), time.process_time()
    lm.hidden(tokens, lm.config.n_layers, "normed")
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Time(time.perf_counter() - begun[0], time.process_time() - begun[1])


def matmul_peak(lm: LanguageModel, device: str) -> float:
    """Returns the GFLOP/s of a plain matrix product in the model's precision."""
    side = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device).to(lm.dtype) for _ in range(2))
    found = []
    for _ in range(5):
        begun = time.perf_counter(), time.process_time()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
            found.append(time.perf_counter() - begun[0])
        else:
            found.append(time.process_time() - begun[1])
    return 2 * side**3 / min(found) / 1e9


class Subject(NamedTuple):
    """One thing to time."""

    name: str
    precision: Precision
    attention: str | None
    """Of multimolecule's; None for ours."""
    order: str
    """Of multimolecule's RNAs."""


def subjects(device: str) -> list[Subject]:
    """Returns ours and the baselines."""
    precisions: list[Precision]
    precisions = ["bfloat16"] if device == "cuda" else ["float32", "bfloat16"]
    out = [Subject("ours", p, None, "") for p in precisions]
    if device == "cpu":
        out.append(Subject("default", "float32", "eager", AS_THEY_COME))
    for order, name in ((AS_THEY_COME, "best"), (SORTED, "best sorted")):
        out += [Subject(name, p, "sdpa", order) for p in precisions]
    return out


def measure(
    size: str, folder: Path, mix: list[str], peer: Peer | None, arguments: Any
) -> dict[str, float]:
    """Prints one size's table; returns seconds by "subject precision"."""
    device = arguments.device
    models = {
        p: LanguageModel(_network(size, folder, peer), size, device, p)
        for p in _PRECISIONS
    }
    tokens = models["float32"].prepare(mix)
    files = {AS_THEY_COME: folder / "mix", SORTED: folder / "sorted"}
    files[AS_THEY_COME].write_text("\n".join(mix))
    files[SORTED].write_text("\n".join(sorted(mix, key=len)))
    if peer is not None:
        _check_same(models["float32"], tokens[:4], mix[:4], folder, peer, device)
    times: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        for subject in subjects(device):
            if subject.attention is None:
                found = run_ours(models[subject.precision], tokens)
            elif peer is not None:
                peer.ask(load=str(folder), attention=subject.attention,
                         dtype=subject.precision, device=device)  # fmt: skip
                peer.ask(batches=str(files[subject.order]), size=BATCH)
                found = Time(**peer.ask(run=True))
            else:
                continue
            key = f"{subject.name} {subject.precision}"
            seconds = found.wall_s if device == "cuda" else found.cpu_s
            times.setdefault(key, []).append(seconds)
            print(f"  {size} {key}: {seconds:.2f} s", flush=True)
    medians = {key: median(found) for key, found in times.items()}
    _print_table(size, medians, tokens, models, device)
    return medians


_PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def _network(size: str, folder: Path, peer: Peer | None) -> RiNALMo:
    preset = PRESETS[f"rinalmo-{size}"]
    if peer is None:
        torch.manual_seed(0)
        return RiNALMo(LmConfig.of_width(preset.d_model, LAYERS[size], preset.n_heads))
    if not (folder / "config.json").exists():
        peer.ask(
            make=str(folder),
            hidden_size=preset.d_model,
            num_hidden_layers=LAYERS[size],
            num_attention_heads=preset.n_heads,
            intermediate_size=4 * preset.d_model,
        )
    return load_network(folder)


def _check_same(
    lm: LanguageModel,
    tokens: list[np.ndarray],
    mix: list[str],
    folder: Path,
    peer: Peer,
    device: str,
) -> None:
    few, states = folder / "few", folder / "states.npy"
    few.write_text("\n".join(mix))
    peer.ask(load=str(folder), attention="eager", dtype="float32", device=device)
    peer.ask(batches=str(few), size=BATCH)
    peer.ask(states=str(states))
    ours = lm.hidden(tokens, lm.config.n_layers, "normed").cpu().numpy()
    difference = float(np.abs(ours - np.load(states)).max())
    print(f"  largest difference of outputs, float32: {difference:.1e}")
    if difference > 1e-4:
        raise SystemExit("the two models do not compute the same")


def _print_table(
    size: str,
    medians: dict[str, float],
    tokens: list[np.ndarray],
    models: dict[Precision, LanguageModel],
    device: str,
) -> None:
    n_tokens = sum(map(len, tokens))
    blocks = RiNALMo(models["float32"].config).blocks
    flops = 2.0 * n_tokens * sum(p.numel() for p in blocks.parameters() if p.ndim > 1)
    print(f"| {size} | s | sequences/s | tokens/s | share of matmul peak |")
    print("|---|---|---|---|---|")
    for key, seconds in medians.items():
        share = ""
        if key.startswith("ours"):
            lm = models["bfloat16" if key.endswith("bfloat16") else "float32"]
            peak = matmul_peak(lm, device)
            share = f"{flops / seconds / 1e9:.0f} of {peak:.0f} GFLOP/s"
        print(
            f"| {key} | {seconds:.2f} | {len(tokens) / seconds:.1f} "
            f"| {n_tokens / seconds:.0f} | {share} |",
            flush=True,
        )


def ratios(times: dict[str, float], device: str) -> dict[str, float | None]:
    """Returns how many times faster ours is; None where nothing was measured."""

    def ratio(theirs: str, ours: str) -> float | None:
        both = times.get(theirs), times.get(f"ours {ours}")
        return None if None in both else round(both[0] / both[1], 2)  # type: ignore[operator]

    out: dict[str, float | None] = {}
    for short, precision in (("fp32", "float32"), ("bf16", "bfloat16")):
        for name, theirs in (
            ("default", "default float32"),
            ("best", f"best {precision}"),
            ("best_sorted", f"best sorted {precision}"),
        ):
            found = ratio(theirs, precision) if device == "cpu" else None
            out[f"cpu_{short}_vs_multimolecule_{name}"] = found
    gpu = ratio("best bfloat16", "bfloat16") if device == "cuda" else None
    return out | {"gpu_bf16_vs_multimolecule_best": gpu}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--multimolecule-python", metavar="PATH")
    parser.add_argument("--sizes", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--n-rnas", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    mix = draw_mix(arguments.n_rnas)
    lengths = sorted(map(len, mix))
    deciles = [int(np.quantile(lengths, q / 10)) for q in range(11)]
    padded = sum(
        max(map(len, mix[i : i + BATCH])) * len(mix[i : i + BATCH])
        for i in range(0, len(mix), BATCH)
    )
    print(f"{len(mix)} RNAs, {sum(lengths)} nt; lengths by decile: {deciles}")
    print(f"padding: ours 0 %, batches of {BATCH} {1 - sum(lengths) / padded:.0%}")
    if arguments.multimolecule_python is None:
        print("no --multimolecule-python: the baseline is missing (see --help)")
    results: dict[str, Any] = {}
    for size in arguments.sizes:
        peer = None
        if arguments.multimolecule_python is not None:
            peer = Peer(arguments.multimolecule_python)
        with tempfile.TemporaryDirectory() as folder:
            times = measure(size, Path(folder), mix, peer, arguments)
        if peer is not None:
            peer.close()
        results[size] = ratios(times, arguments.device)
    print(json.dumps({"bench": "lm_throughput", "device": arguments.device, **results}))


if __name__ == "__main__":
    main()
