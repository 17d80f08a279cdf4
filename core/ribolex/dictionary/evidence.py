"""Evidence: what was measured of features with labels, as columns.

Knows nothing of how it was measured, or of files beyond Arrow's arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Float64, Int32, Int64
from pydantic import TypeAdapter


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
    low: float | None = None
    """The effect's 95 % interval when clans are drawn anew; of families, their RNAs."""
    high: float | None = None
    percentile: float | None = None
    """Share of the features of a random dictionary with a smaller effect, 0..1."""


_FROM_JSON = TypeAdapter(tuple[Evidence, ...])


@dataclass(frozen=True, slots=True)
class EvidenceTable:
    """The evidence of all features, one feature after the other; read-only."""

    offsets: Int64[np.ndarray, " boundary"]
    """[feature + 1]."""
    labels: Sequence[str]
    """Names; `label` counts in it."""
    measures: Sequence[str]
    label: Int32[np.ndarray, " row"]
    measure: Int32[np.ndarray, " row"]
    effect: Float32[np.ndarray, " row"]
    q_value: Float64[np.ndarray, " row"]
    """NaN for None, as in all columns of floats."""
    control: Float32[np.ndarray, " row"]
    support: Int32[np.ndarray, " row"]
    """-1 for None, as in the other column of integers."""
    n_families: Int32[np.ndarray, " row"]
    low: Float32[np.ndarray, " row"]
    high: Float32[np.ndarray, " row"]
    percentile: Float32[np.ndarray, " row"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def features(self) -> Int64[np.ndarray, " row"]:
        """The feature of each row."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @classmethod
    def of(cls, evidence: Sequence[Sequence[Evidence]]) -> "EvidenceTable":
        """Returns the table of each feature's evidence."""
        rows = [each for own in evidence for each in own]
        labels = sorted({each.label for each in rows})
        measures = sorted({each.measure for each in rows})
        label_ids = {name: i for i, name in enumerate(labels)}
        measure_ids = {name: i for i, name in enumerate(measures)}

        def floats(name: str, dtype: type = np.float32) -> np.ndarray:
            found = [getattr(each, name) for each in rows]
            return np.array([np.nan if x is None else x for x in found], dtype)

        def whole(name: str) -> np.ndarray:
            found = [getattr(each, name) for each in rows]
            return np.array([-1 if x is None else x for x in found], np.int32)

        return cls(
            offsets=np.cumsum([0, *(len(own) for own in evidence)]).astype(np.int64),
            labels=labels,
            measures=measures,
            label=np.array([label_ids[each.label] for each in rows], np.int32),
            measure=np.array([measure_ids[each.measure] for each in rows], np.int32),
            effect=floats("effect"),
            q_value=floats("q_value", np.float64),
            control=floats("control"),
            support=whole("support"),
            n_families=whole("n_families"),
            low=floats("low"),
            high=floats("high"),
            percentile=floats("percentile"),
        )

    @classmethod
    def from_json(cls, texts: Sequence[str]) -> "EvidenceTable":
        """Returns the table that files held before they held columns.

        Raises:
            ValueError: a text is not what such files held.
        """
        return cls.of([_FROM_JSON.validate_json(text) for text in texts])

    def of_feature(self, feature: int) -> tuple[Evidence, ...]:
        """Returns what was measured about a feature, strongest first."""
        rows = range(int(self.offsets[feature]), int(self.offsets[feature + 1]))
        return tuple(self.row(i) for i in rows)

    def row(self, i: int) -> Evidence:
        """Returns one measurement."""
        return Evidence(
            self.labels[self.label[i]],
            self.measures[self.measure[i]],
            _short(self.effect[i]),
            _known(self.q_value[i]),
            _known(self.control[i]),
            None if self.support[i] < 0 else int(self.support[i]),
            None if self.n_families[i] < 0 else int(self.n_families[i]),
            _known(self.low[i]),
            _known(self.high[i]),
            _known(self.percentile[i]),
        )

    def to_arrow(self) -> pa.ListArray:
        """Returns the column of a Parquet file: a list of rows a feature."""
        columns = {
            "label": pa.DictionaryArray.from_arrays(
                self.label, pa.array(self.labels, pa.string())
            ).cast(pa.string()),
            "measure": pa.DictionaryArray.from_arrays(
                self.measure, pa.array(self.measures, pa.string())
            ).cast(pa.string()),
            **{name: pa.array(getattr(self, name)) for name in _NUMBERS},
        }
        rows = pa.StructArray.from_arrays(list(columns.values()), list(columns))
        return pa.ListArray.from_arrays(self.offsets.astype(np.int32), rows)

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray) -> "EvidenceTable":
        """Returns the table of such a column.

        Raises:
            KeyError, ValueError, ArrowException: it is none.
        """
        lists = column.combine_chunks()
        offsets = lists.offsets.to_numpy().astype(np.int64)
        rows = lists.values
        label, measure = (
            rows.field(name).dictionary_encode() for name in ("label", "measure")
        )
        numbers = {
            name: rows.field(name).to_numpy(zero_copy_only=False).astype(dtype)
            for name, dtype in _NUMBERS.items()
        }
        return cls(
            offsets,
            label.dictionary.to_pylist(),
            measure.dictionary.to_pylist(),
            label.indices.to_numpy().astype(np.int32),
            measure.indices.to_numpy().astype(np.int32),
            **numbers,
        )


_NUMBERS = {
    "effect": np.float32,
    "q_value": np.float64,
    "control": np.float32,
    "support": np.int32,
    "n_families": np.int32,
    "low": np.float32,
    "high": np.float32,
    "percentile": np.float32,
}


def _short(value: np.floating) -> float:
    """Returns a number with the digits that 32 bits hold."""
    return float(f"{value:.7g}") if value.dtype == np.float32 else float(value)


def _known(value: np.floating) -> float | None:
    return None if np.isnan(value) else _short(value)
