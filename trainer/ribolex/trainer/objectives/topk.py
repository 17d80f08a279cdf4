r"""TopK, as Gao et al. 2024 (arXiv 2406.04093).

With f = the k largest of relu(W_enc x + b_enc) and e = y - (f W_dec + b_dec),

    loss = |e|^2 / (rows * d_out) + AuxK

Exported as it is; a transcoder as JumpReLU, since SAELens knows no TopK transcoder:
one threshold with which k features fire in the mean.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float32
from torch import Tensor

from ribolex.dictionary import Sae
from ribolex.trainer.objectives.auxk import add_auxk
from ribolex.trainer.objectives.batchtopk import CAP, kth_largest
from ribolex.trainer.objectives.objective import Losses, Recipe
from ribolex.trainer.objectives.sparse import choose, choose_k, rebuild, rough_scores
from ribolex.trainer.objectives.weights import Weights
from ribolex.trainer.ranks import n_ranks


@dataclass(frozen=True, slots=True)
class TopK:
    """The k strongest features of each row."""

    k: int
    dead_rows: int
    is_transcoder: bool = False
    recipe: ClassVar[Recipe] = Recipe()

    def losses(
        self,
        weights: Weights,
        x: Float32[Tensor, "row d_in"],
        y: Float32[Tensor, "row d_out"],
    ) -> Losses:
        """Returns the losses of a batch, and counts which features fired."""
        rough = rough_scores(x, weights)
        chosen = choose_k(x, weights, rough, self.k)
        error = y - weights.b_dec - rebuild(x, weights, chosen)[:, 0]
        squares = error.square().sum()
        return add_auxk(weights, x, rough, chosen, error, squares, self.dead_rows)

    def export(self, weights: Weights, x: Float32[Tensor, "row d_in"]) -> Sae:
        """Returns the autoencoder for inference."""
        if not self.is_transcoder:
            return weights.to_sae(self.k)
        found = choose(x, weights, rough_scores(x, weights), CAP * self.k)
        # The sample is on every rank, so each value counts as often.
        least = kth_largest(found.scores, self.k * len(x) * n_ranks())
        return weights.to_sae(min(CAP * self.k, weights.n_features), float(least))
