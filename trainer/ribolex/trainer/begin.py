"""Where a fit begins: moments of the rows, a sample of them, and the first weights.

All ranks come to the same. Knows nothing of steps and rates.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

from ribolex.dictionary import Moments
from ribolex.trainer.objectives import Weights
from ribolex.trainer.objectives.sparse import choose_k, rebuild, rough_scores
from ribolex.trainer.ranks import gather_ranks, n_ranks, sum_over_ranks
from ribolex.trainer.rows import Batch, RowSource

Target = Literal["same", "layer", "difference"]
"""What is rebuilt: the row that is read, or the one beside it, or how that differs."""

Scale = Literal["dimension", "common"]
"""What rows are divided by: each dimension's deviation, or one for all."""

MOMENT_ROWS = 1 << 20
"""A mean of so many rows is off by a thousandth of the deviation."""
SAMPLE_ROWS = 16_384

_CALIBRATION_ROWS = 4096
_MEDIAN_STEPS = 50
_NOISE = 1.0


class Pair(NamedTuple):
    """Rows to read, and rows to rebuild: the same tensor but for a transcoder."""

    x: Float32[Tensor, "row d_in"]
    y: Float32[Tensor, "row d_out"]


class Scales(NamedTuple):
    """How both are standardised."""

    x: Moments
    y: Moments

    def apply(self, pair: Pair) -> Pair:
        """Returns standardised rows."""
        x = (pair.x - self.x.mean) / self.x.sigma
        if pair.y is pair.x:
            return Pair(x, x)
        return Pair(x, (pair.y - self.y.mean) / self.y.sigma)

    def to(self, device: str) -> "Scales":
        """Returns the same on a device."""
        x, y = (Moments(m.mean.to(device), m.sigma.to(device)) for m in self)
        return Scales(x, y)


def as_pair(batch: Batch, target: Target) -> Pair:
    """Returns the float32 rows of a batch."""
    x = batch[0].float()
    if target == "same":
        return Pair(x, x)
    y = batch[1].float()
    return Pair(x, y if target == "layer" else y - x)


def measure_scales(
    source: RowSource, target: Target, seed: int, scale: Scale = "dimension"
) -> Scales:
    """Returns means and deviations of up to a million rows of each rank.

    Summed in float64. A dimension that never moves gets the deviation 1, or the common
    one: the root of the mean variance.
    """
    sums: Tensor | None = None
    n_rows = torch.zeros((), dtype=torch.float64)
    for pair in _first_rows(source, target, seed, MOMENT_ROWS):
        sides = pair[:1] if target == "same" else pair
        both = torch.stack([rows.double() for rows in sides])
        part = torch.stack([both.sum(1), both.square().sum(1)])
        sums = part if sums is None else sums + part
        n_rows += len(pair.x)
    assert sums is not None  # a source has rows
    sums, n_rows = sum_over_ranks(sums), sum_over_ranks(n_rows)
    mean = sums[0] / n_rows
    variance = (sums[1] / n_rows - mean.square()).clamp_min(0)
    if scale == "common":
        variance = variance.mean(1, keepdim=True).expand_as(variance)
    sigma = torch.where(variance > 1e-10, variance.sqrt(), 1.0)
    found = [Moments(m.float(), s.float()) for m, s in zip(mean, sigma, strict=True)]
    return Scales(found[0], found[-1])


def draw_sample(
    source: RowSource, target: Target, seed: int, scales: Scales, batch_rows: int
) -> Pair:
    """Returns some standardised rows of all ranks, the same everywhere, on the CPU.

    Args:
        source: of this rank.
        target: what is to be rebuilt.
        seed: decides which rows.
        scales: on the CPU.
        batch_rows: rows of a batch on this rank; ranks are joined batch by batch, so
            that the sample is that of one process with all their rows.
    """
    n_rows = gather_ranks(torch.tensor([len(source), SAMPLE_ROWS // n_ranks()]))
    n_batches = max(1, int(n_rows.min()) // batch_rows)
    batches = source.batches(batch_rows, np.random.default_rng([seed, 0]))
    pairs = [as_pair(batch, target) for _, batch in zip(range(n_batches), batches)]  # noqa: B905
    x, y = (
        torch.cat([gather_ranks(rows).flatten(0, 1) for rows in side])
        for side in zip(*pairs, strict=True)
    )
    return scales.apply(Pair(x, x if target == "same" else y))


def geometric_median(x: Float32[Tensor, "row d_in"]) -> Float32[Tensor, " d_in"]:
    """Returns the point with the least summed distance to all rows (Weiszfeld)."""
    point: Tensor = x.mean(0)
    for _ in range(_MEDIAN_STEPS):
        weights = 1 / (x - point).norm(dim=1).clamp_min(1e-6)
        before, point = point, (weights @ x) / weights.sum()
        if (point - before).norm() <= 1e-5 * x.std():
            break
    return point


def draw_weights(
    sample: Pair, n_features: int, generator: np.random.Generator
) -> Weights:
    """Returns weights whose features begin between a row and a random direction.

    Decoder rows have length 1, encoder rows begin as theirs; b_dec is the geometric
    median. A transcoder's feature begins with what is read in a row and what is to be
    rebuilt of the same row.

    Layer 6 of the bundled model, 3,072 features, 2 M rows, rate 4.6e-4, held-out
    families: random directions leave 0.206 of the variance unexplained and 5.4 % of
    the features dead, rows with a tenth of noise 0.197 and 5.5 %, with as much noise
    as row 0.197 and 2.0 %.
    """
    centre = geometric_median(sample.x)
    chosen = torch.from_numpy(generator.integers(0, len(sample.x), n_features))
    w_enc = _mix(sample.x[chosen] - centre, generator)
    if sample.y is sample.x:
        return Weights(w_enc, -w_enc @ centre, w_enc, centre)
    target_centre = geometric_median(sample.y)
    w_dec = _mix(sample.y[chosen] - target_centre, generator)
    return Weights(w_enc, -w_enc @ centre, w_dec, target_centre)


def draw_random_weights(
    sample: Pair, n_features: int, generator: np.random.Generator
) -> Weights:
    """Returns weights with random directions: of a control."""
    d_in, d_out = sample.x.shape[1], sample.y.shape[1]
    centre = geometric_median(sample.x)
    w_enc = _directions(n_features, d_in, generator)
    if sample.y is sample.x:
        return Weights(w_enc, -w_enc @ centre, w_enc, centre)
    w_dec = _directions(n_features, d_out, generator)
    return Weights(w_enc, -w_enc @ centre, w_dec, geometric_median(sample.y))


@torch.no_grad()
def calibrate(weights: Weights, sample: Pair, k: int) -> None:
    """Scales the encoder to the length that rebuilds the rows best.

    Directions taken from rows are alike: k of them together overshoot k-fold.
    """
    x, y = sample.x[:_CALIBRATION_ROWS], sample.y[:_CALIBRATION_ROWS]
    rebuilt = rebuild(x, weights, choose_k(x, weights, rough_scores(x, weights), k))
    overlap = ((y - weights.b_dec) * rebuilt[:, 0]).sum()
    scale = overlap / rebuilt.square().sum().clamp_min(1e-12)
    weights.W_enc.mul_(scale)
    weights.b_enc.mul_(scale)


def _first_rows(
    source: RowSource, target: Target, seed: int, n_rows: int
) -> Iterator[Pair]:
    for batch in source.batches(8192, np.random.default_rng([seed, 0])):
        yield as_pair(batch, target)
        n_rows -= len(batch[0])
        if n_rows <= 0:
            return


def _mix(
    rows: Float32[Tensor, "n_features d"], generator: np.random.Generator
) -> Float32[Tensor, "n_features d"]:
    noise = _directions(len(rows), rows.shape[1], generator)
    return F.normalize(F.normalize(rows, dim=1) + _NOISE * noise, dim=1)


def _directions(
    n: int, d: int, generator: np.random.Generator
) -> Float32[Tensor, "n d"]:
    noise = torch.from_numpy(generator.standard_normal((n, d), np.float32))
    return F.normalize(noise, dim=1)
