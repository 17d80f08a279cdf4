"""Codes to a file that `scipy.sparse.load_npz` opens, written by numpy alone.

Beside scipy's matrix the file holds who is in which row. Entries go to disk as they
come, so that a file may be larger than memory.
"""

import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from ribolex.client.archive import copy_array, replacing, write_array
from ribolex.client.records import Encoded


class CodesWriter:
    """Writes codes batch by batch; the file appears when all of it is there.

    The file is a zip of arrays: those of a scipy CSR matrix (data, indices, indptr,
    shape, format), `names` and `fvu` of the RNAs, `dictionary` ("name@version"), and
    with per_nucleotide `row_offsets`: RNA i owns rows row_offsets[i] up to
    row_offsets[i + 1]. Without it, RNA i owns row i. Not thread-safe.
    """

    def __init__(self, path: Path, *, per_nucleotide: bool = False) -> None:
        """Opens temporary files beside the path.

        Args:
            path: where the file is to be; one that is there is replaced.
            per_nucleotide: whether rows are nucleotides, not sequences.

        Raises:
            OSError: the folder cannot be written to.
        """
        self._path = path
        self._per_nucleotide = per_nucleotide
        self._stack = ExitStack()
        self._data = self._temporary()
        self._indices = self._temporary()
        self._entries: list[npt.NDArray[np.int64]] = []
        self._rows: list[npt.NDArray[np.int64]] = []
        self._fvu: list[npt.NDArray[np.float32]] = []
        self._names: list[str] = []
        self._n_features = 0
        self._dictionary = ""

    def _temporary(self) -> IO[bytes]:
        folder = self._path.parent
        return self._stack.enter_context(tempfile.TemporaryFile(dir=folder))

    def add(self, names: Sequence[str], encoded: Encoded) -> None:
        """Appends the codes of one batch, without those that were refused.

        Args:
            names: [sequence] the RNAs' names.
            encoded: their codes, of the level that the file is for.

        Raises:
            ValueError: the codes are of another level or number.
        """
        codes = encoded.sequence_codes
        if self._per_nucleotide:
            codes = encoded.nucleotide_codes
        if codes is None or len(names) != len(encoded):
            raise ValueError(f"{len(names)} names, and codes that are not theirs")
        is_kept = np.ones(len(names), np.bool_)
        is_kept[[rejection.index for rejection in encoded.rejections]] = False
        rows = (
            encoded.n_nucleotides if self._per_nucleotide else is_kept.astype(np.int64)
        )
        entries = np.diff(codes.indptr)
        if not self._per_nucleotide:
            entries = entries[is_kept]
        self._names += [name for name, kept in zip(names, is_kept, strict=True) if kept]
        self._rows.append(rows[is_kept])
        self._entries.append(entries)
        self._fvu.append(encoded.fvu[is_kept])
        self._data.write(codes.values.astype("<f4").tobytes())
        self._indices.write(codes.indices.astype("<i4").tobytes())
        self._n_features = max(self._n_features, codes.n_features)
        self._dictionary = str(encoded.dictionary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is None:
                self._finish()

    def _finish(self) -> None:
        """Puts the file together beside its place, and moves it there."""
        indptr = _sums(self._entries)
        arrays: dict[str, npt.NDArray[Any]] = {
            "indptr": indptr,
            "shape": np.array([len(indptr) - 1, self._n_features], np.int64),
            "format": np.array(b"csr"),
            "names": np.array(self._names, np.str_),
            "fvu": np.concatenate([np.zeros(0, np.float32), *self._fvu]),
            "dictionary": np.array(self._dictionary),
        }
        if self._per_nucleotide:
            arrays["row_offsets"] = _sums(self._rows)
        n_entries = (int(indptr[-1]),)
        with replacing(self._path) as staged, zipfile.ZipFile(staged, "w") as archive:
            for name, array in arrays.items():
                write_array(archive, name, array)
            copy_array(archive, "data", "<f4", n_entries, self._data)
            copy_array(archive, "indices", "<i4", n_entries, self._indices)


def _sums(counts: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Returns 0 and the running sums."""
    return np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()
