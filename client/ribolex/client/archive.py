"""Files that appear whole or not at all, and the arrays in a zip of them (.npz).

Knows nothing of what the arrays are.
"""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_EPOCH = (1980, 1, 1, 0, 0, 0)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Gives a file beside the path, which takes its place at the end of the block.

    After an error the path is as it was.

    Raises:
        OSError: there can be no such file; names the path.
    """
    try:
        opened = tempfile.NamedTemporaryFile(dir=path.parent, delete=False)  # noqa: SIM115
    except OSError as error:
        error.filename = str(path)
        raise
    with opened as staged:
        try:
            # The file object itself: mypy knows the wrapper as something else.
            yield staged.file
            staged.flush()
            os.chmod(staged.name, 0o666 & ~_umask())
            os.replace(staged.name, path)
        except BaseException:
            os.unlink(staged.name)
            raise


def write_array(archive: zipfile.ZipFile, name: str, array: npt.NDArray[Any]) -> None:
    """Writes an array into an archive."""
    with _member(archive, name, zipfile.ZIP_DEFLATED) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def copy_array(
    archive: zipfile.ZipFile,
    name: str,
    dtype: npt.DTypeLike,
    shape: tuple[int, ...],
    source: IO[bytes],
    *,
    compress: bool = True,
) -> None:
    """Writes an array whose bytes lie in a file, never all of them in memory."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with _member(archive, name, kind) as member:
        np.lib.format.write_array_header_2_0(member, header)
        source.seek(0)
        shutil.copyfileobj(source, member, 2**20)


def _member(archive: zipfile.ZipFile, name: str, compression: int) -> IO[bytes]:
    """Opens a member for writing, its time fixed: same arrays, same bytes."""
    info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
    info.compress_type = compression
    return archive.open(info, "w", force_zip64=True)


def _umask() -> int:
    """Returns the process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
