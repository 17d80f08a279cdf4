"""What every objective offers a fit, and what a batch gives."""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Float32
from torch import Tensor

from ribolex.dictionary import Sae
from ribolex.trainer.objectives.weights import Weights


class Recipe(NamedTuple):
    """How an objective wants to be optimised, beyond its rate."""

    has_unit_rows: bool = True
    """Decoder rows have length 1; what would only change that is taken out."""
    is_cosine: bool = False
    """The rate falls along a cosine from the first step, not linearly at the end."""
    weight_decay: float = 0.0
    longest_gradient: float = float("inf")
    """Gradients are shortened to this length, all weights taken together."""


class Losses(NamedTuple):
    """What one batch gave; of several ranks, this one's part of each sum."""

    total: Float[Tensor, ""]
    """What is minimised."""
    fvu: Float[Tensor, ""]
    """Mean squared error of standardised rows: the variance unexplained."""
    n_dead: int


@runtime_checkable
class Objective(Protocol):
    """A loss over batches, and how what it made is run on one row at a time."""

    recipe: ClassVar[Recipe]

    def losses(
        self,
        weights: Weights,
        x: Float32[Tensor, "row d_in"],
        y: Float32[Tensor, "row d_out"],
    ) -> Losses:
        """Returns the losses of a batch, and counts which features fired.

        Args:
            weights: what is trained; its counts are changed.
            x: standardised rows to read.
            y: standardised rows to rebuild; `x` itself but for a transcoder.
        """

    def export(self, weights: Weights, x: Float32[Tensor, "row d_in"]) -> Sae:
        """Returns the autoencoder for inference.

        Args:
            weights: as trained.
            x: rows to choose thresholds and limits by, the same on all ranks.
        """
