"""Blocks of an index in files, mapped into memory.

A file holds one block, whole or not at all, and is never written again. What is in
the folder can be drawn from the records anew: a file that is damaged, or was made
otherwise than blocks are made now, is removed. Knows nothing of what is in a block.
"""

import json
import logging
import math
import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from ribolex.disk import sync, write_whole

_LOG = logging.getLogger(__name__)

_MAGIC = b"RBLXPOS1"
_HEAD = struct.Struct("<8sIQ")
"""Magic, CRC of all that follows, length of the JSON that follows."""
_ALIGNMENT = 64
_MANIFEST = "blocks.json"
_SUFFIX = ".block"

Block = TypeVar("Block")


class BlockFolder(Generic[Block]):
    """The blocks in one folder, for one process at a time. Blocks."""

    def __init__(self, folder: Path, basis: str, kind: type[Block]) -> None:
        """Takes a folder, which is made if it is not there.

        Args:
            folder: of nothing else.
            kind: of the blocks: a dataclass of arrays.
            basis: what the blocks depend on beside the RNAs: those of another basis
                are removed.
        """
        self._folder = folder
        self._basis, self._kind = basis, kind
        self._fields = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        self._held: dict[int, tuple[Block, str]] = {}
        """Blocks and their files by identity, which is theirs while they are held."""
        self._next = 0
        folder.mkdir(exist_ok=True)

    def open(self) -> Iterator[Block]:
        """Yields the blocks that are whole and of this basis; removes all else."""
        listed = self._read_manifest()
        self._next = 1 + max((int(Path(name).stem) for name in listed), default=-1)
        for name in listed:
            block = self._read(self._folder / name)
            if block is not None:
                self._held[id(block)] = block, name
                yield block
        kept = {*self._names(), _MANIFEST}
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()

    def write(self, block: Block) -> Block:
        """Puts a block on disk and returns it as mapped from there.

        If the disk does not take it, it stays in memory.
        """
        path = self._folder / f"{self._next:08}{_SUFFIX}"
        self._next += 1
        try:
            arrays = {name: getattr(block, name) for name in self._fields}
            _write(path, arrays, self._basis)
            mapped = self._map(path, is_own=True)
            self._write_manifest(path.name)
        except OSError as error:
            _LOG.warning("%s cannot be written: %s", path, error)
            return block
        self._held[id(mapped)] = mapped, path.name
        return mapped

    def drop(self, blocks: Iterable[Block]) -> None:
        """Removes blocks from the disk; their memory stays while it is in use.

        If the disk does not take it, they stay there until the folder is opened: what
        is in them is dead, or there twice, to who opens it.
        """
        dropped = [self._held.pop(id(block), None) for block in blocks]
        try:
            # Those that are named are there: only then their files go.
            self._write_manifest()
            for held in dropped:
                if held is not None:
                    (self._folder / held[1]).unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("%s cannot be tidied: %s", self._folder, error)

    def _names(self) -> list[str]:
        return [name for _, name in self._held.values()]

    def _read_manifest(self) -> list[str]:
        try:
            found = json.loads((self._folder / _MANIFEST).read_bytes())
            names = [str(name) for name in found["blocks"]]
            return [
                n for n in names if n.endswith(_SUFFIX) and Path(n).stem.isdecimal()
            ]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError) as error:
            _LOG.warning("%s is damaged: %s", self._folder / _MANIFEST, error)
            return []

    def _write_manifest(self, *more: str) -> None:
        names = sorted([*self._names(), *more])
        write_whole(
            self._folder / _MANIFEST, json.dumps({"blocks": names}).encode() + b"\n"
        )

    def _read(self, path: Path) -> Block | None:
        try:
            return self._map(path)
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            _LOG.warning("%s is not used, its RNAs are read anew: %s", path, error)
            return None

    def _map(self, path: Path, *, is_own: bool = False) -> Block:
        return self._kind(**_map(path, self._basis, self._fields, is_own=is_own))


def _write(path: Path, arrays: dict[str, np.ndarray], basis: str) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about: dict[str, Any] = {"basis": basis, "arrays": {}}
    place = 0
    for name, array in arrays.items():
        about["arrays"][name] = [array.dtype.str, array.shape, place]
        place += _padded(array.nbytes)
    text = json.dumps(about).encode()
    text += b" " * (_padded(_HEAD.size + len(text)) - _HEAD.size - len(text))
    parts: list[bytes | memoryview] = [text]
    for array in arrays.values():
        parts += (
            array.reshape(-1).view(np.uint8).data,
            bytes(-array.nbytes % _ALIGNMENT),
        )
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    temporary = path.with_suffix(".new")
    try:
        with temporary.open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, crc, len(text)))
            file.writelines(parts)
        sync(temporary)
        temporary.replace(path)
    finally:
        # On a full disk a part of it would take the room of what matters.
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def _map(
    path: Path, basis: str, names: list[str], *, is_own: bool = False
) -> dict[str, np.ndarray]:
    """Returns the arrays of a file, which is not read if it was just written.

    Raises:
        ValueError: the file is not whole, or of another basis; or another of what a
            file can have wrong: OSError, KeyError, TypeError, struct.error.
    """
    with path.open("rb") as file:
        whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    magic, crc, n_text = _HEAD.unpack_from(whole)
    if magic != _MAGIC:
        raise ValueError(f"begins with {magic!r}, expected {_MAGIC!r}")
    if not is_own and zlib.crc32(whole[_HEAD.size :]) != crc:
        raise ValueError("its checksum is not the one that it holds")
    about = json.loads(bytes(whole[_HEAD.size : _HEAD.size + n_text]))
    if about["basis"] != basis:
        raise ValueError(f"was made for {about['basis']}, expected {basis}")
    first = _HEAD.size + n_text
    arrays = {}
    for name in names:
        kind, shape, place = about["arrays"][name]
        count = math.prod(shape)
        array = np.frombuffer(whole, kind, count, first + place)
        arrays[name] = array.reshape(shape)
    return arrays


def _padded(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
