"""Collections as files on this side: written whole, checked, read in chunks.

A snapshot ends with a line of JSON that describes it and the SHA-256 of all before.
Knows nothing of how chunks travel.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ribolex.client import records
from ribolex.client.archive import replacing
from ribolex.client.errors import CorruptInputError

CHUNK = 1 << 18
"""Bytes that travel together."""
_MAX_LINE = 65_536
_DIGEST = 64


@contextmanager
def arriving(path: Path) -> Iterator[IO[bytes]]:
    """Gives a file for a snapshot that is to be at a path, whole or not at all.

    Raises:
        CorruptInputError: what was written is not as it says of itself.
    """
    with replacing(path) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        _describe(Path(file.name), path.name)


def describe_snapshot(path: Path) -> records.Snapshot:
    """Returns what a snapshot holds, after a look at all of it.

    Raises:
        CorruptInputError: it is none, is cut short, or was changed.
        OSError: it cannot be read.
    """
    return _describe(path, str(path))


def chunks(path: Path) -> Iterator[bytes]:
    """Yields a file's bytes, at least once."""
    with path.open("rb") as file:
        yield file.read(CHUNK)
        while chunk := file.read(CHUNK):
            yield chunk


def _describe(path: Path, where: str) -> records.Snapshot:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _MAX_LINE))
        line = file.read().rstrip(b"\n").rpartition(b"\n")[2]
        file.seek(0)
        digest, left = hashlib.sha256(), max(0, size - _DIGEST - 1)
        while left and (chunk := file.read(min(left, CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    text, _, told = line.rpartition(b" ")
    try:
        found = json.loads(text)
        name, _, version = found["dictionary"].rpartition("@")
        snapshot = records.Snapshot(
            str(found["collection"]),
            records.DictionaryRef(name, int(version)),
            int(found["n_rnas"]),
            int(found["watermark"]),
            float(found["taken_at_s"]),
            size,
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = "is no snapshot of a collection, or was cut short"
        raise CorruptInputError(where, message) from error
    if told != digest.hexdigest().encode():
        raise CorruptInputError(where, "its content is not what it says of itself")
    return snapshot
