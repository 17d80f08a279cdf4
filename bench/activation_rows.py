"""How fast activations are cached and read again, on one CPU thread.

Baseline: the model alone, whose rows are thrown away. Reading is measured with a cache
that fits the budget and with one that is eight times as large; its files are dropped
from the system's memory first, so that they are read from the disk. Rates of the model
are by processor time, those of reading by the clock.
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ribolex.lm import LanguageModel, load_lm
from ribolex.rna import Rna, read_rnas
from ribolex.trainer.activations import Activations, cache_activations
from ribolex.trainer.model_rows import ModelRows
from ribolex.trainer.rows import RowSource, open_rows
from ribolex.trainer.streaming import StreamedRows

LAYERS, HOOK, BATCH_ROWS = (2, 4, 6), "normed", 4096


def main() -> None:
    """Measures all and prints rows per second and the peak of memory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("rnas", type=Path, help="table of RNAs")
    parser.add_argument("--lm", default="bundled")
    parser.add_argument("--number", type=int, default=3000, help="RNAs, evenly drawn")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lm = load_lm(arguments.lm)
    every = list(read_rnas(arguments.rnas))
    rnas = every[:: max(1, len(every) // arguments.number)]
    del every
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(lm, rnas, Path(folder))
    for name, figure in figures.items():
        print(f"{name:>32}: {figure:>12,.0f}")
    setting = {
        "lm": lm.name,
        "n_rnas": len(rnas),
        "layers": LAYERS,
        "batch_rows": BATCH_ROWS,
        "threads": 1,
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    ratios = {
        "cached/model": round(
            figures["cached_rows_per_s"] / figures["model_rows_per_s"], 3
        )
    }
    result = {"bench": "activation_rows", "setting": setting, "ratios": ratios}
    print(json.dumps(result | {"figures": {k: round(v) for k, v in figures.items()}}))


def _measure(lm: LanguageModel, rnas: list[Rna], folder: Path) -> dict[str, float]:
    source = ModelRows(lm, rnas, HOOK, "nucleotide")
    n_rows = int(source.count().sum())

    def model() -> None:
        for step in source.steps(range(len(rnas))):
            lm.activations([rnas[i].sequence for i in step], LAYERS, HOOK)

    def cache() -> dict[int, Activations]:
        return cache_activations(lm, rnas, LAYERS, HOOK, folder, lambda *_: None)

    for _ in lm.activations([rnas[0].sequence], LAYERS, HOOK):
        pass
    model_s, _ = _timed(model, time.process_time)
    model_peak = _peak_mib()
    cache_s, _ = _timed(cache, time.process_time)
    out = {
        "rows": n_rows,
        "model_rows_per_s": n_rows / model_s,
        "cached_rows_per_s": n_rows / cache_s,
        "model_peak_mib": model_peak,
        "caching_peak_mib": _peak_mib(),
    }
    check_s, cached = _timed(cache)
    out["opened_and_checked_rows_per_s"] = n_rows * len(LAYERS) / check_s
    rows = [cached[layer].rows for layer in LAYERS]
    size_bytes = n_rows * lm.config.d_model * 2
    for name, layers, budget in (
        ("held", rows[:1], size_bytes),
        ("pooled", rows[:1], size_bytes // 8),
        ("pooled_of_3_layers", rows, 3 * size_bytes // 8),
    ):
        _forget(folder.rglob("*.npy"))
        out[f"{name}_read_rows_per_s"] = n_rows / _timed(_reading(layers, budget))[0]
    streamed = StreamedRows(lm, rnas, LAYERS, HOOK)
    out["streamed_rows_per_s"] = (
        n_rows / _timed(lambda: _epoch(streamed), time.process_time)[0]
    )
    return out


def _reading(layers: list[Any], budget_bytes: int) -> Callable[[], None]:
    return lambda: _epoch(open_rows(layers, budget_bytes))


def _epoch(source: RowSource) -> None:
    for _ in source.batches(BATCH_ROWS, np.random.default_rng(0)):
        pass


def _forget(files: Iterable[Path]) -> None:
    """Has the system drop what it remembers of the files."""
    for file in files:
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _timed(
    work: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> tuple[float, Any]:
    start = clock()
    out = work()
    return clock() - start, out


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
