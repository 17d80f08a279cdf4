"""From counts to a profile: shape, selectivity of RNA types, surroundings.

Knows nothing of labels' tests.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from ribolex.trainer.annotation.lengths import ByLength, sort_out
from ribolex.trainer.annotation.material import Material
from ribolex.trainer.annotation.significance import MIN_RNAS
from ribolex.trainer.annotation.walk import LONGEST, N_COVERS, Shapes

_WHOLE = 0.8
_MOTIF = 20
_MANY_RUNS = 5
_FEW_RUNS = 3
_PERIODIC = 0.5


class Shaped(NamedTuple):
    """How features lie in RNAs."""

    shape: list[str]
    run_length: Int32[np.ndarray, " n_features"]
    period: Int32[np.ndarray, " n_features"]


class Selectivity(NamedTuple):
    """Which RNA types features prefer; NaN and "" where no type is known."""

    largest: Float32[np.ndarray, " n_features"]
    entropy: Float32[np.ndarray, " n_features"]
    preferred: list[str]


def classify(shapes: Shapes, is_supported: Bool[np.ndarray, " n_features"]) -> Shaped:
    """Returns each feature's shape, after InterProt's classes (Adams et al. 2025)."""
    run = _median(shapes.longest_run)
    n_runs = _median(shapes.n_runs)
    cover = _median(shapes.cover) / N_COVERS
    gaps = shapes.gaps[:, 2:LONGEST]
    commonest = gaps.argmax(1) + 2
    share = gaps.max(1) / np.maximum(shapes.gaps.sum(1), 1)
    is_periodic = (n_runs >= _FEW_RUNS) & (share >= _PERIODIC)
    names = np.select(
        [
            shapes.n_rnas == 0,
            ~is_supported,
            cover >= _WHOLE,
            is_periodic,
            n_runs >= _MANY_RUNS,
            run == 1,
            run <= _MOTIF,
        ],
        ["dead", "rare", "whole", "periodic", "scattered", "point", "motif"],
        "stretch",
    )
    period = np.where(names == "periodic", commonest, 0).astype(np.int32)
    return Shaped(names.tolist(), run.astype(np.int32), period)


def select_types(by_length: ByLength, material: Material) -> Selectivity:
    """Returns which types features prefer: how often they fire in each, for its length.

    That is over how often they do in RNAs of the same lengths, types weighing alike;
    of types with the least support, each RNA's written out in full.
    """
    types = [rna.metadata.get("type", "") for rna in material.rnas]
    names, of_rna, sizes = np.unique(types, return_inverse=True, return_counts=True)
    kept = np.flatnonzero((sizes >= MIN_RNAS) & (names != ""))
    n = len(by_length.rates)
    if not len(kept):
        nothing = np.full(n, np.nan, np.float32)
        return Selectivity(nothing, nothing, [""] * n)
    members = sort_out(of_rna.ravel())[kept].T.tocsr()
    counts, expected = by_length.fires @ members, by_length.expected(members)
    times = counts.toarray() / np.maximum(expected, 1e-12)
    sums = times.sum(1, keepdims=True)
    shares = times / np.maximum(sums, 1e-12)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    entropy = -(shares * logs).sum(1) / max(np.log(len(kept)), 1e-12)
    fires = sums[:, 0] > 0
    best = shares.argmax(1)
    return Selectivity(
        np.where(fires, shares.max(1), np.nan).astype(np.float32),
        np.where(fires, entropy, np.nan).astype(np.float32),
        [str(names[kept[i]]) if f else "" for i, f in zip(best, fires, strict=True)],
    )


def pack(shares: Float32[np.ndarray, "feature place sign"]) -> UInt8[np.ndarray, "..."]:
    """Returns shares in 255ths."""
    out: UInt8[np.ndarray, ...] = np.rint(shares * 255).clip(0, 255).astype(np.uint8)
    return out


def consensus(letters: Float32[np.ndarray, "place letter"], signs: str = "ACGU") -> str:
    """Returns what stands around the peak: "..gGNRA..", the peak in the middle.

    A letter that holds for half of the families or more; in capitals for 80 % and more;
    R, Y, S, W, K and M for two letters that together hold for 80 %; else a dot. Dots at
    the ends are left out as far as both sides have them.
    """
    out = []
    for share in letters:
        order = np.argsort(-share, kind="stable")
        first, both = share[order[0]], share[order[:2]].sum()
        if first >= 0.5:
            sign = signs[order[0]]
            out.append(sign if first >= 0.8 else sign.lower())
        elif both >= 0.8 and len(signs) == 4:
            out.append(_TWO["".join(sorted(signs[i] for i in order[:2]))])
        else:
            out.append(".")
    middle = len(out) // 2
    known = [abs(i - middle) for i, sign in enumerate(out) if sign != "."]
    reach = max(known, default=0)
    return "".join(out[middle - reach : middle + reach + 1])


_TWO = {"AG": "R", "CU": "Y", "CG": "S", "AU": "W", "GU": "K", "AC": "M"}


def _median(
    counts: Int64[np.ndarray, "feature value"],
) -> Float64[np.ndarray, " feature"]:
    """Returns the lower median of what has been counted by value."""
    sums = counts.cumsum(1)
    out: Float64[np.ndarray, " feature"]
    out = (sums * 2 < sums[:, -1:]).sum(1).astype(np.float64)
    return out
