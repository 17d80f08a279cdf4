r"""AuxK: dead features learn to explain what the living leave over.

With e the error of a batch, g the d_in / 2 largest relu(W_enc x + b_enc) among the
dead features and s = min(n_dead / (d_in / 2), 1),

    AuxK = s / 32 * |sg(e) - g W_dec|^2 / (rows * d_out)

as Gao et al. 2024 (arXiv 2406.04093); sg: no gradient into e. It trains the encoder
of the dead too. A feature is dead if it has not fired in the last `dead_rows` rows.
"""

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ribolex.trainer.objectives.objective import Losses
from ribolex.trainer.objectives.sparse import (
    Chosen,
    choose,
    rebuild,
    rebuild_among,
)
from ribolex.trainer.objectives.weights import Weights
from ribolex.trainer.ranks import any_over_ranks, n_ranks

AUX_WEIGHT = 1 / 32
FEW = 8
"""Times d_in / 2 dead features: up to there dense products are faster."""


def add_auxk(
    weights: Weights,
    x: Float32[Tensor, "row d_in"],
    rough: Float[Tensor, "row n_features"],
    chosen: Chosen,
    error: Float32[Tensor, "row d_out"],
    squares: Float[Tensor, ""],
    dead_rows: int,
) -> Losses:
    """Returns the losses of a batch with AuxK, after counting what fired.

    Args:
        weights: their idle rows are changed.
        x: the rows.
        rough: their rough scores.
        chosen: what fired.
        error: what the living leave over.
        squares: what is minimised besides, summed over rows and dimensions.
        dead_rows: rows without firing after which a feature counts as dead.
    """
    count_firing(weights, chosen.indices[chosen.scores > 0], len(x))
    dead = torch.nonzero(weights.idle_rows > dead_rows).squeeze(1)
    scale = 1 / (len(x) * n_ranks() * error.shape[1])
    total = squares
    if len(dead):
        wanted = x.shape[1] // 2
        k = min(wanted, len(dead))
        if len(dead) <= FEW * wanted:
            rebuilt = rebuild_among(x, weights, dead, k)
        else:
            spare = choose(x, weights, rough, k, among=dead)
            rebuilt = rebuild(x, weights, spare)[:, 0]
        left = error.detach() - rebuilt
        share = min(len(dead) / wanted, 1.0)
        total = squares + AUX_WEIGHT * share * left.square().sum()
    fvu = error.detach().square().sum() * scale
    return Losses(total * scale, fvu, len(dead))


@torch.no_grad()
def count_firing(weights: Weights, fired: Tensor, n_rows: int) -> None:
    """Counts a batch: features that fired on any rank begin anew.

    Args:
        weights: their idle rows are changed.
        fired: ids, each as often as it likes.
        n_rows: rows of the batch on this rank.
    """
    seen = torch.zeros_like(weights.idle_rows, dtype=torch.bool)
    seen[fired.long()] = True
    weights.idle_rows.add_(n_rows * n_ranks()).masked_fill_(any_over_ranks(seen), 0)
