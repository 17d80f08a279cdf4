r"""ReLU with an L1 penalty, after SAE-RNA (Kim & Nam, arXiv 2510.02734): to compare.

With f = relu(W_enc x + b_enc) and e = y - (f W_dec + b_dec),

    loss = |e|^2 / rows + l1 * |f|_1 / rows

Encoder and decoder are untied and begin as Kaiming's and Xavier's; decoder rows keep
no length, b_dec is not taken from x, nothing is done for dead features. AdamW with
weight decay 1e-4, a cosine, gradients no longer than 1. The paper has no public code
known to us: this follows those who repeat it; l1 is 3e-3, the rate 1e-3, the batch
1,024 rows. `docs/training.md` says what comes of it.

Exported as JumpReLU with the threshold 0. How many features fire is not bounded in
training; the limit that a code needs is what cuts a thousandth of the firings.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from ribolex.dictionary import Sae
from ribolex.trainer.objectives.auxk import count_firing
from ribolex.trainer.objectives.objective import Losses, Recipe
from ribolex.trainer.objectives.weights import Weights
from ribolex.trainer.ranks import n_ranks

RATE = 1e-3
_CUT = 1e-3
_ROWS_A_PART = 2048


@dataclass(frozen=True, slots=True)
class Relu:
    """As many features as a penalty leaves."""

    l1: float
    dead_rows: int
    recipe: ClassVar[Recipe] = Recipe(
        has_unit_rows=False, is_cosine=True, weight_decay=1e-4, longest_gradient=1.0
    )

    def losses(
        self,
        weights: Weights,
        x: Float32[Tensor, "row d_in"],
        y: Float32[Tensor, "row d_out"],
    ) -> Losses:
        """Returns the losses of a batch, and counts which features fired."""
        codes = torch.addmm(weights.b_enc, x, weights.W_enc.T).relu()
        squares = (y - weights.b_dec - codes @ weights.W_dec).square().sum()
        n_rows = len(x) * n_ranks()
        total = (squares + self.l1 * codes.sum()) / n_rows
        count_firing(weights, torch.nonzero(codes.detach().amax(0)).squeeze(1), len(x))
        n_dead = int((weights.idle_rows > self.dead_rows).sum())
        return Losses(total, squares.detach() / (n_rows * y.shape[1]), n_dead)

    @torch.no_grad()
    def export(self, weights: Weights, x: Float32[Tensor, "row d_in"]) -> Sae:
        """Returns the autoencoder for inference."""
        counts = torch.zeros(weights.n_features + 1, dtype=torch.int64)
        for part in torch.split(x, _ROWS_A_PART):
            fired = (torch.addmm(weights.b_enc, part, weights.W_enc.T) > 0).sum(1)
            counts += torch.bincount(fired.cpu(), minlength=len(counts))
        return weights.to_sae(_limit(counts), 0.0)


def begin(
    n_features: int, d_in: int, d_out: int, generator: np.random.Generator
) -> Weights:
    """Returns the weights that training starts from."""

    def draw(shape: tuple[int, int], bound: float) -> Tensor:
        return torch.from_numpy(generator.uniform(-bound, bound, shape)).float()

    return Weights(
        draw((n_features, d_in), math.sqrt(6 / d_in)),
        torch.zeros(n_features),
        draw((n_features, d_out), math.sqrt(6 / (n_features + d_out))),
        torch.zeros(d_out),
    )


def _limit(counts: Tensor) -> int:
    """Returns the least limit that cuts a thousandth of the firings at most.

    Args:
        counts: [n_features + 1], rows on which so many features fire.
    """
    at_least = counts.flip(0).cumsum(0).flip(0)[1:]
    kept = at_least.cumsum(0).double() / max(1, int(at_least.sum()))
    limit = torch.searchsorted(kept, 1 - _CUT) + 1
    return int(limit.clamp(1, len(counts) - 1))
