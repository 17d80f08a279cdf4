r"""BatchTopK, as Bussmann et al. 2024 (arXiv 2412.06410).

With f = those of relu(W_enc x + b_enc) that are among the k * rows largest of the
batch, 4k a row at most, and e = y - (f W_dec + b_dec),

    loss = |e|^2 / (rows * d_out) + AuxK

A row may thus have more features than another. The batch must not decide at inference:
exported as JumpReLU (arXiv 2407.14435) with one threshold for all features, an average
over batches of the smallest score that was kept, in float64.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ribolex.dictionary import Sae
from ribolex.trainer.objectives.auxk import add_auxk
from ribolex.trainer.objectives.objective import Losses, Recipe
from ribolex.trainer.objectives.sparse import Chosen, choose, rebuild, rough_scores
from ribolex.trainer.objectives.weights import Weights
from ribolex.trainer.ranks import n_ranks, sum_over_ranks

CAP = 4
"""A row fires at most CAP * k features."""

_NEW_SHARE = 0.01
"""Of the average that each batch's threshold makes up."""
_FLOOR = 0.9
"""Of the average threshold: what scores less is not looked at in the first place."""
_DIGITS = ((20, 11), (9, 11), (0, 9))
"""Shift and width of the digits of a positive float's 31 bits."""


@dataclass(frozen=True, slots=True)
class BatchTopK:
    """The strongest features of a batch, k a row in the mean."""

    k: int
    dead_rows: int
    recipe: ClassVar[Recipe] = Recipe()

    def losses(
        self,
        weights: Weights,
        x: Float32[Tensor, "row d_in"],
        y: Float32[Tensor, "row d_out"],
    ) -> Losses:
        """Returns the losses of a batch, and counts which features fired."""
        rough = rough_scores(x, weights)
        chosen = choose_over_batch(x, weights, rough, self.k)
        error = y - weights.b_dec - rebuild(x, weights, chosen)[:, 0]
        squares = error.square().sum()
        return add_auxk(weights, x, rough, chosen, error, squares, self.dead_rows)

    def export(self, weights: Weights, x: Float32[Tensor, "row d_in"]) -> Sae:
        """Returns the autoencoder for inference."""
        return export_threshold(weights, self.k)


def export_threshold(weights: Weights, k: int) -> Sae:
    """Returns the autoencoder with the average threshold."""
    return weights.to_sae(min(CAP * k, weights.n_features), float(weights.threshold))


@torch.no_grad()
def choose_over_batch(
    x: Float32[Tensor, "row d_in"],
    weights: Weights,
    rough: Float[Tensor, "row n_features"],
    k: int,
) -> Chosen:
    """Returns the strongest features of the joint batch; moves the threshold."""
    wanted = k * len(x) * n_ranks()
    floor = _FLOOR * float(weights.threshold)
    found = choose(x, weights, rough, CAP * k, floor=floor)
    n_found = sum_over_ranks((found.scores > floor).sum())
    if int(n_found) < wanted:
        found = choose(x, weights, rough, CAP * k)
    least = kth_largest(found.scores, wanted)
    new = max(_NEW_SHARE, 1 / (1 + int(weights.n_thresholds)))
    weights.threshold.lerp_(least.double(), new)
    weights.n_thresholds.add_(1)
    kept = found.scores.masked_fill(found.scores < least, 0)
    return Chosen(found.indices, kept)


@torch.no_grad()
def kth_largest(values: Float32[Tensor, "row k"], k: int) -> Float32[Tensor, ""]:
    """Returns the k-th largest positive value of all ranks; the least if fewer; or 0.

    Digit by digit of the bits, whose order is that of the values, so that ranks need
    to sum three histograms only.
    """
    keys = values[values > 0].view(torch.int32)
    prefix, left = 0, k
    for shift, width in _DIGITS:
        keys = keys[(keys >> (shift + width)) == prefix]
        digits = (keys >> shift) & ((1 << width) - 1)
        counts = sum_over_ranks(torch.bincount(digits, minlength=1 << width))
        above = counts.flip(0).cumsum(0)
        n_all = int(above[-1])
        if n_all == 0:
            return values.new_zeros(())
        left = min(left, n_all)
        place = int(torch.searchsorted(above, left))
        left -= int(above[place - 1]) if place else 0
        prefix = (prefix << width) | ((1 << width) - 1 - place)
    return torch.tensor(prefix, dtype=torch.int32).view(torch.float32).to(values.device)
