"""How well activations are rebuilt, by a dictionary and by what it must beat.

All numbers are of the rows given: held-out ones, or they flatter. Knows nothing of
what features mean or of limits to be met.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from ribolex.dictionary import Moments, Sae
from ribolex.trainer.rows import Rows

DENSE_SHARE = 0.1
"""A feature that fires on more of the nucleotides than this tells little."""

_ROWS_A_PART = 8192


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What was measured on held-out nucleotides."""

    fvu: float
    """Squared error over squared distance from the held-out mean."""
    l0: float
    """Mean number of features that fire on a nucleotide."""
    l0_histogram: tuple[int, ...]
    """[k + 1], nucleotides on which so many features fire."""
    cap_cut: float | None
    """Share of the nucleotides on which more features passed their thresholds than
    the k that may fire; None without thresholds, where k is what is wanted."""
    dead_fraction: float
    """Features that fire nowhere."""
    dense_fraction: float
    """Features that fire on more than a tenth of the nucleotides."""
    n_nucleotides: int


class Subspace(NamedTuple):
    """The directions in which activations vary most."""

    mean: Float32[Tensor, " d_in"]
    directions: Float32[Tensor, "component d_in"]
    """Orthonormal."""


def measure_reconstruction(
    sae: Sae, rows: Rows, targets: Rows | None = None
) -> Reconstruction:
    """Returns how well an autoencoder or a transcoder does on held-out rows.

    Args:
        sae: as exported: standardisation folded in.
        rows: what it reads, at least two that differ.
        targets: what it is to rebuild; None if that is what it reads.
    """
    targets = rows if targets is None else targets
    wider = replace(sae, k=min(sae.k + 1, sae.n_features))  # one more shows the cut
    fired = torch.zeros(sae.n_features, dtype=torch.int64)
    counts = torch.zeros(sae.k + 1, dtype=torch.int64)
    n_cut = 0
    _, spread = _mean_and_spread(targets)
    error = 0.0
    for x, target in zip(_parts(rows), _parts(targets), strict=True):
        found = wider.encode(x)
        indices, values = found.indices[:, : sae.k], found.values[:, : sae.k]
        error += float((target - sae.decode(indices, values)).square().sum())
        fires = values > 0
        n_cut += int((found.values[:, sae.k :] > 0).sum())
        fired += torch.bincount(indices[fires], minlength=sae.n_features)
        counts += torch.bincount(fires.sum(1), minlength=sae.k + 1)
    density = fired / len(rows)
    return Reconstruction(
        fvu=error / spread,
        l0=float(fired.sum() / len(rows)),
        l0_histogram=tuple(counts.tolist()),
        cap_cut=None if sae.threshold is None else n_cut / len(rows),
        dead_fraction=float((fired == 0).float().mean()),
        dense_fraction=float((density > DENSE_SHARE).float().mean()),
        n_nucleotides=len(rows),
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

    def rebuild(x: Tensor) -> Tensor:
        moved = x - subspace.mean
        return (moved @ subspace.directions.T) @ subspace.directions + subspace.mean

    return _fvu(rows, rebuild)


def neurons_fvu(moments: Moments, k: int, rows: Rows) -> float:
    """Returns the variance of held-out rows that k dimensions of each leave out.

    Each row keeps the k that are furthest from their mean, in standard deviations,
    and has the mean in all others.

    Args:
        moments: of training rows.
        k: dimensions to keep.
        rows: held-out rows.
    """
    k = min(k, rows.shape[1])

    def rebuild(x: Tensor) -> Tensor:
        far = ((x - moments.mean) / moments.sigma).abs()
        kept = torch.topk(far, k, dim=1).indices
        return moments.mean.expand_as(x).scatter(1, kept, x.gather(1, kept))

    return _fvu(rows, rebuild)


def _fvu(rows: Rows, rebuild: Callable[[Tensor], Tensor]) -> float:
    _, spread = _mean_and_spread(rows)
    errors = (float((x - rebuild(x)).square().sum()) for x in _parts(rows))
    return sum(errors) / spread


def _mean_and_spread(rows: Rows) -> tuple[Tensor, float]:
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for x in _parts(rows):
        total += x.double().sum(0)
    mean = (total / len(rows)).float()
    return mean, sum(float((x - mean).square().sum()) for x in _parts(rows))


def _parts(rows: Rows) -> Iterator[Tensor]:
    for start in range(0, len(rows), _ROWS_A_PART):
        yield torch.from_numpy(rows[start : start + _ROWS_A_PART].astype(np.float32))
