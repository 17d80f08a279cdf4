"""Measures an autoencoder on activations that it never saw, beside its controls.

Knows nothing of what features mean or of limits to be met.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from ribolex.dictionary import Sae
from ribolex.trainer.rows import Rows

DENSE_SHARE = 0.1
"""A feature that fires on more of the nucleotides than this tells little."""

_ROWS_A_PART = 8192


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured on held-out nucleotides."""

    fvu: float
    """Squared error over squared distance from the held-out mean."""
    l0: float
    """Mean number of features that fire on a nucleotide."""
    l0_histogram: Int64[np.ndarray, " n_firing"]
    """[k + 1], nucleotides on which so many features fire."""
    dead_fraction: float
    """Features that fire nowhere."""
    dense_fraction: float
    """Features that fire on more than a tenth of the nucleotides."""
    n_nucleotides: int
    cut_fraction: float
    """Of the firings that thresholds let through, those that the limit k cuts."""


class Subspace(NamedTuple):
    """The directions in which activations vary most."""

    mean: Float32[Tensor, " d_in"]
    directions: Float32[Tensor, "component d_in"]
    """Orthonormal."""


def evaluate(sae: Sae, rows: Rows, target: Rows | None = None) -> Evaluation:
    """Returns how well the autoencoder does on held-out rows.

    Args:
        sae: as exported: standardisation folded in.
        rows: at least two that differ.
        target: what a transcoder should rebuild of each; the rows by default.
    """
    target = rows if target is None else target
    _, spread = _mean_and_spread(target)
    error, n_cut = 0.0, 0
    fired = torch.zeros(sae.n_features, dtype=torch.int64)
    counts = torch.zeros(sae.k + 1, dtype=torch.int64)
    for x, y in zip(_parts(rows), _parts(target), strict=True):
        codes = sae.encode(x)
        error += float((y - sae.decode(*codes)).square().sum())
        fires = codes.values > 0
        n_cut += _count_cut(sae, x[fires.all(1)])
        fired += torch.bincount(codes.indices[fires], minlength=sae.n_features)
        counts += torch.bincount(fires.sum(1), minlength=sae.k + 1)
    density = fired / len(rows)
    return Evaluation(
        fvu=error / spread,
        l0=float(fired.sum() / len(rows)),
        l0_histogram=counts.numpy(),
        dead_fraction=float((fired == 0).float().mean()),
        dense_fraction=float((density > DENSE_SHARE).float().mean()),
        n_nucleotides=len(rows),
        cut_fraction=n_cut / max(1, n_cut + int(fired.sum())),
    )


def fit_subspace(rows: Rows, n_components: int) -> Subspace:
    """Returns the principal components of training rows."""
    mean, _ = _mean_and_spread(rows)
    covariance = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for x in _parts(rows):
        covariance += ((x - mean).T @ (x - mean)).double()
    _, directions = torch.linalg.eigh(covariance)
    return Subspace(mean, directions.flip(1).T[:n_components].float())


def subspace_fvu(subspace: Subspace, rows: Rows) -> float:
    """Returns the variance of held-out rows that the components leave unexplained.

    The control for k features: as many numbers a nucleotide, but the same directions
    for all of them.
    """
    _, spread = _mean_and_spread(rows)
    error = 0.0
    for x in _parts(rows):
        moved = x - subspace.mean
        rebuilt = (moved @ subspace.directions.T) @ subspace.directions
        error += float((moved - rebuilt).square().sum())
    return error / spread


def _count_cut(sae: Sae, full: Tensor) -> int:
    """Returns how many more features than k would fire on rows that have k."""
    if sae.threshold is None:
        return 0
    above = full @ sae.W_enc + sae.b_enc > sae.threshold
    return int((above.sum(1) - sae.k).clamp_min(0).sum())


def _mean_and_spread(rows: Rows) -> tuple[Tensor, float]:
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for x in _parts(rows):
        total += x.double().sum(0)
    mean = (total / len(rows)).float()
    return mean, sum(float((x - mean).square().sum()) for x in _parts(rows))


def _parts(rows: Rows) -> Iterator[Tensor]:
    for start in range(0, len(rows), _ROWS_A_PART):
        yield torch.from_numpy(rows[start : start + _ROWS_A_PART].astype(np.float32))
