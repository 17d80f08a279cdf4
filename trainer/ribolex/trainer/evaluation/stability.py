"""How much of a dictionary a second one, of another seed, has found again.

Knows decoder directions only.
"""

from dataclasses import dataclass

from ribolex.dictionary import Sae
from ribolex.trainer.matching import match, nearest_directions, scores_of

_NEIGHBOURS = 32
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Stability:
    """Cosines of decoder directions, each feature with a partner of its own."""

    other: str
    """What the second dictionary is."""
    mean_cosine: float
    """A feature that finds no partner counts as 0."""
    share_07: float
    """Features whose partner has a cosine of 0.7 or more."""
    share_09: float


def measure_stability(sae: Sae, other: Sae, name: str) -> Stability:
    """Returns how alike two dictionaries are under the best assignment.

    Partners are sought among the 32 nearest directions of each feature, both ways.

    Args:
        sae: the dictionary's.
        other: of the same width of activations.
        name: what the other one is.
    """
    cosines = nearest_directions(sae.W_dec, other.W_dec, _NEIGHBOURS)
    found = scores_of(cosines, match(cosines, _LEAST))
    return Stability(
        other=name,
        mean_cosine=float(found.mean()),
        share_07=float((found >= 0.7).mean()),
        share_09=float((found >= 0.9).mean()),
    )
