"""Pairs the features of two dictionaries, each with at most one of the other.

Knows similarities only; nothing of what they are measured on.
"""

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor
from torch.nn import functional as F

_FEATURES_A_PART = 1024


def nearest_directions(
    ours: Float32[Tensor, "n_features d"],
    theirs: Float32[Tensor, "n_others d"],
    n: int,
) -> sparse.csr_array:
    """Returns the positive cosines of the n nearest directions of each, both ways.

    Args:
        ours: decoder directions of any length.
        theirs: those of the other dictionary.
        n: neighbours of each of ours among theirs, and of each of theirs among ours.

    Returns:
        [ours, theirs]; other cosines are left out.
    """
    forth = _nearest(F.normalize(ours, dim=1), F.normalize(theirs, dim=1), n)
    back = _nearest(F.normalize(theirs, dim=1), F.normalize(ours, dim=1), n)
    return sparse.csr_array(forth.maximum(back.T))


def keep_largest(scores: sparse.csr_array, n: int) -> sparse.csr_array:
    """Returns the matrix with only the n largest entries of every row."""
    counts = np.diff(scores.indptr)
    rows = np.repeat(np.arange(scores.shape[0]), counts)
    order = np.lexsort((-scores.data, rows))
    rank = np.arange(len(order)) - np.repeat(scores.indptr[:-1], counts)
    kept = order[rank < n]
    places = rows[kept], scores.indices[kept]
    return sparse.csr_array((scores.data[kept], places), shape=scores.shape)


def match(scores: sparse.csr_array, least: float) -> Int64[np.ndarray, " n_features"]:
    """Returns the partner of each row's feature, so that the scores' sum is largest.

    The exact assignment among the entries that are there (Jonker & Volgenant 1987, on
    a sparse matrix). A pair counts for what its score is above `least`, so that a
    feature may stay without a partner.

    Args:
        scores: [ours, theirs], finite.
        least: > 0; scores that do not exceed it make no pair.

    Returns:
        Column of the partner, or -1.
    """
    n_ours, n_theirs = scores.shape
    entries = scores.tocoo()
    kept = entries.data > least
    # A column of its own for each row, worth `least`, makes the matching full.
    rows = np.concatenate([entries.row[kept], np.arange(n_ours)])
    columns = np.concatenate([entries.col[kept], n_theirs + np.arange(n_ours)])
    weights = np.concatenate([entries.data[kept], np.full(n_ours, least)])
    shape = n_ours, n_theirs + n_ours
    graph = sparse.csr_array((weights.astype(np.float64), (rows, columns)), shape=shape)
    found_rows, found = min_weight_full_bipartite_matching(graph, maximize=True)
    out = np.full(n_ours, -1, np.int64)
    out[found_rows] = np.where(found < n_theirs, found, -1)
    return out


def scores_of(
    scores: sparse.csr_array, partners: Int64[np.ndarray, " n_features"]
) -> Float64[np.ndarray, " n_features"]:
    """Returns the score of each pair that `match` made; 0 where there is none."""
    out = np.zeros(len(partners))
    paired = np.flatnonzero(partners >= 0)
    if len(paired):
        out[paired] = np.asarray(scores[paired, partners[paired]])
    return out


def _nearest(
    ours: Float32[Tensor, "n_features d"],
    theirs: Float32[Tensor, "n_others d"],
    n: int,
) -> sparse.csr_array:
    n = min(n, len(theirs))
    starts = range(0, len(ours), _FEATURES_A_PART)
    parts = [torch.topk(ours[i : i + _FEATURES_A_PART] @ theirs.T, n) for i in starts]
    values = torch.cat([part.values for part in parts]).clamp_min(0).numpy().ravel()
    columns = torch.cat([part.indices for part in parts]).numpy().ravel()
    rows = np.repeat(np.arange(len(ours)), n)
    shape = len(ours), len(theirs)
    out = sparse.csr_array((values, (rows, columns)), shape=shape)
    out.eliminate_zeros()
    return out
