"""Blocks of the index of pooled codes: rows of numbers, and a sketch of each.

A row has the features of an RNA with their values and peaks; the exact likeness comes
from there. Its sketch, 16 bytes, is what a search reads of every RNA, and its bits are
what a search reads of those that are left. A block holds the basis of its sketches, so
that each stands for itself. Knows nothing of disks, of queries, or of which RNAs are
still there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float16, Float32, Int64, UInt64

from ribolex.dictionary import Damping
from ribolex.server.index.forward import WeightedCode
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.pooled_kernels import measure_rows, sign_rows
from ribolex.server.index.records import PooledCode
from ribolex.server.index.sketch import N_SIGNS, N_WORDS, Basis

ROWS = 1 << 15
"""Of a block at most."""

FORMAT = f"2 {N_SIGNS}"
"""What blocks are; those of another format are of no use."""

_MOST_WORDS = 64
"""Of bits that tell features apart; if there are more features, they share bits."""

_SIGNED_AT_ONCE = 64


class Weighing(NamedTuple):
    """How rows are kept, and become weights."""

    table: Float32[np.ndarray, " count"]
    """The weight of each count; empty if rows hold weights as they are."""
    gains: Float32[np.ndarray, " n_features"]
    """What weights of features are multiplied with."""
    damping: Damping

    @classmethod
    def of(
        cls, measure: SearchMeasure, idf: Float32[np.ndarray, " n_features"]
    ) -> "Weighing":
        """Returns that of a measure: counts are kept as 16 bits if all weigh alike."""
        gains = idf**measure.idf_power
        is_plain = measure.pooling == "count" and measure.idf_power == 0
        counts = np.arange(1 << 16 if is_plain else 0, dtype=np.float32)
        return cls(_damped(counts, measure.damping), gains, measure.damping)


class Rows(NamedTuple):
    """The codes of some RNAs, one after the other."""

    bounds: Int64[np.ndarray, " row_boundary"]
    features: np.ndarray
    """Rising in a row; 16 bits each if they fit, else 32."""
    values: np.ndarray
    """Counts of 16 bits, or weights of 32, of any length."""
    peaks: Float32[np.ndarray, " entry"]

    def take(self, chosen: Int64[np.ndarray, " chosen"]) -> "Rows":
        """Returns some rows."""
        lengths = np.diff(self.bounds)[chosen]
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.bounds[chosen] - bounds[:-1], lengths)
        places += np.arange(bounds[-1])
        columns = (column[places] for column in self[1:])
        return Rows(bounds, *columns)


@dataclass(frozen=True, slots=True, eq=False)
class PooledBlock:
    """Rows with their sketches; read-only arrays, maybe of a mapped file."""

    rna_ids: Int64[np.ndarray, " row"]
    changes: Int64[np.ndarray, " row"]
    bounds: Int64[np.ndarray, " row_boundary"]
    features: np.ndarray
    values: np.ndarray
    peaks: Float32[np.ndarray, " entry"]
    scales: Float32[np.ndarray, " row"]
    """What makes the length of the weights 1."""
    sums: Float32[np.ndarray, " row"]
    """Of the weights then."""
    bits: UInt64[np.ndarray, "row word"]
    """Which features the row has; and which of them weigh more than its mean."""
    signs: UInt64[np.ndarray, "word room"]
    """Room may be more than rows."""
    directions: Float16[np.ndarray, "n_features n_signs"]
    """Those of the basis; no rows of it if there are no sketches."""
    shift: Float32[np.ndarray, "word 64"]

    def __len__(self) -> int:
        return len(self.rna_ids)

    @property
    def rows(self) -> Rows:
        """The codes."""
        return Rows(self.bounds, self.features, self.values, self.peaks)

    @property
    def sketch_bytes(self) -> int:
        """What a search reads of every row."""
        return N_WORDS * 8 * len(self)

    @property
    def code_bytes(self) -> int:
        """What exact likeness needs."""
        arrays = self.bounds, self.features, self.values, self.scales, self.sums
        return sum(array.nbytes for array in arrays)

    def code(self, row: int, weighing: Weighing) -> WeightedCode:
        """Returns the weighted code of a row; what weighs nothing is left out."""
        part = slice(int(self.bounds[row]), int(self.bounds[row + 1]))
        values = self.values[part]
        weights = weighing.table[values] if len(weighing.table) else values
        kept = weights > 0
        return WeightedCode(
            self.features[part][kept].astype(np.uint32),
            weights[kept] * self.scales[row],
            self.peaks[part][kept],
        )


class OpenBlock:
    """A block that grows, up to ROWS.

    Attributes:
        basis: Of its sketches; None for no sketches. Set by `set_basis`.
    """

    def __init__(self, n_features: int, weighing: Weighing) -> None:
        """Begins with no rows and no sketches."""
        self._weighing = weighing
        self._n_features = n_features
        self._n, self._end = 0, 0
        kind = np.uint16 if n_features <= 1 << 16 else np.uint32
        held = np.uint16 if len(weighing.table) else np.float32
        self._entries = [np.empty(0, each) for each in (kind, held, np.float32)]
        self._bounds = np.zeros(ROWS + 1, np.int64)
        self._ids, self._changes = np.empty((2, ROWS), np.int64)
        self._scales, self._sums = np.empty((2, ROWS), np.float32)
        self._bits = np.empty((ROWS, 2 * n_words(n_features)), np.uint64)
        self._signs = np.zeros((N_WORDS, ROWS), np.uint64)
        self.basis: Basis | None = None
        self._view: PooledBlock | None = None

    def __len__(self) -> int:
        return self._n

    def clear(self) -> None:
        """Forgets all rows, and the basis; room for as many is kept."""
        self._n, self._end = 0, 0
        self.basis, self._view = None, None

    def rows_of(self, codes: Sequence[PooledCode]) -> Rows:
        """Returns pooled codes as rows."""
        lengths = np.array([len(code.features) for code in codes], np.int64)
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if not len(codes):
            return Rows(bounds, *self._entries)
        kind, held, real = (array.dtype for array in self._entries)
        features = _joined([code.features for code in codes], kind)
        values = _joined([code.values for code in codes], real)
        peaks = _joined([code.peaks for code in codes], real)
        if len(self._weighing.table):
            # Longer RNAs than any known could have more.
            values = np.minimum(values, len(self._weighing.table) - 1, out=values)
        else:
            values = _damped(values, self._weighing.damping)
            values *= self._weighing.gains[features]
        return Rows(bounds, features, values.astype(held, copy=False), peaks)

    def append(
        self,
        rna_ids: Int64[np.ndarray, " row"],
        changes: Int64[np.ndarray, " row"],
        rows: Rows,
    ) -> None:
        """Takes rows; there must be room for them."""
        n, new = len(rna_ids), slice(self._n, self._n + len(rna_ids))
        start, stop = int(rows.bounds[0]), int(rows.bounds[-1])
        self._grow(stop - start)
        end = self._end + stop - start
        for mine, theirs in zip(self._entries, rows[1:], strict=True):
            mine[self._end : end] = theirs[start:stop]
        self._bounds[self._n + 1 : self._n + n + 1] = (
            rows.bounds[1:] - start + self._end
        )
        self._ids[new], self._changes[new] = rna_ids, changes
        measure_rows(
            self._bounds[self._n : self._n + n + 1],
            self._entries[0],
            self._entries[1],
            self._weighing.table,
            self._scales[new],
            self._sums[new],
            self._bits[new],
        )
        self._n, self._end, self._view = self._n + n, end, None
        if self.basis is not None:
            self._sketch(self._n - n, self._n)

    def set_basis(self, basis: Basis) -> None:
        """Makes sketches of all rows, and of those to come."""
        self.basis, self._view = basis, None
        self._sketch(0, self._n)

    def view(self) -> PooledBlock:
        """Returns what is in it now; good until it grows."""
        if self._view is None:
            n, basis = self._n, self.basis
            empty = np.empty((0, N_SIGNS), np.float16)
            self._view = PooledBlock(
                self._ids[:n],
                self._changes[:n],
                self._bounds[: n + 1],
                self._entries[0][: self._end],
                self._entries[1][: self._end],
                self._entries[2][: self._end],
                self._scales[:n],
                self._sums[:n],
                self._bits[:n],
                self._signs[:],
                empty if basis is None else basis.stored[:],
                np.empty((0, 64), np.float32) if basis is None else basis.shift[:],
            )
            for field in fields(PooledBlock):
                # As those of mapped files are; compiled loops tell the two apart.
                getattr(self._view, field.name).flags.writeable = False
        return self._view

    def _grow(self, n_entries: int) -> None:
        room = self._end + n_entries
        if room > len(self._entries[0]):
            room = max(room, 2 * len(self._entries[0]))
            for i, array in enumerate(self._entries):
                self._entries[i] = np.empty(room, array.dtype)
                self._entries[i][: self._end] = array[: self._end]

    def _sketch(self, first: int, stop: int) -> None:
        basis = self.basis
        assert basis is not None  # callers have looked
        for start in range(first, stop, _SIGNED_AT_ONCE):
            end = min(start + _SIGNED_AT_ONCE, stop)
            sign_rows(
                self._bounds[start : end + 1],
                self._entries[0],
                self._entries[1],
                self._weighing.table,
                self._scales[start:end],
                basis.directions,
                basis.shift,
                start,
                self._signs,
            )


def n_words(n_features: int) -> int:
    """Returns how many words tell which features there are; a multiple of 8."""
    return min(8 * -(-n_features // 512), _MOST_WORDS)


def bits_of(code: WeightedCode, n_features: int) -> UInt64[np.ndarray, " word"]:
    """Returns the bits of a code."""
    bits: UInt64[np.ndarray, "1 word"]
    bits = np.empty((1, 2 * n_words(n_features)), np.uint64)
    one = np.empty(1, np.float32)
    measure_rows(
        np.array([0, len(code.features)]),
        code.features,
        code.weights,
        np.empty(0, np.float32),
        one,
        one.copy(),
        bits,
    )
    return bits.reshape(-1)


def dense(
    block: PooledBlock,
    chosen: Int64[np.ndarray, " chosen"],
    weighing: Weighing,
    n_features: int,
) -> Float32[np.ndarray, "chosen n_features"]:
    """Returns the weights of some rows, of all features."""
    rows = block.rows.take(chosen)
    out = np.zeros((len(chosen), n_features), np.float32)
    owners = np.repeat(np.arange(len(chosen)), np.diff(rows.bounds))
    weights = weighing.table[rows.values] if len(weighing.table) else rows.values
    out[owners, rows.features] = weights * block.scales[chosen][owners]
    return out


def _joined(arrays: Sequence[np.ndarray], kind: np.dtype[Any]) -> np.ndarray:
    return np.concatenate(arrays, dtype=kind, casting="unsafe")


def _damped(values: np.ndarray, damping: Damping) -> Float32[np.ndarray, " value"]:
    if damping == "log1p":
        values = np.log1p(values)
    elif damping == "sqrt":
        values = np.sqrt(values)
    return values.astype(np.float32)
