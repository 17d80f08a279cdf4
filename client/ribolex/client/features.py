"""What a server tells of features, as values; `records` has them, too.

Field by field the messages of `ribolex.v1`, which say more. Knows no gRPC.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ribolex.client.refs import DictionaryRef


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measurement of how a feature goes with a label."""

    label: str
    measure: str
    effect: float
    q_value: float | None
    control: float | None
    support: int | None
    n_families: int | None = None
    low: float | None = None
    """The effect's 95 % interval when clans are drawn anew."""
    high: float | None = None
    percentile: float | None = None
    """Share of a random dictionary's features with a smaller effect."""


@dataclass(frozen=True, slots=True)
class Logo:
    """What stands at each place around a feature's strongest firings."""

    signs: str
    first: int
    """Place of the first column; the firing is at 0."""
    shares: tuple[tuple[float, ...], ...]
    """[place][sign], 0 to 1."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A label that a language model wrote, and how well it predicts the feature."""

    label: str
    score: float
    """Pearson's r on activations held out."""
    control: float
    """The same with another feature's label."""


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """How a feature lies in the RNAs in which it fires, and what surrounds it there."""

    n_firings: int
    n_rnas: int
    n_families: int
    shape: str
    run_length: int
    period: int
    type_selectivity: float | None
    type_entropy: float | None
    preferred_type: str
    shuffled_ratio: float | None
    is_composition_only: bool
    letters: Logo | None
    """None in lists, as is the next one."""
    elements: Logo | None
    suggestion: Suggestion | None


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature: its statistics on the trainer's RNAs and what it stands for."""

    id: int
    label: str
    density: float
    mean_activation: float
    max_activation: float
    idf: float
    evidence: tuple[Evidence, ...]
    label_confidence: float | None = None
    """Share of the draws of clans in which all that the label says holds."""
    profile: FeatureProfile | None = None
    """None if the dictionary does not tell."""


@dataclass(frozen=True, slots=True)
class ListedFeature:
    """A feature in a list, without evidence and logos."""

    feature: Feature
    evidence: Evidence | None
    """The strongest of what was asked for; None if it has none."""


@dataclass(frozen=True, slots=True)
class FeatureExample:
    """An RNA in which a feature fires; positions count from 0."""

    rna: str
    max_activation: float
    positions: tuple[int, ...]
    sequence: str
    metadata: Mapping[str, str]
    values: tuple[float, ...] = ()
    """Of the feature at those positions; may be empty."""
    structure: str = ""
    """Dot-bracket; may be empty."""


@dataclass(frozen=True, slots=True)
class FeatureAncestor:
    """The feature of an older version that a feature goes on."""

    dictionary: DictionaryRef
    """That version; it may be retired by now."""
    feature: int
    confidence: float
    """How sure it is that both are the same, 0 to 1."""


@dataclass(frozen=True, slots=True)
class NearestFeature:
    """A feature near to another, to an activation, or to a stretch of an RNA."""

    feature: int
    cosine: float
    label: str
    dictionary: DictionaryRef | None = None
    """That it is of; None on a feature's card, where it is the card's."""
