"""What a corpus says of itself: inputs, options, parts, what was left out and why.

Knows nothing of how a corpus is made, nor of where it lies.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ribolex.errors import CorruptArtefactError
from ribolex.rna import Rna
from ribolex.trainer.corpus.choice import digest
from ribolex.trainer.corpus.split import PARTS, Part

FORMAT_VERSION = 1
_N_EXAMPLES = 10


@dataclass(frozen=True, slots=True, order=True)
class FileRecord:
    """A file by name and content."""

    sha256: str
    size_bytes: int
    name: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many there are of a kind, with the first of them in words."""

    n: int
    examples: tuple[str, ...]


class Tallies:
    """Counts by reason, with examples; not thread-safe."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, reason: str, example: str) -> None:
        """Counts one more."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        examples = self._examples.setdefault(reason, [])
        if len(examples) < _N_EXAMPLES:
            examples.append(example)

    def freeze(self) -> dict[str, Tally]:
        """Returns what was counted, by reason in alphabetical order."""
        return {
            reason: Tally(self._counts[reason], tuple(self._examples[reason]))
            for reason in sorted(self._counts)
        }


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part: its files and what is in it."""

    table: FileRecord
    aligned: FileRecord | None
    """None where no member of this part came in an alignment."""
    digest: str
    """SHA-256 of names and sequences, as dictionaries name their training data."""
    n_rnas: int
    n_nucleotides: int
    n_families: int
    n_clans: int
    n_structures: int
    n_aligned: int
    types: Mapping[str, int]
    """RNAs by type, "" where none is known."""

    @classmethod
    def of(
        cls,
        rnas: Iterable[Rna],
        table: FileRecord,
        aligned: FileRecord | None,
        n_aligned: int,
    ) -> "PartRecord":
        """Returns the record of a part that holds these RNAs."""
        rnas = list(rnas)
        labels = {
            key: {rna.metadata[key] for rna in rnas if key in rna.metadata}
            for key in ("family_acc", "clan")
        }
        types: dict[str, int] = {}
        for rna in rnas:
            kind = rna.metadata.get("type", "")
            types[kind] = types.get(kind, 0) + 1
        return cls(
            table=table,
            aligned=aligned,
            digest=digest(rnas),
            n_rnas=len(rnas),
            n_nucleotides=sum(len(rna.sequence) for rna in rnas),
            n_families=len(labels["family_acc"]),
            n_clans=len(labels["clan"]),
            n_structures=sum(rna.structure is not None for rna in rnas),
            n_aligned=n_aligned,
            types=dict(sorted(types.items(), key=lambda kind: (-kind[1], kind[0]))),
        )


@dataclass(frozen=True, slots=True)
class CorpusManifest:
    """The content of corpus.json."""

    format_version: int
    inputs: tuple[FileRecord, ...]
    labels: FileRecord | None
    options: Mapping[str, bool | int | float | str | None]
    n_read: int
    """RNAs in the inputs, those that were left out included."""
    parts: Mapping[Part, PartRecord]
    dropped: Mapping[str, Tally]
    """RNAs that were left out, each under one reason."""
    noted: Mapping[str, Tally]
    """What was set right or deserves a look; none of these RNAs is out for it."""

    def to_bytes(self) -> bytes:
        """Returns the JSON that `from_bytes` reads."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "CorpusManifest":
        """Returns what was written.

        Raises:
            CorruptArtefactError: it is no manifest, or of another format version.
        """
        try:
            fields: Any = json.loads(data)
            version = fields["format_version"]
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptArtefactError(where, "is no manifest of a corpus") from error
        if version != FORMAT_VERSION:
            raise CorruptArtefactError(
                where, f"format version {version!r}, expected {FORMAT_VERSION}"
            )
        try:
            manifest = _ADAPTER.validate_json(data, strict=True)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(str(key) for key in fault["loc"])
            raise CorruptArtefactError(where, f"{place}: {fault['msg']}") from error
        if set(manifest.parts) != set(PARTS):
            raise CorruptArtefactError(where, f"expected the parts {', '.join(PARTS)}")
        return manifest


_ADAPTER = TypeAdapter(CorpusManifest)
