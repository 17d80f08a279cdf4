"""Rows on disk in shards: `.npy` files that are whole or absent.

A shard is written under a temporary name, synced and renamed, and then listed in its
folder's manifest with its size and CRC-32. What the manifest does not list is not
there. CRC-32 finds what a disk does to a file; at 1.2 GB/s on one core (SHA-256: 0.47)
every opening can afford it. Knows nothing of models or of what a row is.
"""

import fcntl
import io
import json
import logging
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float16

from ribolex.disk import sync

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_TEMPORARY = ".writing-"
_READ_BYTES = 2**22


class Shard(NamedTuple):
    """What a whole file is."""

    size_bytes: int
    crc32: int
    """Of all bytes, the header among them."""


class ShardWriter:
    """Takes an array part by part, in order, and holds none of them."""

    def __init__(
        self, stream: BinaryIO, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self._stream = stream
        self.n_left = shape[0]
        self.crc32 = 0
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header,
            {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": shape,
            },
        )
        self._write(header.getbuffer())

    def append(self, rows: np.ndarray) -> None:
        """Adds rows of the array's width and dtype."""
        self.n_left -= len(rows)
        self._write(np.ascontiguousarray(rows).data)

    def _write(self, content: memoryview) -> None:
        self._stream.write(content)
        self.crc32 = zlib.crc32(content, self.crc32)


class ShardFolder:
    """The shards of one array by file name; one writer at a time.

    Attributes:
        whole: Those that are on the disk as they were written.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Opens or makes the folder and checks size and CRC-32 of all shards.

        Shards that are not what was written are logged and left out of `whole`.

        Args:
            path: the folder.
            identity: what its rows are of; shards of anything else do not count.
        """
        path.mkdir(parents=True, exist_ok=True)
        self._path, self._identity = path, dict(identity)
        for left in path.glob(f"{_TEMPORARY}*"):
            left.unlink()
        self.whole: dict[str, Shard] = {}
        for name, shard in self._listed().items():
            if found := _find_damage(path / name, shard):
                log.warning("%s %s; it is made anew", path / name, found)
            else:
                self.whole[name] = shard

    @contextmanager
    def writing(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype
    ) -> Iterator[ShardWriter]:
        """Gives what writes a shard; it is whole at the end of the block, or absent."""
        temporary = self._path / f"{_TEMPORARY}{name}"
        try:
            with temporary.open("wb") as stream:
                writer = ShardWriter(stream, shape, dtype)
                yield writer
                assert writer.n_left == 0, f"{writer.n_left} rows of {name} are missing"
                size_bytes = stream.tell()
            self._rename(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)
        self.whole[name] = Shard(size_bytes, writer.crc32)
        self._list()

    def _list(self) -> None:
        """Writes the manifest; what is in `whole` counts from now on."""
        shards = {name: self.whole[name]._asdict() for name in sorted(self.whole)}
        temporary = self._path / f"{_TEMPORARY}{_MANIFEST}"
        fields = {**self._identity, "shards": shards}
        temporary.write_text(json.dumps(fields, indent=1))
        self._rename(temporary, _MANIFEST)

    def _rename(self, temporary: Path, name: str) -> None:
        sync(temporary)
        temporary.replace(self._path / name)
        sync(self._path)

    def _listed(self) -> dict[str, Shard]:
        file = self._path / _MANIFEST
        try:
            found = json.loads(file.read_bytes())
            shards = {name: Shard(**fields) for name, fields in found["shards"].items()}
            if self._identity.items() <= found.items():
                return shards
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        log.warning("%s is damaged or of other rows; all are made anew", file)
        return {}


class ShardedRows:
    """The rows of shards, one after the other; memory-mapped while they are read.

    Read-only and safe to share between threads. A slice within a shard is a view of
    the file, one across shards a copy. Slices taken one after the other share a map,
    which is an open file: whoever keeps one of each RNA keeps few of those.
    """

    def __init__(self, files: Iterable[tuple[Path, int]], width: int) -> None:
        """Takes files of the rows with the number of rows of each."""
        known = [(file, n_rows) for file, n_rows in files if n_rows]
        self._files = [file for file, _ in known]
        self._starts = np.cumsum([0, *(n_rows for _, n_rows in known)])
        self._width = width
        self._last: tuple[int, np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """[row, width]."""
        return len(self), self._width

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, part: slice) -> Float16[np.ndarray, "_row d_in"]:
        start, stop, step = part.indices(len(self))
        assert step == 1, "rows are read in one go"
        parts = list(self._parts(start, stop))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.empty((0, self._width), np.float16), *parts])

    def _parts(self, start: int, stop: int) -> Iterator[np.ndarray]:
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        for i in range(first, len(self._files)):
            begins = int(self._starts[i])
            if begins >= stop:
                return
            yield self._map(i)[max(0, start - begins) : stop - begins]

    def _map(self, i: int) -> np.ndarray:
        last = self._last
        if last is None or last[0] != i:
            last = self._last = i, np.load(self._files[i], mmap_mode="r")
        return last[1]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out until the end of the block, or of this process."""
    with (folder / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _find_damage(file: Path, shard: Shard) -> str | None:
    """Returns what is wrong with a file, if anything is."""
    crc32 = 0
    try:
        size_bytes = file.stat().st_size
        if size_bytes != shard.size_bytes:
            return f"has {size_bytes} bytes, expected {shard.size_bytes}"
        with file.open("rb") as stream:
            while part := stream.read(_READ_BYTES):
                crc32 = zlib.crc32(part, crc32)
    except OSError as error:
        return f"cannot be read: {error}"
    if crc32 != shard.crc32:
        return f"has CRC-32 {crc32:08x}, expected {shard.crc32:08x}"
    return None
