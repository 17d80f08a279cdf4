"""Profiles: how features lie in RNAs, what surrounds them, how choosy they are.

Knows nothing of how that was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int32, Int64, UInt8

SHAPES = (
    "dead",
    "rare",
    "point",
    "motif",
    "stretch",
    "periodic",
    "scattered",
    "whole",
)
"""How a feature lies in the RNAs in which it fires.

dead: nowhere; rare: too seldom to say; point: on single nucleotides; motif: in runs of
2 to 20 nucleotides; stretch: in longer ones; periodic: in runs at equal distances;
scattered: in five runs or more without a period; whole: on four fifths of the RNA.
"""
LOGO_LETTERS, LOGO_ELEMENTS = "ACGU", "SHBIMXE"
REACH = 10
"""Nucleotides on either side of a peak that logos tell of."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """One row a feature, by id; read-only. Floats are NaN where nothing is known."""

    n_firings: Int64[np.ndarray, " n_features"]
    """Nucleotides in which it fires."""
    n_rnas: Int32[np.ndarray, " n_features"]
    n_families: Int32[np.ndarray, " n_features"]
    shape: Sequence[str]
    """One of SHAPES."""
    run_length: Int32[np.ndarray, " n_features"]
    """Median over RNAs of the longest run; 64 for longer ones."""
    period: Int32[np.ndarray, " n_features"]
    """Distance of runs if it is periodic, else 0."""
    type_selectivity: Float32[np.ndarray, " n_features"]
    """Share of the RNA type that it prefers, all types weighing the same, 0..1."""
    type_entropy: Float32[np.ndarray, " n_features"]
    """Of those shares, over the largest possible: 0 one type, 1 all alike."""
    preferred_type: Sequence[str]
    shuffled_ratio: Float32[np.ndarray, " n_features"]
    """Firings in shuffled RNAs over those in the same RNAs as they are."""
    is_composition_only: Bool[np.ndarray, " n_features"]
    """Whether it fires about as often in shuffled RNAs: then it needs no more than
    letters and their neighbours."""
    label_confidence: Float32[np.ndarray, " n_features"]
    """Share of the draws of clans in which all that its label says holds, 0..1."""
    letters: UInt8[np.ndarray, "n_features place letter"]
    """Around the peak: the share of each letter, in 255ths, all families alike."""
    elements: UInt8[np.ndarray, "n_features place element"]
    """The same of structure elements."""
    suggestion: Sequence[str]
    """A label that a language model wrote; empty where none was asked."""
    suggestion_score: Float32[np.ndarray, " n_features"]
    """Pearson's r of the activations that it let the model predict, held out."""
    suggestion_control: Float32[np.ndarray, " n_features"]
    """The same with another feature's label."""

    def __len__(self) -> int:
        return len(self.n_firings)

    def to_arrow(self) -> dict[str, pa.Array]:
        """Returns columns of a Parquet file by name."""
        return {one.name: _column(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def names(cls) -> list[str]:
        """Returns the names of those columns."""
        return [one.name for one in fields(cls)]

    @classmethod
    def from_arrow(cls, table: pa.Table) -> "Profiles":
        """Returns the profiles in such columns.

        Raises:
            KeyError, ValueError, ArrowException: they are none.
        """
        columns: dict[str, Any] = {}
        for name, dtype in _DTYPES.items():
            columns[name] = table[name].to_numpy().astype(dtype)
        for name in ("shape", "preferred_type", "suggestion"):
            columns[name] = tuple(table[name].cast(pa.string()).to_pylist())
        for name, signs in (("letters", LOGO_LETTERS), ("elements", LOGO_ELEMENTS)):
            joined = b"".join(table[name].to_pylist())
            found = np.frombuffer(joined, np.uint8)
            columns[name] = found.reshape(len(table), 2 * REACH + 1, len(signs))
        return cls(**columns)


_DTYPES = {
    "n_firings": np.int64,
    "n_rnas": np.int32,
    "n_families": np.int32,
    "run_length": np.int32,
    "period": np.int32,
    "type_selectivity": np.float32,
    "type_entropy": np.float32,
    "shuffled_ratio": np.float32,
    "is_composition_only": np.bool_,
    "label_confidence": np.float32,
    "suggestion_score": np.float32,
    "suggestion_control": np.float32,
}


def _column(values: Any) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 3:
        return pa.array([each.tobytes() for each in values], pa.binary())
    if isinstance(values, np.ndarray):
        return pa.array(values)
    return pa.array(values, pa.string())
