"""What features are called in another version of their dictionary, as values.

Field by field the messages of `ribolex.v1`, which say more. Knows no gRPC.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ribolex.client.refs import DictionaryRef


@dataclass(frozen=True, slots=True)
class MappedFeature:
    """A feature and what it is in another version."""

    feature: int
    counterpart: int | None
    """None if it has none."""
    confidence: float
    """How sure it is that both are the same, 0 to 1; 0 without a counterpart."""
    label: str
    """What the counterpart stands for."""


@dataclass(frozen=True, slots=True)
class MappedFeatures:
    """Features in the order in which they were asked for; a sequence of them."""

    features: tuple[MappedFeature, ...]
    source: DictionaryRef
    """That they are of."""
    target: DictionaryRef
    """That their counterparts are of."""
    path: tuple[DictionaryRef, ...]
    """The versions that the way leads through, source and target included."""

    def __len__(self) -> int:
        return len(self.features)

    def __iter__(self) -> Iterator[MappedFeature]:
        return iter(self.features)

    def __getitem__(self, place: int) -> MappedFeature:
        return self.features[place]
