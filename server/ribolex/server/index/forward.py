"""Weighted codes: how alike two are, and what makes them so.

Knows numbers only; nothing of ids, disks, or how a code was weighed.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt32

Likeness = Literal["cosine", "jaccard"]
"""Dot product of weights of length 1; or sum of the smaller weights of each feature
over the sum of the larger ones (Ruzicka 1958)."""


class WeightedCode(NamedTuple):
    """The search vector of one RNA, of length 1, and the peaks behind it."""

    features: UInt32[np.ndarray, " feature"]
    """Rising strictly."""
    weights: Float32[np.ndarray, " feature"]
    """> 0."""
    peaks: Float32[np.ndarray, " feature"]
    """The largest value over the nucleotides."""


class Parts(NamedTuple):
    """What each shared feature adds to a score, the largest first."""

    features: UInt32[np.ndarray, " feature"]
    contributions: Float64[np.ndarray, " feature"]


class Strongest(NamedTuple):
    """An RNA in which a feature fires, and how strongly at most."""

    rna_id: int
    peak: float


def parts_of(query: WeightedCode, target: WeightedCode, likeness: Likeness) -> Parts:
    """Returns what makes the likeness of two codes; they sum to it."""
    features, here, there = np.intersect1d(
        query.features, target.features, assume_unique=True, return_indices=True
    )
    ours = query.weights[here].astype(np.float64)
    theirs = target.weights[there].astype(np.float64)
    if likeness == "cosine":
        parts = ours * theirs
    else:
        parts = np.minimum(ours, theirs)
        both = float(query.weights.sum(dtype=np.float64))
        both += float(target.weights.sum(dtype=np.float64))
        # Of a pair the smaller and the larger are as much as both.
        parts /= max(both - float(parts.sum()), 1e-30)
    order = np.lexsort((features, -parts))
    return Parts(features[order], parts[order])
