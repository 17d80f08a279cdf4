"""Two groups of RNAs, and how they differ, as values.

Field by field the messages of collection.proto, which define the numbers. Knows no
gRPC.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ribolex.client.hits import Where
from ribolex.client.records import DictionaryRef, Rna, Timing

Unit = Literal["rna", "family", "clan"]


@dataclass(frozen=True, slots=True)
class Group:
    """RNAs that belong together; give one of the three."""

    where: Where = ()
    """Stored RNAs for which these conditions hold, as of `Client.search`."""
    names: Sequence[str] = ()
    """Stored RNAs."""
    rnas: Sequence[Rna] = ()
    """RNAs to send along; of metadata clan, family_acc and family count."""


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What is known of a group that was looked at."""

    n_found: int
    n_rnas: int
    """Looked at; fewer where some were drawn."""
    n_units: int
    mean_nucleotides: float


@dataclass(frozen=True, slots=True)
class FeatureContrast:
    """How two groups differ in one feature."""

    feature: int
    label: str
    effect: float
    """Rank-biserial correlation, -1 to 1; above 0: more in the first group."""
    effect_low: float
    """95 % interval when units are drawn anew."""
    effect_high: float
    log_ratio: float
    """log2 of the ratio of the shares of RNAs in which it fires."""
    log_ratio_low: float
    log_ratio_high: float
    first_share: float
    second_share: float
    p_value: float
    q_value: float
    """False-discovery rate over all features tested."""
    shuffled_effect: float | None
    """Between the same RNAs shuffled; None if these were not read."""
    is_composition_only: bool
    """Whether that explains the effect."""


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """How two groups differ, the surest features first."""

    dictionary: DictionaryRef
    first: GroupFacts
    second: GroupFacts
    unit: Unit
    """What was taken for one observation."""
    n_tested: int
    n_significant: int
    """With a q-value of at most 0.05."""
    n_beyond_composition: int
    features: tuple[FeatureContrast, ...]
    timing: Timing
    smallest_p: float = 0.0
    """That any feature can have with such units; 0 if some lie in both groups."""

    @property
    def n_needed(self) -> int:
        """Features that must have it for one of them to be significant."""
        return max(math.ceil(self.smallest_p * self.n_tested / 0.05), 1)

    def __len__(self) -> int:
        return len(self.features)

    def __iter__(self) -> Iterator[FeatureContrast]:
        return iter(self.features)
