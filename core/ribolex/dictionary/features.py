"""What is known about the features of a dictionary: statistics, evidence, examples.

One Parquet file, one row a feature. Knows nothing of how evidence was measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int32
from pydantic import TypeAdapter

from ribolex.errors import CorruptArtefactError


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measurement of how a feature goes with a label."""

    label: str
    """Its kind first: "type:tRNA", "family:RF00005", "nucleotide:G"."""
    measure: str
    """What was measured: "enrichment", "f1_gain"."""
    effect: float
    q_value: float | None = None
    """False-discovery rate over all tests of the dictionary; None if not tested."""
    control: float | None = None
    """The same measure for what it was compared with."""
    support: int | None = None
    """RNAs with this label among those in which it fires."""
    n_families: int | None = None
    """Families that those RNAs belong to."""


@dataclass(frozen=True, slots=True)
class Example:
    """A training RNA in which a feature fires strongly."""

    rna: str
    max_activation: float
    positions: tuple[int, ...]
    """Nucleotides in which it fires, counted from 0, rising."""
    sequence: str
    metadata: Mapping[str, str] = field(default_factory=dict)


_EVIDENCE = TypeAdapter(tuple[Evidence, ...])
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
    evidence: Sequence[str]
    """JSON, strongest first; `evidence_of` reads it."""
    examples: Sequence[str]
    """JSON, strongest first; `examples_of` reads it."""
    ancestor: Int32[np.ndarray, " n_features"]
    """Feature of the ancestor (`Identity.ancestor`) that it goes on; -1 for none."""
    ancestor_confidence: Float32[np.ndarray, " n_features"]
    """How sure that is, 0..1; 0 where there is none."""

    @classmethod
    def blank(cls, n_features: int) -> "FeatureTable":
        """Returns a table of which nothing is known but the number of features."""
        zeros, texts = np.zeros(n_features, np.float32), ("",) * n_features
        nobody = np.full(n_features, -1, np.int32)
        lists = ("[]",) * n_features
        return cls(zeros, zeros, zeros, zeros, texts, lists, lists, nobody, zeros)

    def __len__(self) -> int:
        return len(self.density)

    def evidence_of(self, feature: int) -> tuple[Evidence, ...]:
        """Returns what was measured about a feature, strongest first."""
        return _EVIDENCE.validate_json(self.evidence[feature])

    def examples_of(self, feature: int) -> tuple[Example, ...]:
        """Returns the published RNAs in which a feature fires, strongest first."""
        return _EXAMPLES.validate_json(self.examples[feature])


def evidence_json(evidence: Sequence[Evidence]) -> str:
    """Returns the text for `FeatureTable.evidence`."""
    return _EVIDENCE.dump_json(tuple(evidence), exclude_none=True).decode()


def examples_json(examples: Sequence[Example]) -> str:
    """Returns the text for `FeatureTable.examples`."""
    return _EXAMPLES.dump_json(tuple(examples)).decode()


_NUMBERS = ("density", "mean_activation", "max_activation", "idf")
_TEXTS = ("label", "evidence", "examples")
_LINEAGE = ("ancestor", "ancestor_confidence")


def write_features(path: Path, features: FeatureTable) -> None:
    """Writes the table as Parquet."""
    columns = {name: pa.array(getattr(features, name)) for name in _NUMBERS}
    columns |= {name: pa.array(getattr(features, name), pa.string()) for name in _TEXTS}
    columns |= {name: pa.array(getattr(features, name)) for name in _LINEAGE}
    ids = pa.array(np.arange(len(features), dtype=np.uint32))
    pq.write_table(pa.table({"feature": ids, **columns}), path, compression="zstd")


def read_features(path: Path) -> FeatureTable:
    """Returns the table in a Parquet file.

    Raises:
        CorruptArtefactError: it is not such a table.
    """
    try:
        table = pq.read_table(path, columns=[*_NUMBERS, *_TEXTS, *_LINEAGE])
    except (pa.ArrowException, KeyError, OSError) as error:
        raise CorruptArtefactError(path, "is no table of features") from error
    columns = [table[name].to_numpy().astype(np.float32) for name in _NUMBERS]
    columns += [tuple(table[name].to_pylist()) for name in _TEXTS]
    columns.append(table["ancestor"].to_numpy().astype(np.int32))
    columns.append(table["ancestor_confidence"].to_numpy().astype(np.float32))
    return FeatureTable(*columns)
