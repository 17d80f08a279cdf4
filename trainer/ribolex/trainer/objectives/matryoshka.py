r"""Matryoshka BatchTopK, as Bussmann et al. 2025 (arXiv 2503.17547).

Features are nested: the first n / 16, n / 8, n / 4, n / 2 and all n of them must each
rebuild the rows on their own. With f as in BatchTopK, chosen once among all features,
and e_m = y - (f_1 W_1 + ... + f_m W_m + b_dec) the error of the first m,

    loss = sum over m of |e_m|^2 / (rows * d_out) + AuxK of e_n

Early features are thus general, later ones special. Exported as BatchTopK is.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float32
from torch import Tensor

from ribolex.dictionary import Sae
from ribolex.trainer.objectives.auxk import add_auxk
from ribolex.trainer.objectives.batchtopk import choose_over_batch, export_threshold
from ribolex.trainer.objectives.objective import Losses, Recipe
from ribolex.trainer.objectives.sparse import rebuild, rough_scores
from ribolex.trainer.objectives.weights import Weights

_PARTS = (16, 8, 4, 2, 1)


@dataclass(frozen=True, slots=True)
class Matryoshka:
    """The strongest features of a batch; the first must do without the last."""

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
        sums = rebuild(x, weights, chosen, prefix_ends(weights.n_features))
        errors = (y - weights.b_dec)[:, None] - sums.cumsum(1)
        squares, error = errors.square().sum(), errors[:, -1]
        return add_auxk(weights, x, rough, chosen, error, squares, self.dead_rows)

    def export(self, weights: Weights, x: Float32[Tensor, "row d_in"]) -> Sae:
        """Returns the autoencoder for inference."""
        return export_threshold(weights, self.k)


def prefix_ends(n_features: int) -> list[int]:
    """Returns how many features each of the nested dictionaries has."""
    return sorted({max(1, n_features // part) for part in _PARTS})
