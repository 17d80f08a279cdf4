"""Tokens a second of fitting a dictionary, and what it is worth: ours and the peers'.

SAELens' trainer and sparsify's parts fit TopK autoencoders of the same size to the
same cached activations of the bundled model, as many tokens in batches as large, each
in a process and an environment of its own:

    python -m venv SAELENS && SAELENS/bin/pip install -r bench/requirements-saelens.txt
    python -m venv SPARSIFY
    SPARSIFY/bin/pip install -r bench/requirements-sparsify.txt
    python bench/trainer_throughput.py --saelens-python SAELENS/bin/python \
        --sparsify-python SPARSIFY/bin/python

They take turns of a few steps, so that other work on the machine hits all alike, and
processor time counts: a turn's tokens over the median of its time, set-up apart. The
exported folders are read by `ribolex.trainer.interchange` and measured on clans that
were held out. Everyone has the fastest settings and the best of a few rates that were
found; `--variants` runs the settings that were slower or worse, `--rates` fits all at
other rates. The last line is JSON.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from ribolex.dictionary import Moments, Sae
from ribolex.lm import load_lm
from ribolex.lm.precision import choose_dtype
from ribolex.rna import Rna, read_rnas
from ribolex.trainer.activations import cache_activations
from ribolex.trainer.corpus import Shares, choose, group_of, part_of
from ribolex.trainer.evaluation.reconstruction import (
    Reconstruction,
    measure_reconstruction,
)
from ribolex.trainer.interchange import Reading, read_source
from ribolex_bundle import sample_path

LAYER, HOOK, N_FEATURES, K = 6, "normed", 3072, 16
PEERS = Path(__file__).parent / "peers"
SCRIPTS = {tool: f"{tool}_topk.py" for tool in ("ribolex", "saelens", "sparsify")}
L0_OFF = 0.01
"""Share of k by which an L0 may differ: some rows have fewer positive scores."""


class Subject(NamedTuple):
    """One way to fit: settings of the script of a tool."""

    tool: str
    settings: Mapping[str, Any]


OURS = {"rate": 2e-3, "scale": "common", "dead_rows": 100_000}
SAELENS = {"rate": 1e-3, "decay_share": 0.3, "sparse": False, "autocast": True,
           "scaled": False, "standardised": True, "dead_rows": 100_000}  # fmt: skip
ADAM = {"optimiser": "adam", "rate": 2e-3, "warm_share": 0.05, "auxk_alpha": 0.0,
        "autocast": True, "standardised": False, "dead_rows": 100_000}  # fmt: skip
SIGNUM = {**ADAM, "optimiser": "signum", "rate": 1.15e-2}
"""sparsify's own optimiser at its own rate, 5e-3 / sqrt(n_features / 2^14)."""

SUBJECTS = {
    "ours": Subject("ribolex", OURS),
    "saelens": Subject("saelens", SAELENS),
    "sparsify, adam": Subject("sparsify", ADAM),
    "sparsify, signum": Subject("sparsify", SIGNUM),
}
VARIANTS = {
    "ours, as by default": Subject(
        "ribolex", OURS | {"rate": None, "scale": "dimension"}
    ),
    "saelens, float32": Subject("saelens", SAELENS | {"autocast": False}),
    "saelens, rows as they are": Subject("saelens", SAELENS | {"standardised": False}),
    "saelens, its scaling": Subject(
        "saelens", SAELENS | {"standardised": False, "scaled": True}
    ),
    "sparsify, adam, float32": Subject("sparsify", ADAM | {"autocast": False}),
    "sparsify, adam, auxk": Subject("sparsify", ADAM | {"auxk_alpha": 1 / 32}),
    "sparsify, signum, float32": Subject("sparsify", SIGNUM | {"autocast": False}),
    "sparsify, signum, standardised": Subject(
        "sparsify", SIGNUM | {"standardised": True}
    ),
}


class Result(NamedTuple):
    """What came of a fit."""

    tokens_per_s: float
    wall_tokens_per_s: float
    setup_s: float
    fit_s: float
    """Of the processor, with the set-up."""
    found: Reconstruction


class Worker:
    """A process that fits, a turn at a time."""

    def __init__(self, python: str, tool: str, order: Mapping[str, Any]) -> None:
        threads = {"OMP_NUM_THREADS": str(order["threads"])}
        self._process = subprocess.Popen(
            [python, str(PEERS / SCRIPTS[tool]), json.dumps(order)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=os.environ | threads,
        )  # fmt: skip
        self._tool = tool

    def go(self) -> dict[str, float]:
        """Lets it take a turn and returns what that cost."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("answer "):
                answer: dict[str, float] = json.loads(line.removeprefix("answer "))
                return answer
        raise SystemExit(f"{SCRIPTS[self._tool]} died")

    def close(self) -> None:
        """Lets it write what it has made, and end."""
        self._process.communicate("go\n")


def main() -> None:
    """Runs the benchmark."""
    options = read_options()
    torch.set_num_threads(options.threads)
    pythons = {
        "ribolex": sys.executable,
        "saelens": options.saelens_python,
        "sparsify": options.sparsify_python,
    }
    for tool in [tool for tool, python in pythons.items() if python is None]:
        print(f"no --{tool}-python: left out (see --help)")
    chosen = SUBJECTS | VARIANTS if options.variants else SUBJECTS
    chosen = {n: s for n, s in chosen.items() if pythons[s.tool] is not None}
    if options.rates:
        chosen = {
            f"{name} {rate:g}": Subject(s.tool, {**s.settings, "rate": rate})
            for name, s in chosen.items()
            for rate in options.rates
        }
    with tempfile.TemporaryDirectory() as made:
        folder = options.workdir or Path(made)
        sizes = cache(folder, options.nucleotides)
        print(f"{'':<32} tokens/s  wall  setup s  fit s  FVU     L0      dead")
        results: dict[str, Result] = {}
        # Together they would take all the memory.
        groups = [[n] for n in chosen] if options.rates else [list(chosen)]
        for names in groups:
            subjects = {name: chosen[name] for name in names}
            results |= measure(subjects, pythons, folder, options)
    settings = {name: subject.settings for name, subject in chosen.items()}
    print_json(results, settings, sizes, options)


def read_options() -> Any:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--saelens-python", metavar="PATH")
    parser.add_argument("--sparsify-python", metavar="PATH")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--rates", nargs="+", type=float, metavar="RATE")
    parser.add_argument("--quick", action="store_true", help="a fifth of the tokens")
    parser.add_argument("--batch-rows", type=int, default=1024)
    parser.add_argument("--nucleotides", type=int, default=100_000, help="to cache")
    parser.add_argument("--tokens", type=int, default=245_760, help="seen in a fit")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workdir", type=Path, help="keep activations and results")
    options = parser.parse_args()
    if options.quick:
        options.tokens, options.turns = options.tokens // 5, 4
        options.nucleotides //= 2
    # Ours tells where it is every 20 steps.
    steps = options.tokens / options.batch_rows / options.turns
    options.steps_a_turn = max(20, round(steps / 20) * 20)
    options.n_steps = 1 + options.turns * options.steps_a_turn
    return options


def cache(folder: Path, n_nucleotides: int) -> dict[str, int]:
    """Writes rows of training and of held-out clans; returns how many."""
    lm = load_lm("bundled")
    parts: dict[str, list[Rna]] = {"train": [], "validation": []}
    for rna in read_rnas(sample_path()):
        part = part_of(group_of(rna.name or "", rna.metadata), Shares(0.2, 0), "")
        parts[part].append(rna)
    sizes: dict[str, int] = {}
    for part, n in (("train", n_nucleotides), ("validation", n_nucleotides // 5)):
        rnas = choose(parts[part], n, np.random.default_rng(0))
        found = cache_activations(lm, rnas, [LAYER], HOOK, folder, lambda *_: None)
        rows = found[LAYER].rows[:]
        np.save(folder / f"{part}.npy", rows)
        sizes[f"{part}_nucleotides"] = len(rows)
        if part == "train":
            scales = rows.mean(0, np.float64), rows.std(0, np.float64)
            np.save(folder / "scales.npy", np.stack(scales).astype(np.float32))
    return sizes


def measure(
    subjects: Mapping[str, Subject],
    pythons: Mapping[str, str],
    folder: Path,
    options: Any,
) -> dict[str, Result]:
    """Fits in turns, prints a line each and returns the results."""
    common = {
        "rows": str(folder / "train.npy"),
        "scales": str(folder / "scales.npy"),
        "n_features": N_FEATURES,
        "k": K,
        "n_steps": options.n_steps,
        "steps_a_turn": options.steps_a_turn,
        "batch_rows": options.batch_rows,
        "threads": options.threads,
        "seed": 0,
    }
    workers, places = {}, {}
    for name, (tool, settings) in subjects.items():
        places[name] = folder / "fits" / name
        places[name].mkdir(parents=True, exist_ok=True)
        order = {**common, **settings, "out": str(places[name])}
        workers[name] = Worker(pythons[tool], tool, order)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in subjects}
    for _ in range(options.turns + 1):
        for name, worker in workers.items():
            turns[name].append(worker.go())
    results = {}
    for name, worker in workers.items():
        worker.close()
        sae = read_result(subjects[name], places[name], folder / "scales.npy")
        found = measure_reconstruction(sae, np.load(folder / "validation.npy"))
        if abs(found.l0 - K) > L0_OFF * K:
            raise SystemExit(f"{name}: L0 is {found.l0:.2f}, expected {K}")
        n_tokens = options.steps_a_turn * options.batch_rows
        results[name] = summarise(turns[name], n_tokens, found)
        print_line(name, results[name])
    return results


def read_result(subject: Subject, place: Path, scales: Path) -> Sae:
    """Returns what was exported, as it runs on activations as they are."""
    if subject.tool == "ribolex":
        return Sae(**load_file(place / "sae.safetensors"), k=K)
    source = read_source(place, subject.tool, Reading())
    if subject.settings["standardised"]:
        mean, sigma = torch.from_numpy(np.load(scales))
        source = source.standardised(Moments(mean, sigma))
    return source.sae


def summarise(
    turns: Iterable[dict[str, float]], n_tokens: int, found: Reconstruction
) -> Result:
    """Returns what turns of so many tokens give; the first is the set-up."""
    setup, *rest = turns
    return Result(
        n_tokens / median(turn["cpu_s"] for turn in rest),
        n_tokens / median(turn["wall_s"] for turn in rest),
        setup["cpu_s"],
        setup["cpu_s"] + sum(turn["cpu_s"] for turn in rest),
        found,
    )


def print_line(name: str, result: Result) -> None:
    """Prints a line of the table."""
    found = result.found
    print(
        f"{name:<32} {result.tokens_per_s:>7,.0f} {result.wall_tokens_per_s:>7,.0f}"
        f" {result.setup_s:>6.1f} {result.fit_s:>6.1f}  {found.fvu:.4f}"
        f"  {found.l0:.3f}  {found.dead_fraction:.1%}",
        flush=True,
    )


def print_json(
    results: Mapping[str, Result],
    settings: Mapping[str, Mapping[str, Any]],
    sizes: Mapping[str, int],
    options: Any,
) -> None:
    """Prints the last line: ours against the fastest and the best of each peer."""
    ratios: dict[str, float | None] = {}
    for tool in ("saelens", "sparsify"):
        theirs = [r for n, r in results.items() if n.startswith(tool)]
        ours = results.get("ours")
        if ours is None or not theirs:
            ratios |= {f"vs_{tool}": None, f"fvu_vs_{tool}": None}
            continue
        fastest = max(r.tokens_per_s for r in theirs)
        best = min(r.found.fvu for r in theirs)
        ratios[f"vs_{tool}"] = round(ours.tokens_per_s / fastest, 2)
        ratios[f"fvu_vs_{tool}"] = round(ours.found.fvu / best, 3)
    figures = {
        name: {
            "tokens_per_s": round(result.tokens_per_s),
            "wall_tokens_per_s": round(result.wall_tokens_per_s),
            "setup_s": round(result.setup_s, 2),
            "fit_s": round(result.fit_s, 1),
            "fvu": round(result.found.fvu, 4),
            "l0": round(result.found.l0, 3),
            "dead_fraction": round(result.found.dead_fraction, 4),
        }
        for name, result in results.items()
    }
    setting = {
        "layer": LAYER,
        "n_features": N_FEATURES,
        "k": K,
        "batch_rows": options.batch_rows,
        "tokens": options.n_steps * options.batch_rows,
        **sizes,
        "threads": options.threads,
        "our_choice": str(choose_dtype("auto", torch.device("cpu"))),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "subjects": settings,
    }
    result = {"bench": "trainer_throughput", "setting": setting}
    print(json.dumps(result | {"ratios": ratios, "figures": figures}))


if __name__ == "__main__":
    main()
