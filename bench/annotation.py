"""Processor time of a dictionary's evidence: features x labels x nucleotides.

Features are drawn by chance, with rates as a trained dictionary's (gamma) and in runs;
RNAs with structures are those of a table, or of the sample in the box, as often as
needed. What is timed is everything after encoding: the walk with its circular shifts,
the ranking of nucleotides and RNAs, tests, redraws and findings.

    python bench/annotation.py --nucleotides 2000000 --features 819 --k 16

Compiled before it is timed; processor time counts, since other work on the machine
would show in the clock. The last line is JSON.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch

from ribolex.rna import Rna, read_rnas
from ribolex.trainer.activations import Activations
from ribolex.trainer.annotation.findings import find
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.labels import label_nucleotides, label_rnas
from ribolex.trainer.annotation.material import arrange
from ribolex.trainer.annotation.measuring import rank_rnas
from ribolex.trainer.annotation.ranking import rank
from ribolex.trainer.annotation.significance import Measured, assess
from ribolex.trainer.annotation.walk import walk
from ribolex_bundle import sample_path


def main() -> None:
    """Draws, measures, prints."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    _measure(20_000, 64, asked.k, asked.rnas, {})
    seconds: dict[str, float] = {}
    figures = _measure(asked.nucleotides, asked.features, asked.k, asked.rnas, seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for step, took_s in seconds.items():
        print(f"{step:<12} {took_s:8.1f} s of processor time")
    total = sum(seconds.values())
    rate = figures["firings"] / total
    print(f"{'all':<12} {total:8.1f} s; {rate:,.0f} firings/s; {peak:.2f} GiB at most")
    setting = {
        "features": asked.features,
        "nucleotides": asked.nucleotides,
        "k": asked.k,
        "threads": asked.threads,
    }
    figures |= {"peak_gib": peak, **{f"{k}_cpu_s": v for k, v in seconds.items()}}
    told = {"bench": "annotation", "setting": setting, "ratios": {}, "figures": figures}
    print(json.dumps(told))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nucleotides", type=int, default=2_000_000)
    parser.add_argument("--features", type=int, default=819)
    parser.add_argument("--k", type=int, default=16, help="of features of a nucleotide")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rnas", type=Path, default=sample_path())
    return parser.parse_args()


def _measure(
    n_nucleotides: int, n_features: int, k: int, table: Path, seconds: dict[str, float]
) -> dict[str, float]:
    rnas = _repeat(list(read_rnas(table)), n_nucleotides)
    material = arrange(rnas, _rows(rnas))
    # As many firings a feature as with 8,192 features: what a scale keeps.
    firings = _draw(n_features, k * n_features / 8192, material.n_rows)
    begun = time.process_time()

    def took(step: str) -> None:
        nonlocal begun
        seconds[step] = time.process_time() - begun
        begun = time.process_time()

    labels, pairing = label_nucleotides(material)
    of_rnas = label_rnas(material)
    took("labels")
    found = walk(firings, labels, pairing, material, _silent)
    took("walk")
    ranked = rank(firings, labels, _silent)
    took("rank")
    rnas_ranked, by_length = rank_rnas(found.peaks, of_rnas, material)
    measured = Measured(firings, ranked, rnas_ranked, found, by_length)
    took("rank RNAs")
    significance = assess(measured, material)
    took("tests")
    find(measured, significance, material, None)
    took("findings")
    return {
        "firings": len(firings.rows),
        "labels": len(labels) + len(of_rnas),
        "tests": significance.n_tests,
    }


def _silent(_done: int, _total: int) -> None:
    pass


def _repeat(rnas: list[Rna], n_nucleotides: int) -> list[Rna]:
    out: list[Rna] = []
    n_taken = 0
    while n_taken < n_nucleotides:
        rna = rnas[len(out) % len(rnas)]
        out.append(rna)
        n_taken += len(rna.sequence)
    return out


def _rows(rnas: list[Rna]) -> Activations:
    lengths = np.array([len(rna.sequence) for rna in rnas])
    n = int(lengths.sum())
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Activations(
        np.zeros((n, 1), np.float16),
        np.repeat(np.arange(len(rnas), dtype=np.int32), lengths),
        (np.arange(n) - starts).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def _draw(n_features: int, k: float, n_rows: int) -> Firings:
    generator = np.random.default_rng(0)
    rates = generator.gamma(1.0, 1.0, n_features)
    counts = np.maximum(rates * k * n_rows / rates.sum() / 2, 1).astype(int)
    rows = []
    for count in counts:
        begins = generator.integers(0, n_rows - 1, count)  # runs of two
        rows.append(np.unique(np.concatenate([begins, begins + 1])).astype(np.int32))
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in rows])])
    values = generator.random(int(offsets[-1]), np.float32) + 0.1
    return Firings(offsets.astype(np.int64), np.concatenate(rows), values)


if __name__ == "__main__":
    main()
