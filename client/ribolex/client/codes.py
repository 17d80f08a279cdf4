"""Sparse codes as the caller gets them: rows of a matrix, in numpy.

Knows nothing of gRPC or of files. scipy is imported only by who asks for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class CodeRow(NamedTuple):
    """The features that fire in one row."""

    indices: npt.NDArray[np.uint32]
    """[entry] feature ids, rising."""
    values: npt.NDArray[np.float32]
    """[entry] their values, > 0."""


@dataclass(frozen=True, slots=True, eq=False)
class SparseCodes:
    """A compressed-sparse-row matrix [row, feature]; len() gives its rows.

    The arrays are the caller's own: nobody else writes to them.
    """

    indptr: npt.NDArray[np.int64]
    """[row + 1] first entry of each row, then the number of entries."""
    indices: npt.NDArray[np.uint32]
    """[entry] feature ids, rising within a row."""
    values: npt.NDArray[np.float32]
    """[entry] values, > 0."""
    n_features: int
    """Width of the dictionary: every feature id is below it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return len(self), self.n_features

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, row: int) -> CodeRow:
        """Returns one row as views; a negative number counts from the end.

        Raises:
            IndexError: there is no such row.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        start, stop = self.indptr[row % len(self)], self.indptr[row % len(self) + 1]
        return CodeRow(self.indices[start:stop], self.values[start:stop])

    def slice(self, start: int, stop: int) -> "SparseCodes":
        """Returns rows start to stop - 1 as views.

        Raises:
            IndexError: they are not all there.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start}:{stop} of {len(self)}")
        first, last = self.indptr[start], self.indptr[stop]
        return SparseCodes(
            self.indptr[start : stop + 1] - first,
            self.indices[first:last],
            self.values[first:last],
            self.n_features,
        )

    def toscipy(self) -> Any:
        """Returns the same matrix as a scipy.sparse.csr_matrix.

        Raises:
            ModuleNotFoundError: scipy, which the client does without, is missing.
        """
        sparse = import_module("scipy.sparse")
        parts = (self.values, self.indices.astype(np.int64), self.indptr)
        return sparse.csr_matrix(parts, shape=self.shape)

    @staticmethod
    def empty(n_rows: int, n_features: int) -> "SparseCodes":
        """Returns a matrix in which nothing fires."""
        return SparseCodes(
            np.zeros(n_rows + 1, np.int64),
            np.zeros(0, np.uint32),
            np.zeros(0, np.float32),
            n_features,
        )

    @staticmethod
    def concatenate(parts: Sequence["SparseCodes"]) -> "SparseCodes":
        """Returns the rows of all parts, one below the other.

        Raises:
            ValueError: there is no part, or their widths differ.
        """
        widths = {part.n_features for part in parts}
        if len(widths) != 1:
            raise ValueError(f"parts of one width expected, got {sorted(widths)}")
        counts = [np.diff(part.indptr) for part in parts]
        indptr = np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
        return SparseCodes(
            indptr,
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.values for part in parts]),
            widths.pop(),
        )
