"""Activations to a file: .npz for numpy, or .safetensors.

Rows go to disk as they come, so that a file may be larger than memory.
"""

import json
import shutil
import struct
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
from ribolex.client.errors import InvalidRequestError
from ribolex.client.records import Embedded

SUFFIXES = (".npz", ".safetensors")
_SAFETENSORS_TYPES = {"<f4": "F32", "<f2": "F16"}


class EmbeddingsWriter:
    """Writes activations batch by batch; the file appears when all of it is there.

    `activations` are [row, layer, d_model]; RNA i owns rows row_offsets[i] up to
    row_offsets[i + 1]. With them come `names`, `layers`, `hook`, `pooling` ("none" for
    a row a nucleotide), `model` and `model_digest`: as arrays of an .npz, or, but for
    row_offsets and layers, as the metadata of a .safetensors, where names are a JSON
    list. Not thread-safe.
    """

    def __init__(self, path: Path) -> None:
        """Opens a temporary file beside the path.

        Args:
            path: where the file is to be; one that is there is replaced.

        Raises:
            InvalidRequestError: its suffix is none of SUFFIXES.
            OSError: the folder cannot be written to.
        """
        if path.suffix not in SUFFIXES:
            raise InvalidRequestError(
                f"output: {path.name!r} does not end in {' or '.join(SUFFIXES)}"
            )
        self._path = path
        self._stack = ExitStack()
        self._values = self._temporary()
        self._rows: list[npt.NDArray[np.int64]] = []
        self._names: list[str] = []
        self._last: Embedded | None = None

    def _temporary(self) -> IO[bytes]:
        folder = self._path.parent
        return self._stack.enter_context(tempfile.TemporaryFile(dir=folder))

    def add(self, names: Sequence[str], embedded: Embedded) -> None:
        """Appends the activations of one batch, without those that were refused.

        Args:
            names: [sequence] the RNAs' names.
            embedded: their activations, of one model, layers and type as before.

        Raises:
            ValueError: they are not.
        """
        if len(names) != len(embedded):
            raise ValueError(f"{len(names)} names of {len(embedded)} sequences")
        if self._last is not None and _kind(embedded) != _kind(self._last):
            raise ValueError(
                f"{_kind(embedded)} after {_kind(self._last)}: was the server changed?"
            )
        refused = {rejection.index for rejection in embedded.rejections}
        kept = [i for i in range(len(names)) if i not in refused]
        self._names += [names[i] for i in kept]
        self._rows.append(np.diff(embedded.row_offsets)[kept])
        values = embedded.activations
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        self._values.write(little.tobytes())
        self._last = embedded

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is None and self._last is not None:
                self._finish(self._last)

    def _finish(self, last: Embedded) -> None:
        offsets = np.concatenate([np.zeros(1, np.int64), *self._rows]).cumsum()
        shape = (int(offsets[-1]), *last.activations.shape[1:])
        dtype = f"<f{last.activations.dtype.itemsize}"
        words = {
            "hook": last.hook,
            "pooling": last.pooling or "none",
            "model": last.model_name,
            "model_digest": last.model_digest,
        }
        layers = np.array(last.layers, np.int64)
        with replacing(self._path) as staged:
            if self._path.suffix == ".safetensors":
                words["names"] = json.dumps(self._names)
                arrays = {"row_offsets": offsets, "layers": layers}
                _write_safetensors(staged, dtype, shape, self._values, arrays, words)
                return
            with zipfile.ZipFile(staged, "w") as archive:
                write_array(archive, "row_offsets", offsets)
                write_array(archive, "layers", layers)
                write_array(archive, "names", np.array(self._names, np.str_))
                for name, word in words.items():
                    write_array(archive, name, np.array(word))
                # Dense numbers shrink by a tenth for ten times the wait.
                copy_array(
                    archive, "activations", dtype, shape, self._values, compress=False
                )


def _kind(embedded: Embedded) -> tuple[object, ...]:
    return (
        embedded.model_digest,
        embedded.layers,
        embedded.hook,
        embedded.pooling,
        str(embedded.activations.dtype),
    )


def _write_safetensors(
    target: IO[bytes],
    dtype: str,
    shape: tuple[int, ...],
    values: IO[bytes],
    arrays: dict[str, npt.NDArray[np.int64]],
    words: dict[str, str],
) -> None:
    """Writes the format of safetensors: length, JSON header, bytes of all tensors."""
    header: dict[str, Any] = {"__metadata__": words}
    size = 0
    for name, array in arrays.items():
        bounds = [size, size + array.nbytes]
        header[name] = {"dtype": "I64", "shape": array.shape, "data_offsets": bounds}
        size = bounds[1]
    bounds = [size, size + int(np.prod(shape)) * np.dtype(dtype).itemsize]
    kind = _SAFETENSORS_TYPES[dtype]
    header["activations"] = {"dtype": kind, "shape": shape, "data_offsets": bounds}
    packed = json.dumps(header).encode()
    # Padded with spaces, so that the numbers begin at a multiple of eight.
    packed += b" " * (-len(packed) % 8)
    target.write(struct.pack("<Q", len(packed)) + packed)
    for array in arrays.values():
        target.write(array.astype("<i8").tobytes())
    values.seek(0)
    shutil.copyfileobj(values, target, 2**20)
