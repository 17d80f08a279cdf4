"""What each objective makes of the same activations, at equal L0 on unseen families.

Activations of one layer of the model in the box (and of the next, for transcoders) on
sample RNAs; a fifth of the families is held out. Every fit sees the same rows equally
often. All figures but the rate are of the exported autoencoder, one row at a time, on
the held-out families. The L1 recipe is run with the paper's weight, and with one that
brings it to the L0 of the others.
"""

import argparse
import json
import math
import platform
import time
import zlib
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float16
from torch.nn import functional as F

from ribolex.lm import LanguageModel, load_lm
from ribolex.rna import Rna, read_rnas
from ribolex.trainer.corpus import choose
from ribolex.trainer.evaluation.reconstruction import (
    Reconstruction,
    measure_reconstruction,
)
from ribolex.trainer.fit import FitPlan, FitProgress, fit
from ribolex.trainer.rows import ArrayRows
from ribolex_bundle import sample_path

HELD_OUT_SHARE = 5
TUNING_STEPS = 4
LIKE = 0.9

Layers = list[Float16[np.ndarray, "row d_in"]]


class Result(NamedTuple):
    """What came of a fit."""

    found: Reconstruction
    alike: float
    """Share of features with another one whose decoder row has a cosine above .9."""
    rows_per_s: float


def main() -> None:
    """Fits by every objective and prints a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layer", type=int, default=3)
    parser.add_argument("--features", type=int, default=1536)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--nucleotides", type=int, default=150_000)
    parser.add_argument("--rows", type=int, default=600_000, help="Seen in each fit.")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, held_out = _activations(options.layer, options.nucleotides)
    plan = FitPlan(options.features, options.k, options.rows)
    sparse = replace(plan, objective="batchtopk")
    plans = {
        "TopK": replace(plan, objective="topk"),
        "BatchTopK": sparse,
        "Matryoshka": replace(plan, objective="matryoshka"),
        "TopK + OrtSAE": replace(plan, objective="topk", orthogonality=0.1),
        "BatchTopK + OrtSAE": replace(sparse, orthogonality=0.1),
        "transcoder, next layer": replace(sparse, target="layer"),
        "transcoder, difference": replace(sparse, target="difference"),
        "ReLU + L1, 3e-3": replace(plan, objective="relu"),
    }
    print(f"{'':<24} FVU    L0     dead   dense  cut    alike  rows/s")
    found = {name: _run(name, p, train, held_out) for name, p in plans.items()}
    tuned = _tune(plan, train, held_out)
    name = f"ReLU + L1, {tuned.l1:.3g}"
    found[name] = _run(name, tuned, train, held_out)
    setting = {
        **vars(options),
        "batch_rows": plan.batch_rows,
        "held_out_nucleotides": len(held_out[0]),
        "train_nucleotides": len(train[0]),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    base = found["TopK"].found.fvu
    ratios = {
        f"fvu {name}/TopK": round(result.found.fvu / base, 3)
        for name, result in found.items()
        if "transcoder" not in name
    }
    figures = {
        f"{name} {measure}": value
        for name, result in found.items()
        for measure, value in _measures(result).items()
    }
    result = {"bench": "objectives", "setting": setting}
    print(json.dumps(result | {"ratios": ratios, "figures": figures}))


def _activations(layer: int, n_nucleotides: int) -> tuple[Layers, Layers]:
    """Returns rows of a layer and the next, of training and of held-out families."""
    lm = load_lm("bundled")
    parts: tuple[list[Rna], list[Rna]] = ([], [])
    for rna in read_rnas(sample_path()):
        family = rna.metadata["family_acc"].encode()
        parts[zlib.crc32(family) % HELD_OUT_SHARE == 0].append(rna)
    sizes = n_nucleotides, n_nucleotides // HELD_OUT_SHARE
    train, held_out = (
        _read(lm, choose(part, size, np.random.default_rng(0)), layer)
        for part, size in zip(parts, sizes, strict=True)
    )
    return train, held_out


def _read(lm: LanguageModel, rnas: list[Rna], layer: int) -> Layers:
    layers = [layer, layer + 1]
    found = lm.activations([rna.sequence for rna in rnas], layers, "normed")
    return [
        np.concatenate([each[at] for each in found]).astype(np.float16) for at in layers
    ]


def _run(name: str, plan: FitPlan, train: Layers, held_out: Layers) -> Result:
    layers = train if plan.target != "same" else train[:1]
    began = time.perf_counter()
    fitted = fit(ArrayRows(layers), plan, _silent)
    rate = plan.n_steps * plan.batch_rows / (time.perf_counter() - began)
    x, y = held_out
    wanted = {"same": x, "layer": y, "difference": y - x}[plan.target]
    rows = F.normalize(fitted.sae.W_dec / fitted.target_moments.sigma, dim=1)
    nearest = (rows @ rows.T).fill_diagonal_(-1).amax(1)
    alike = float((nearest > LIKE).float().mean())
    result = Result(measure_reconstruction(fitted.sae, x, wanted), alike, rate)
    shown = "".join(f" {value:<6.4g}" for value in _measures(result).values())
    print(f"{name:<24}{shown}", flush=True)
    return result


def _tune(plan: FitPlan, train: Layers, held_out: Layers) -> FitPlan:
    """Returns the plan of the L1 recipe that comes near to k features a row."""
    low, high = math.log(3e-3), math.log(30)
    for step in range(TUNING_STEPS):
        middle = (low + high) / 2
        tried = replace(plan, objective="relu", l1=math.exp(middle))
        short = replace(tried, n_rows=plan.n_rows // 3)
        l0 = _run(f"  try {step}: {tried.l1:.3g}", short, train, held_out).found.l0
        low, high = (middle, high) if l0 > plan.k else (low, middle)
    return replace(plan, objective="relu", l1=math.exp((low + high) / 2))


def _measures(result: Result) -> dict[str, float]:
    found = result.found
    return {
        "fvu": round(found.fvu, 4),
        "l0": round(found.l0, 2),
        "dead": round(found.dead_fraction, 4),
        "dense": round(found.dense_fraction, 4),
        "cut": round(found.cap_cut or 0.0, 5),
        "alike": round(result.alike, 4),
        "rows_per_s": round(result.rows_per_s),
    }


def _silent(_: FitProgress) -> None:
    pass


if __name__ == "__main__":
    main()
