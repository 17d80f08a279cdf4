"""Codes to a file that `scipy.sparse.load_npz` opens, written by numpy alone.

Beside scipy's matrix the file holds who is in which row. Entries go to disk as they
come, so that a file may be larger than memory.
"""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from ribolex.client.records import Encoded

_EPOCH = (1980, 1, 1, 0, 0, 0)


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
        folder = self._path.parent
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as staged:
            try:
                with zipfile.ZipFile(staged, "w") as archive:
                    for name, array in arrays.items():
                        with _member(archive, name) as member:
                            np.lib.format.write_array(member, array, allow_pickle=False)
                    _copy(archive, "data", "<f4", int(indptr[-1]), self._data)
                    _copy(archive, "indices", "<i4", int(indptr[-1]), self._indices)
                os.chmod(staged.name, 0o666 & ~_umask())
                os.replace(staged.name, self._path)
            except BaseException:
                os.unlink(staged.name)
                raise


def _sums(counts: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Returns 0 and the running sums."""
    return np.concatenate([np.zeros(1, np.int64), *counts]).cumsum()


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Opens a member for writing, its time fixed: same codes, same bytes."""
    info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(info, "w", force_zip64=True)


def _copy(
    archive: zipfile.ZipFile, name: str, dtype: str, n_entries: int, source: IO[bytes]
) -> None:
    """Writes a one-axis array whose bytes lie in a file."""
    header = {"descr": dtype, "fortran_order": False, "shape": (n_entries,)}
    with _member(archive, name) as member:
        np.lib.format.write_array_header_2_0(member, header)
        source.seek(0)
        shutil.copyfileobj(source, member, 2**20)


def _umask() -> int:
    """Returns the process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
