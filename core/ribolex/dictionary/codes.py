"""Codes: sparse feature vectors of many nucleotides in three flat arrays.

Compressed sparse rows, as scipy's CSR. Knows nothing of where codes come from or
what a row stands for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int64, UInt32


class SequenceCode(NamedTuple):
    """One sparse feature vector."""

    indices: UInt32[np.ndarray, " feature"]
    """Rising strictly."""
    values: Float32[np.ndarray, " feature"]
    """> 0."""


@dataclass(frozen=True, slots=True)
class Codes:
    """Rows of sparse feature vectors; read-only.

    Row r owns the entries indptr[r] .. indptr[r + 1] - 1. Within a row features rise
    strictly; values are > 0; a row may be empty.
    """

    indptr: Int64[np.ndarray, " boundary"]
    """[row + 1], starts with 0."""
    indices: UInt32[np.ndarray, " entry"]
    values: Float32[np.ndarray, " entry"]
    n_features: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, i: int) -> SequenceCode:
        """Returns a view of one row."""
        part = slice(self.indptr[i], self.indptr[i + 1])
        return SequenceCode(self.indices[part], self.values[part])

    def slice(self, start: int, stop: int) -> "Codes":
        """Returns rows start .. stop - 1; the entries are views."""
        first, last = self.indptr[start], self.indptr[stop]
        return Codes(
            self.indptr[start : stop + 1] - first,
            self.indices[first:last],
            self.values[first:last],
            self.n_features,
        )

    def rows_of_entries(self) -> Int64[np.ndarray, " entry"]:
        """Returns the row that each entry belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    @classmethod
    def concatenate(cls, parts: Sequence["Codes"]) -> "Codes":
        """Returns the rows of all parts in their order.

        Args:
            parts: one or more, of one n_features.
        """
        counts = [np.diff(part.indptr) for part in parts]
        (n_features,) = {part.n_features for part in parts}
        return cls(
            _bounds(np.concatenate(counts)),
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.values for part in parts]),
            n_features,
        )

    @classmethod
    def from_topk(
        cls,
        indices: Int[np.ndarray, "row k"],
        values: Float32[np.ndarray, "row k"],
        n_features: int,
    ) -> "Codes":
        """Returns the codes of a fixed number of entries a row; zeros are dropped.

        Args:
            indices: features in any order, different within a row where values > 0.
            values: >= 0.
            n_features: width of the dictionary.
        """
        order = np.argsort(indices, axis=1)
        by_feature = np.take_along_axis(values, order, 1)
        fires = by_feature > 0
        kept = np.take_along_axis(indices, order, 1)[fires]
        bounds = _bounds(fires.sum(1))
        return cls(bounds, kept.astype(np.uint32), by_feature[fires], n_features)


def keep_strongest(codes: Codes, n: int) -> Codes:
    """Returns the codes with only the `n` largest values of every row.

    Of equal values the one of the smaller feature is kept.
    """
    counts = np.diff(codes.indptr)
    if n >= counts.max(initial=0):
        return codes
    rows = codes.rows_of_entries()
    order = np.lexsort((-codes.values, rows))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(codes.indptr[:-1], counts)
    kept = rank < n
    bounds = _bounds(np.minimum(counts, n))
    return Codes(bounds, codes.indices[kept], codes.values[kept], codes.n_features)


def _bounds(counts: Int64[np.ndarray, " row"]) -> Int64[np.ndarray, " boundary"]:
    bounds = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    return bounds
