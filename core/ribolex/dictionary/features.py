"""What is known about the features of a dictionary: statistics, evidence, examples.

One Parquet file, one row a feature. Files from before evidence had columns of its own
(a text `evidence`, no profiles) are read as well. Knows nothing of how evidence was
measured.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int32
from pydantic import TypeAdapter

from ribolex.dictionary.evidence import Evidence, EvidenceTable
from ribolex.dictionary.profiles import Profiles
from ribolex.errors import CorruptArtefactError


@dataclass(frozen=True, slots=True)
class Example:
    """A training RNA in which a feature fires strongly."""

    rna: str
    max_activation: float
    positions: tuple[int, ...]
    """Nucleotides in which it fires, counted from 0, rising."""
    sequence: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    """Of the feature at those positions; empty if not kept."""
    structure: str = ""
    """Dot-bracket; empty if not known."""


_EXAMPLES = TypeAdapter(tuple[Example, ...])


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """One row a feature, by id; read-only."""

    density: Float32[np.ndarray, " n_features"]
    """Fraction of training nucleotides in which it fires."""
    mean_activation: Float32[np.ndarray, " n_features"]
    """Mean of its value where it fires; 0 if it never does."""
    max_activation: Float32[np.ndarray, " n_features"]
    idf: Float32[np.ndarray, " n_features"]
    """log((1 + n) / (1 + df)) over the training RNAs."""
    label: Sequence[str]
    """Drawn from the evidence; empty where it says too little."""
    evidence: EvidenceTable
    examples: Sequence[str]
    """JSON, strongest first; `examples_of` reads it."""
    ancestor: Int32[np.ndarray, " n_features"]
    """Feature of the ancestor (`Identity.ancestor`) that it goes on; -1 for none."""
    ancestor_confidence: Float32[np.ndarray, " n_features"]
    """How sure that is, 0..1; 0 where there is none."""
    profiles: Profiles | None = None
    """None in files from before there were any."""
    basis: Mapping[str, str | int | float] = field(default_factory=dict)
    """What evidence was measured on, and with what controls, in plain words."""

    @classmethod
    def blank(cls, n_features: int) -> "FeatureTable":
        """Returns a table of which nothing is known but the number of features."""
        zeros, texts = np.zeros(n_features, np.float32), ("",) * n_features
        nobody = np.full(n_features, -1, np.int32)
        lists = ("[]",) * n_features
        none = EvidenceTable.of([()] * n_features)
        return cls(zeros, zeros, zeros, zeros, texts, none, lists, nobody, zeros)

    def __len__(self) -> int:
        return len(self.density)

    def evidence_of(self, feature: int) -> tuple[Evidence, ...]:
        """Returns what was measured about a feature, strongest first."""
        return self.evidence.of_feature(feature)

    def examples_of(self, feature: int) -> tuple[Example, ...]:
        """Returns the published RNAs in which a feature fires, strongest first."""
        return _EXAMPLES.validate_json(self.examples[feature])


def examples_json(examples: Sequence[Example]) -> str:
    """Returns the text for `FeatureTable.examples`."""
    return _EXAMPLES.dump_json(tuple(examples)).decode()


_NUMBERS = ("density", "mean_activation", "max_activation", "idf")
_LINEAGE = ("ancestor", "ancestor_confidence")
_EVIDENCE, _OLD_EVIDENCE = "measurements", "evidence"
_BASIS = b"ribolex.basis"


def write_features(path: Path, features: FeatureTable) -> None:
    """Writes the table as Parquet."""
    columns = {"feature": pa.array(np.arange(len(features), dtype=np.uint32))}
    columns |= {name: pa.array(getattr(features, name)) for name in _NUMBERS}
    columns["label"] = pa.array(features.label, pa.string())
    columns["examples"] = pa.array(features.examples, pa.string())
    columns |= {name: pa.array(getattr(features, name)) for name in _LINEAGE}
    columns[_EVIDENCE] = features.evidence.to_arrow()
    if features.profiles is not None:
        columns |= features.profiles.to_arrow()
    basis = json.dumps(dict(features.basis))
    table = pa.table(columns).replace_schema_metadata({_BASIS: basis.encode()})
    pq.write_table(table, path, compression="zstd", compression_level=9)


def read_features(path: Path) -> FeatureTable:
    """Returns the table in a Parquet file.

    Raises:
        CorruptArtefactError: it is not such a table.
    """
    try:
        table = pq.read_table(path)
        return FeatureTable(
            **{name: table[name].to_numpy().astype(np.float32) for name in _NUMBERS},
            label=tuple(table["label"].to_pylist()),
            evidence=_read_evidence(table),
            examples=tuple(table["examples"].to_pylist()),
            ancestor=table["ancestor"].to_numpy().astype(np.int32),
            ancestor_confidence=table["ancestor_confidence"]
            .to_numpy()
            .astype(np.float32),
            profiles=_read_profiles(table),
            basis=json.loads((table.schema.metadata or {}).get(_BASIS, b"{}")),
        )
    except (
        pa.ArrowException,
        AttributeError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise CorruptArtefactError(path, "is no table of features") from error


def _read_evidence(table: pa.Table) -> EvidenceTable:
    if _EVIDENCE in table.column_names:
        return EvidenceTable.from_arrow(table[_EVIDENCE])
    return EvidenceTable.from_json(table[_OLD_EVIDENCE].to_pylist())


def _read_profiles(table: pa.Table) -> Profiles | None:
    if "n_firings" not in table.column_names:
        return None
    return Profiles.from_arrow(table)
