"""What a search for near features gives, as values.

Field by field the messages of `ribolex.v1`, which say more. Knows no gRPC.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ribolex.client.features import NearestFeature
from ribolex.client.refs import DictionaryRef


@dataclass(frozen=True, slots=True)
class SearchedDictionary:
    """A dictionary version that was searched, and what chance gives in it."""

    dictionary: DictionaryRef
    layer: int
    n_features: int
    chance_median: float
    """The nearest cosine of random directions that lie as the query's features do."""
    chance_high: float
    """The 95th percentile of the same."""


@dataclass(frozen=True, slots=True)
class FiringFeature:
    """A feature that fires in a stretch of an RNA."""

    feature: int
    n_nucleotides: int
    max_activation: float
    label: str


@dataclass(frozen=True, slots=True)
class NearestFeatures:
    """Features near to something, nearest first; a sequence of them."""

    features: tuple[NearestFeature, ...]
    dictionary: DictionaryRef
    """That the query is of."""
    searched: tuple[SearchedDictionary, ...]
    firing: tuple[FiringFeature, ...]
    """Those of that dictionary that fire in the stretch, the most of it first."""

    def __len__(self) -> int:
        return len(self.features)

    def __iter__(self) -> Iterator[NearestFeature]:
        return iter(self.features)

    def __getitem__(self, place: int) -> NearestFeature:
        return self.features[place]
