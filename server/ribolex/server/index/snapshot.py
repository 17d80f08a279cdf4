"""A collection in one file that proves itself: taken while writing goes on, and read.

The file is SQLite's own, compact and without what was deleted, and after it one line:
what is in it as JSON, and the SHA-256 of all before. So it is whole or refused, and
`tail -n 1` shows what it holds. Indexes are not in it; they are drawn from it anew.
Knows nothing of messages, or of where collections are.
"""

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import IO, Any, BinaryIO, NamedTuple

from ribolex.disk import sync
from ribolex.errors import (
    CollectionNotFoundError,
    CorruptArtefactError,
    CorruptInputError,
    NotReadyError,
    RibolexError,
    StorageFullError,
)
from ribolex.server.index.audit import audit
from ribolex.server.index.facts import Facts
from ribolex.server.index.faults import translated
from ribolex.server.index.schema import connect, read_facts

FORMAT = 1
_WHAT = "the snapshot"
_MAX_TRAILER = 65_536
_DIGEST = 64
_CHUNK = 1 << 20
_STEPS = 10_000
"""Of SQLite's virtual machine between two looks at whether to go on."""

_ROOM, _LEAST_ROOM = 4, 1 << 20
"""Ids for each RNA, and beyond that for all, that a restored collection may have."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot holds, as its last line tells."""

    ribolex_snapshot: int
    """Format of the file."""
    collection: str
    dictionary: str
    """ "name@version"."""
    content_id: str
    """Of that dictionary version."""
    pooling: str
    n_rnas: int
    watermark: int
    """The last change that is in it."""
    created_at_s: float
    """When the collection was made: seconds since 1970, UTC."""
    taken_at_s: float
    records_bytes: int
    """Of the SQLite file."""


class Taken(NamedTuple):
    """A snapshot, in a file that is gone once it is closed."""

    manifest: Manifest
    file: BinaryIO


async def take_open(name: str, records: Path, out: Path) -> Taken:
    """Returns a snapshot whose file has no name any more; else as `take`.

    It is given up, and nothing is left of it, once the caller has.
    """
    gone = Event()
    try:
        return await asyncio.to_thread(_take_open, name, records, out, gone.is_set)
    finally:
        gone.set()


def _take_open(
    name: str, records: Path, out: Path, is_unwanted: Callable[[], bool]
) -> Taken:
    try:
        with translated(out.parent):
            manifest = take(name, records, out, is_unwanted)
            return Taken(manifest, out.open("rb"))
    finally:
        out.unlink(missing_ok=True)


def take(
    name: str,
    records: Path,
    out: Path,
    is_unwanted: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Writes a snapshot of a collection as it is now, on disk when this returns.

    Every change acknowledged before is in it, and each change wholly or not at all.
    Others may read and write the collection meanwhile.

    Args:
        name: of the collection.
        records: its file.
        out: a path that is free.
        is_unwanted: asked now and then whether to give up.

    Raises:
        CollectionNotFoundError: the file is not there.
        CorruptArtefactError: it is damaged.
        sqlite3.OperationalError: it was given up.
    """
    try:
        with closing(sqlite3.connect(f"{records.as_uri()}?mode=ro", uri=True)) as db:
            db.set_progress_handler(is_unwanted, _STEPS)
            db.execute("VACUUM INTO ?", (str(out),))
    except sqlite3.OperationalError as error:
        if not records.exists():
            raise CollectionNotFoundError(name) from error
        raise
    except sqlite3.DatabaseError as error:
        raise CorruptArtefactError(records, f"not readable: {error}") from error
    manifest = _describe(out)
    with out.open("r+b") as file:
        digest = _digest(file, manifest.records_bytes)
        line = b"\n" + json.dumps(asdict(manifest)).encode() + b" "
        digest.update(line)
        file.write(line + digest.hexdigest().encode() + b"\n")
    sync(out)
    return manifest


def unpack(path: Path, name: str = "") -> Facts:
    """Turns a snapshot into the file of a collection, in place; returns its facts.

    Args:
        path: of the snapshot, which may be anything at all.
        name: what the collection is to be called; empty for what it was.

    Raises:
        CorruptInputError: it is no snapshot, or one cut short, or holds what no
            collection can.
        CorruptArtefactError: its content does not have the digest that it tells.
    """
    manifest = read_manifest(path)
    with path.open("r+b") as file:
        file.truncate(manifest.records_bytes)
    try:
        with translated(path):
            return _adopt(path, manifest, name)
    except (StorageFullError, NotReadyError):
        raise  # of this machine, not of the file
    except (
        sqlite3.DatabaseError,
        RibolexError,
        TypeError,
        KeyError,
        ValueError,
    ) as error:
        message = f"holds no collection of this version: {error}"
        raise CorruptInputError(_WHAT, message) from error


def read_manifest(path: Path) -> Manifest:
    """Returns what a snapshot holds, once its digest was checked; else as `unpack`."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _MAX_TRAILER))
        tail = file.read()
        start = tail.rfind(b"\n", 0, -1)
        line = tail[start + 1 :]
        if not tail.endswith(b"\n") or start < 0 or len(line) < _DIGEST + 2:
            raise CorruptInputError(_WHAT, "has no last line, as if it were cut short")
        text, told = line[: -_DIGEST - 1], line[-_DIGEST - 1 : -1]
        manifest = _parse(text)
        if manifest.records_bytes != size - len(line) - 1:
            raise CorruptInputError(
                _WHAT,
                f"{size - len(line) - 1} bytes of records, expected "
                f"{manifest.records_bytes}, as it says",
            )
        file.seek(0)
        found = _digest(file, size - _DIGEST - 1).hexdigest().encode()
    if found != told:
        raise CorruptArtefactError(
            _WHAT,
            f"SHA-256 is {found.decode()}, expected {told.decode(errors='replace')}",
        )
    return manifest


def _adopt(path: Path, manifest: Manifest, name: str) -> Facts:
    with closing(connect(path)) as db:
        db.execute("PRAGMA trusted_schema = OFF")
        fields = read_facts(db, path)
        facts = Facts.from_json(fields)
        told = manifest.dictionary, manifest.content_id
        if (f"{facts.dictionary}@{facts.version}", facts.content_id) != told:
            raise CorruptInputError(_WHAT, "is of another dictionary than it says")
        audit(db, facts)
        _close_up(db)
        fields["name"] = name or manifest.collection
        db.execute("UPDATE facts SET json = ?", (json.dumps(fields),))
        # Nothing is left in a log, and only this one file is there.
        db.execute("PRAGMA journal_mode = DELETE")
    sync(path)
    return Facts.from_json(fields)


def _close_up(db: sqlite3.Connection) -> None:
    """Gives RNAs the ids from 1 on if theirs are far apart; their order stays.

    Indexes have tables by id, which would take a machine's memory. In years of
    storing and deleting ids get there by themselves, too.
    """
    ids = [row[0] for row in db.execute("SELECT id FROM rna ORDER BY id")]
    if max(ids, default=0) <= _ROOM * len(ids) + _LEAST_ROOM:
        return
    db.execute("BEGIN")
    # A new id is below the old one, and free when its turn comes.
    for table in ("rna", "nucleotide_code"):
        statement = f"UPDATE {table} SET id = ? WHERE id = ?"
        db.executemany(statement, enumerate(ids, 1))
    db.execute("COMMIT")


def _describe(records: Path) -> Manifest:
    with closing(sqlite3.connect(records)) as db:
        facts = Facts.from_json(read_facts(db, records))
        n_rnas, last = db.execute("SELECT count(*), max(change) FROM rna").fetchone()
    return Manifest(
        FORMAT,
        facts.name,
        f"{facts.dictionary}@{facts.version}",
        facts.content_id,
        facts.measure.pooling,
        n_rnas,
        last or 0,
        facts.created_at_s,
        time.time(),
        os.stat(records).st_size,
    )


def _parse(text: bytes) -> Manifest:
    try:
        fields: Any = json.loads(text)
        found = Manifest(**fields)
        kinds = Manifest.__annotations__
        wrong = [n for n, kind in kinds.items() if type(getattr(found, n)) is not kind]
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptInputError(_WHAT, "its last line does not describe it") from error
    if wrong or found.ribolex_snapshot != FORMAT:
        raise CorruptInputError(
            _WHAT,
            f"is of format {found.ribolex_snapshot!r}, expected {FORMAT}, with "
            f"{', '.join(wrong) or 'all else'} as that has it",
        )
    return found


def _digest(file: IO[bytes], n_bytes: int) -> "hashlib._Hash":
    """Returns the digest of what is left of a file, of so many bytes."""
    digest, left = hashlib.sha256(), n_bytes
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    return digest
