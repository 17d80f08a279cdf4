"""What a dictionary is: model, layer, training, and the manifest that says so.

Manifests are JSON in one canonical form, so that every byte of one counts. Knows
nothing of weights or folders.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ribolex.errors import CorruptArtefactError

FORMAT_VERSION = 2

Hook = Literal["normed", "raw"]
Level = Literal["nucleotide", "sequence"]
Kind = Literal["sae", "transcoder"]
ActivationFunction = Literal["topk", "jumprelu"]
Bound = Literal["at_most", "at_least"]


@dataclass(frozen=True, slots=True)
class Standardisation:
    """How activations were shifted and scaled in training, dimension by dimension.

    The published weights have it folded in; `mean` is also what a caller's fraction
    of variance unexplained is measured from.
    """

    mean: tuple[float, ...]
    sigma: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition that the exported dictionary met before it was published."""

    metric: str
    limit: float
    got: float
    bound: Bound = "at_most"
    """On which side of the limit it must be."""

    @property
    def is_met(self) -> bool:
        """Whether it holds; not if nothing sensible was measured (NaN)."""
        if self.bound == "at_least":
            return self.got >= self.limit
        return self.got <= self.limit


@dataclass(frozen=True, slots=True)
class Target:
    """What a transcoder rebuilds, where that is not what it reads."""

    layer: int
    """Counted from 1."""
    is_difference: bool
    """Whether it is that layer's activation less the one that is read."""
    standardisation: Standardisation


@dataclass(frozen=True, slots=True)
class Identity:
    """What a dictionary was made from and for, and how good it is."""

    lm_name: str
    lm_digest: str
    """SHA-256 of the language model's float32 weights."""
    layer: int
    """Counted from 1."""
    hook: Hook
    level: Level
    kind: Kind
    activation: ActivationFunction
    k: int
    """Most features that fire for a nucleotide."""
    d_in: int
    n_features: int
    standardisation: Standardisation
    training_data: str
    """SHA-256 of the RNAs that it was trained on."""
    seed: int
    licence: str
    """An SPDX expression."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """On held-out RNAs: "fvu", "l0", "dead_fraction" and others."""
    gates: tuple[Gate, ...] = ()
    target: Target | None = None
    """Of a transcoder only."""
    ancestor: str = ""
    """Content id of the version that this one's lineage goes back to, if any."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a file must be."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `dictionary.json`.

    `content_id` covers identity and files and is the same under any name and version;
    `checksum` covers everything else in the manifest.
    """

    format_version: int
    name: str
    version: int
    """0 until a registry has given one."""
    identity: Identity
    files: Mapping[str, FileEntry]
    content_id: str
    checksum: str

    __pydantic_config__ = ConfigDict(extra="forbid")

    @classmethod
    def of(
        cls,
        name: str,
        version: int,
        identity: Identity,
        files: Mapping[str, FileEntry],
    ) -> "Manifest":
        """Returns the manifest with its digests worked out."""
        identity = _IDENTITY.validate_python(asdict(identity))
        described = {file: asdict(entry) for file, entry in files.items()}
        content_id = _digest([asdict(identity), described])
        rest = [FORMAT_VERSION, name, version, content_id]
        checksum = _digest(rest)
        return cls(FORMAT_VERSION, name, version, identity, files, content_id, checksum)

    def to_bytes(self) -> bytes:
        """Returns the one JSON text of this manifest."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        return text.encode("ascii") + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Manifest":
        """Returns the manifest in a JSON text.

        Raises:
            CorruptArtefactError: it is of another format version, or not to the byte
                what was written.
        """
        try:
            fields: Any = json.loads(data)
            version = fields["format_version"]
            if version != FORMAT_VERSION:
                raise CorruptArtefactError(
                    where, f"format version is {version!r}, expected {FORMAT_VERSION}"
                )
            read = _MANIFEST.validate_python(fields)
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise CorruptArtefactError(where, "is no dictionary manifest") from error
        sound = cls.of(read.name, read.version, read.identity, read.files)
        if sound.to_bytes() != data:
            raise CorruptArtefactError(where, "was changed after it was written")
        return read


_IDENTITY = TypeAdapter(Identity)
_MANIFEST = TypeAdapter(Manifest)


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
