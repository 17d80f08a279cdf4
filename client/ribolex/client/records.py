"""What a server answers, as values: codes, RNAs, features, dictionaries.

Field by field the messages of `ribolex.v1`, which say more. Knows no gRPC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ribolex.client.codes import SparseCodes
from ribolex.client.features import Evidence as Evidence
from ribolex.client.features import Feature as Feature
from ribolex.client.features import FeatureAncestor as FeatureAncestor
from ribolex.client.features import FeatureExample as FeatureExample
from ribolex.client.features import FeatureProfile as FeatureProfile
from ribolex.client.features import ListedFeature as ListedFeature
from ribolex.client.features import Logo as Logo
from ribolex.client.features import NearestFeature as NearestFeature
from ribolex.client.features import Suggestion as Suggestion
from ribolex.client.refs import DictionaryRef as DictionaryRef

Level = Literal["sequence", "nucleotide", "both"]
Pooling = Literal["max", "mean", "count"]
Hook = Literal["normed", "raw"]
DensePooling = Literal["mean", "max"]


ChangeKind = Literal[
    "serving", "kept", "loaded", "activated", "refused", "retired", "unknown"
]


@dataclass(frozen=True, slots=True)
class DictionaryChange:
    """What became of a dictionary version on a server."""

    kind: ChangeKind
    """"serving" and "kept" (to roll back to) tell what is so when one begins to watch;
    "unknown" is from a newer server."""
    dictionary: DictionaryRef
    content_id: str
    """SHA-256 of its content; empty if it was not loaded."""
    reason: str
    """Why it was refused; else empty."""
    time_s: float
    """UTC timestamp."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A dictionary version was made current."""

    dictionary: DictionaryRef
    before: DictionaryRef | None
    """The version that was current until then."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one request went, in seconds on the server's clock."""

    queue_s: float
    compute_s: float
    total_s: float
    prepare_s: float = 0.0
    n_cached: int = 0
    """Sequences whose answer was computed before and kept."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one member of a batch was refused."""

    index: int
    """Its place in what was given, counted from 0."""
    reason: str
    """Kind of fault, for programs: "invalid_sequence", "sequence_too_long"."""
    message: str
    """One sentence for people."""
    name: str = ""
    """Name of the RNA, where it had one."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The codes of a batch of sequences; len() gives the sequences.

    A sequence that was refused has an empty row, no nucleotides and nan for fvu.
    """

    n_nucleotides: npt.NDArray[np.int64]
    """[sequence] nucleotides encoded."""
    sequence_codes: SparseCodes | None
    """[sequence, feature] if asked for."""
    nucleotide_codes: SparseCodes | None
    """[nucleotide of all sequences, feature] if asked for, see `nucleotides`."""
    fvu: npt.NDArray[np.float32]
    """[sequence] fraction of variance unexplained; near 1 the dictionary is lost."""
    rejections: tuple[Rejection, ...]
    dictionary: DictionaryRef
    timing: Timing
    index: int = 0
    """Which batch of its stream it is, counted from 0."""

    def __len__(self) -> int:
        return len(self.n_nucleotides)

    @property
    def row_offsets(self) -> npt.NDArray[np.int64]:
        """[sequence + 1] first row of each sequence in nucleotide_codes."""
        return np.concatenate([np.zeros(1, np.int64), self.n_nucleotides]).cumsum()

    def nucleotides(self, index: int) -> SparseCodes:
        """Returns the nucleotide codes of one sequence, [nucleotide, feature].

        Raises:
            IndexError: there is no such sequence.
            ValueError: nucleotide codes were not asked for.
        """
        if self.nucleotide_codes is None:
            raise ValueError(
                'no nucleotide codes: ask for level="nucleotide" or "both"'
            )
        if not 0 <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        offsets = self.row_offsets
        return self.nucleotide_codes.slice(int(offsets[index]), int(offsets[index + 1]))


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """The activations of a batch of sequences; len() gives the sequences.

    A sequence that was refused has no rows and no nucleotides.
    """

    activations: npt.NDArray[np.float32] | npt.NDArray[np.float16]
    """[row of all sequences, layer, d_model], see `of`."""
    n_nucleotides: npt.NDArray[np.int64]
    """[sequence] nucleotides read."""
    row_offsets: npt.NDArray[np.int64]
    """[sequence + 1] first row of each sequence in `activations`."""
    layers: tuple[int, ...]
    """Of the middle axis, rising, counted from 1."""
    hook: Hook
    pooling: DensePooling | None
    """How nucleotides made one row; None: there is one row a nucleotide."""
    model_name: str
    model_digest: str
    """SHA-256 over the model's weights: activations are that model's only."""
    rejections: tuple[Rejection, ...]
    timing: Timing

    def __len__(self) -> int:
        return len(self.n_nucleotides)

    def of(
        self, index: int, layer: int | None = None
    ) -> npt.NDArray[np.float32] | npt.NDArray[np.float16]:
        """Returns a view of one sequence's rows, [row, d_model], in one layer.

        Args:
            index: which sequence.
            layer: counted from 1; may be left out if there is only one.

        Raises:
            IndexError: there is no such sequence.
            ValueError: that layer was not asked for, or it is not said which.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        if layer is None and len(self.layers) == 1:
            (layer,) = self.layers
        if layer not in self.layers:
            raise ValueError(f"layer {layer} is none of {self.layers}")
        start, stop = self.row_offsets[index], self.row_offsets[index + 1]
        return self.activations[start:stop, self.layers.index(layer)]


@dataclass(frozen=True, slots=True)
class Rna:
    """One RNA, to be stored or as stored."""

    name: str
    sequence: str
    structure: str | None = None
    """Dot-bracket, one sign a nucleotide, or None for unknown."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """"family", "type", "clan", "organism" or own keys."""


@dataclass(frozen=True, slots=True)
class MetadataKey:
    """What RNAs of a collection have under one key of their metadata."""

    key: str
    n_rnas: int
    """That have a value."""
    n_values: int
    """Different ones."""
    is_number: bool
    """Whether every value is a number, and can be asked for by a range."""


@dataclass(frozen=True, slots=True)
class CollectionDetails:
    """How much a collection holds."""

    n_nucleotides: int
    records_bytes: int
    """Of the file of RNAs, metadata and codes on the server's disk."""
    index_bytes: int
    """Of files that are drawn from it."""
    keys: tuple[MetadataKey, ...]
    """What most RNAs have first."""
    kept: DictionaryRef | None = None
    """What it was indexed under before, if that index is kept."""
    coming: DictionaryRef | None = None
    """What it is on its way to."""
    kept_bytes: int = 0
    """Of all files of what is kept, on the server's disk."""
    coming_bytes: int = 0
    """Of all files of what is coming so far."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Facts about a collection."""

    name: str
    dictionary: DictionaryRef
    pooling: Pooling
    n_rnas: int
    created_at_s: float
    """Seconds since 1970-01-01T00:00:00 UTC."""
    details: CollectionDetails | None = None
    """Only where one collection was asked for, and its dictionary is there."""


ReindexState = Literal["encoding", "comparing", "held", "done"]
"""What is being done; "held": neighbours differ too much, it stays where it was."""


@dataclass(frozen=True, slots=True)
class ReindexProgress:
    """How far a collection is on its way to another dictionary."""

    state: ReindexState
    n_done: int
    """RNAs in the new index as they are in the old one."""
    n_rnas: int
    overlap: float | None
    """Mean part of the ten nearest neighbours that are the same before and after."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a file holds that a collection can be made of."""

    collection: str
    dictionary: DictionaryRef
    n_rnas: int
    watermark: int
    """The last change that is in it; later ones have larger numbers."""
    taken_at_s: float
    """Seconds since 1970-01-01T00:00:00 UTC."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class UpsertReport:
    """What became of the RNAs that were sent to be stored."""

    n_inserted: int
    n_updated: int
    n_rejected: int
    rejections: tuple[Rejection, ...]
    """The refused RNAs; a server tells the first 1,000 of a call."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredRna:
    """One stored RNA with the codes that were asked for."""

    rna: Rna
    dictionary: DictionaryRef
    sequence_code: SparseCodes | None
    """[1, feature], pooled as the collection says."""
    nucleotide_codes: SparseCodes | None
    """[nucleotide, feature]."""
    fvu: float


@dataclass(frozen=True, slots=True)
class Dictionary:
    """One dictionary version: what it was made from and how good it is."""

    ref: DictionaryRef
    content_id: str
    model_name: str
    model_digest: str
    layer: int
    hook: str
    level: str
    kind: str
    activation_function: str
    k: int
    d_in: int
    n_features: int
    licence: str
    metrics: Mapping[str, float]
    is_current: bool
    """Whether the name alone means this version."""
    is_default: bool
    """Whether no name at all means this version."""


@dataclass(frozen=True, slots=True)
class FeatureCard:
    """What is known about a feature."""

    dictionary: DictionaryRef
    feature: Feature
    examples: tuple[FeatureExample, ...]
    """Strongest first."""
    nearest: tuple[NearestFeature, ...]
    """Nearest first."""
    basis: Mapping[str, str] = field(default_factory=dict)
    """What the evidence was measured on, in plain words."""
    ancestor: FeatureAncestor | None = None
    """None if it goes on none that is known."""
