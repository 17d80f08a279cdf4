"""What a search for features gives, as values; `records` has the RNAs.

Field by field the messages of `ribolex.v1`, which say more. Knows no gRPC.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ribolex.client.features import Feature
from ribolex.client.records import DictionaryRef, Rna, Timing


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of nucleotides at which a feature fires; counted from 0."""

    feature: int
    start: int
    stop: int
    """One past the last."""
    max_activation: float
    """The feature's largest value there."""


@dataclass(frozen=True, slots=True)
class FeatureMatch:
    """An RNA in which features fire as was asked for."""

    rna: Rna
    stretches: tuple[Stretch, ...]
    """By feature in the order of the query, then by start."""


@dataclass(frozen=True, slots=True)
class FeatureMatches:
    """One page of the answer to a feature query, RNAs by name; an iterable of them."""

    matches: tuple[FeatureMatch, ...]
    dictionary: DictionaryRef
    features: tuple[Feature, ...]
    """Those that the query names, in its order."""
    n_rnas: int
    """In the collection."""
    n_searched: int
    """Of these, that the conditions let through."""
    n_matching: int | None
    """Of these, that match; None if they were not to be counted."""
    next_page_token: str
    """Empty if this is the last page."""
    timing: Timing

    def __len__(self) -> int:
        return len(self.matches)

    def __iter__(self) -> Iterator[FeatureMatch]:
        return iter(self.matches)
