"""The RNAs of one collection on disk: what is true, whatever else is lost.

A SQLite file in WAL mode. What `upsert` has returned is committed and on disk; all
that search needs beside it can be rebuilt from here. Knows nothing of search.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt32

from ribolex.dictionary import Codes
from ribolex.errors import CorruptArtefactError
from ribolex.rna import Rna

SCHEMA_VERSION = 2
_APPLICATION = 0x52424C58  # "RBLX": SQLite's application_id of our files
_SCHEMA = """
CREATE TABLE facts (json TEXT NOT NULL);
CREATE TABLE rna (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    sequence TEXT NOT NULL,
    structure TEXT,
    metadata TEXT NOT NULL,
    fvu REAL NOT NULL,
    features BLOB NOT NULL,
    pooled BLOB NOT NULL,
    peaks BLOB NOT NULL,
    change INTEGER NOT NULL DEFAULT 0
);
-- Holds all that `changes` reads.
CREATE INDEX rna_change ON rna (change);
-- Apart, so that a rebuild need not read past them.
CREATE TABLE nucleotide_code (
    id INTEGER PRIMARY KEY REFERENCES rna (id),
    indptr BLOB NOT NULL,
    indices BLOB NOT NULL,
    "values" BLOB NOT NULL
);
"""
_FROM_1 = """
ALTER TABLE rna ADD COLUMN change INTEGER NOT NULL DEFAULT 0;
CREATE INDEX rna_change ON rna (change);
PRAGMA user_version = 2;
"""
_UPSERT = """
INSERT INTO rna
    (name, sequence, structure, metadata, fvu, features, pooled, peaks, change)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
    sequence = excluded.sequence, structure = excluded.structure,
    metadata = excluded.metadata, fvu = excluded.fvu,
    features = excluded.features, pooled = excluded.pooled, peaks = excluded.peaks,
    change = excluded.change
RETURNING id
"""
_SELECT = """
SELECT name, sequence, structure, metadata, fvu, features, pooled, peaks,
    indptr, indices, "values"
FROM rna JOIN nucleotide_code USING (id)
"""


@dataclass(frozen=True, slots=True)
class PooledCode:
    """The pooled code of one RNA with the peaks behind it; features rise strictly."""

    features: UInt32[np.ndarray, " feature"]
    values: Float32[np.ndarray, " feature"]
    """Pooled, > 0; neither damped, nor weighted, nor normalised."""
    peaks: Float32[np.ndarray, " feature"]
    """The largest value over the nucleotides, however the code is pooled."""


@dataclass(frozen=True, slots=True)
class Record:
    """One RNA as stored."""

    rna: Rna
    codes: Codes
    """One row a nucleotide."""
    pooled: PooledCode
    """What search compares."""
    fvu: float


class Written(NamedTuple):
    """What became of one group of records."""

    ids: list[int]
    """Of each record, in their order; a name keeps its id for life."""
    n_inserted: int
    n_updated: int
    change: int
    """Tells what the records are now from what their ids stood for before."""


class Changes(NamedTuple):
    """The state of every RNA, in no order."""

    ids: Int64[np.ndarray, " rna"]
    changes: Int64[np.ndarray, " rna"]
    """As `Written` gave it; 0 for what older versions of Ribolex wrote."""


class NucleotideCodes(NamedTuple):
    """What is known of the nucleotides of one RNA."""

    rna_id: int
    sequence: str
    codes: Codes


class Records:
    """The file of one collection. To be used by one thread, the one that opened it.

    Opening raises CorruptArtefactError for what is no such file.

    Attributes:
        facts: What the collection was made with: a JSON object with n_features, the
            width of its codes.
        n_rnas: RNAs stored.
    """

    def __init__(self, path: Path) -> None:
        self._db = _connect(path)
        self.facts = _read_facts(self._db, path)
        self._n_features = int(self.facts["n_features"])
        self.n_rnas: int = self._db.execute("SELECT count(*) FROM rna").fetchone()[0]

    @staticmethod
    def create(path: Path, facts: Mapping[str, Any]) -> None:
        """Writes the file of an empty collection; the path must be free."""
        db = _connect(path)
        db.executescript(_SCHEMA)
        db.execute("INSERT INTO facts VALUES (?)", (json.dumps(facts),))
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.close()

    def close(self) -> None:
        """Closes the file; everything acknowledged is in it."""
        self._db.close()

    def upsert(self, records: Sequence[Record]) -> Written:
        """Stores records in one transaction; each replaces the one of its name.

        On return they are on disk. After an error none of them is.
        """
        ids, known = [], 0
        # The time, since a deleted RNA's id may be given again.
        change = time.time_ns()
        with self._transaction() as db:
            for record in records:
                name = (record.rna.name,)
                found = db.execute("SELECT 1 FROM rna WHERE name = ?", name).fetchone()
                known += found is not None
                (rna_id,) = db.execute(_UPSERT, (*_row(record), change)).fetchone()
                db.execute(
                    "INSERT OR REPLACE INTO nucleotide_code VALUES (?, ?, ?, ?)",
                    (rna_id, *_pack(record.codes)),
                )
                ids.append(rna_id)
        self.n_rnas += len(ids) - known
        return Written(ids, len(ids) - known, known, change)

    def delete(self, ids: Sequence[int]) -> None:
        """Deletes stored RNAs, each named once, in one transaction.

        On return that is on disk. After an error all of them are still there.
        """
        rows = [(rna_id,) for rna_id in ids]
        with self._transaction() as db:
            db.executemany("DELETE FROM nucleotide_code WHERE id = ?", rows)
            db.executemany("DELETE FROM rna WHERE id = ?", rows)
        self.n_rnas -= len(rows)

    def find(self, name: str) -> int | None:
        """Returns the id of the RNA of that name, if it is there."""
        row = self._db.execute("SELECT id FROM rna WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def names(self, ids: Sequence[int]) -> list[str]:
        """Returns the names of stored RNAs, in the order of the ids."""
        statement = "SELECT name FROM rna WHERE id = ?"
        rows = [self._db.execute(statement, (i,)).fetchone() for i in ids]
        return [row[0] for row in rows]

    def ids_after(self, name: str) -> Iterator[int]:
        """Yields the ids of RNAs whose names come after one, in the order of names."""
        statement = "SELECT id FROM rna WHERE name > ? ORDER BY name"
        for (rna_id,) in self._db.execute(statement, (name,)):
            yield rna_id

    def read_rna(self, rna_id: int) -> Rna:
        """Returns a stored RNA without its codes."""
        statement = "SELECT name, sequence, structure, metadata FROM rna WHERE id = ?"
        row = self._db.execute(statement, (rna_id,)).fetchone()
        name, sequence, structure, metadata = row
        return Rna(name, sequence, structure, json.loads(metadata))

    def read(self, rna_id: int) -> Record:
        """Returns the record of a stored RNA, all its codes included."""
        row = self._db.execute(f"{_SELECT} WHERE id = ?", (rna_id,)).fetchone()
        name, sequence, structure, metadata, fvu, *blobs = row
        indptr, indices, values = blobs[3:]
        return Record(
            Rna(name, sequence, structure, json.loads(metadata)),
            self._codes(indptr, indices, values),
            _unpack_pooled(*blobs[:3]),
            fvu,
        )

    def scan(self) -> Iterator[tuple[int, PooledCode]]:
        """Yields id and pooled code of every RNA, in the order of ids."""
        statement = "SELECT id, features, pooled, peaks FROM rna ORDER BY id"
        for rna_id, *blobs in self._db.execute(statement):
            yield rna_id, _unpack_pooled(*blobs)

    def scan_metadata(self) -> Iterator[tuple[int, Mapping[str, str], int]]:
        """Yields id, metadata and nucleotides of every RNA, in the order of ids."""
        statement = "SELECT id, metadata, length(sequence) FROM rna ORDER BY id"
        for rna_id, metadata, length in self._db.execute(statement):
            yield rna_id, json.loads(metadata), length

    def changes(self) -> Changes:
        """Returns id and last change of every RNA."""
        rows = self._db.execute("SELECT id, change FROM rna ORDER BY change").fetchall()
        table = np.array(rows, np.int64).reshape(-1, 2)
        return Changes(table[:, 0], table[:, 1])

    def nucleotide_codes(self, ids: Iterable[int]) -> Iterator[NucleotideCodes]:
        """Yields the nucleotides of stored RNAs, in the order of the ids."""
        statement = """
            SELECT sequence, indptr, indices, "values"
            FROM rna JOIN nucleotide_code USING (id) WHERE id = ?
        """
        for rna_id in ids:
            sequence, *blobs = self._db.execute(statement, (rna_id,)).fetchone()
            yield NucleotideCodes(rna_id, sequence, self._codes(*blobs))

    def _codes(self, indptr: bytes, indices: bytes, values: bytes) -> Codes:
        return Codes(
            np.frombuffer(indptr, "<u4").astype(np.int64),
            np.frombuffer(indices, "<u4"),
            np.frombuffer(values, "<f4"),
            self._n_features,
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            # After some errors, such as a full disk, SQLite has done it itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _read_facts(db: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """Returns what a collection was made with; a file of version 1 becomes one of 2.

    Raises:
        CorruptArtefactError: the file is no collection, or of another version.
    """
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise CorruptArtefactError(path, "is no collection of Ribolex")
        if version == 1:
            db.executescript(f"BEGIN IMMEDIATE; {_FROM_1} COMMIT;")
            version = 2
        if version != SCHEMA_VERSION:
            raise CorruptArtefactError(
                path, f"schema version {version}, expected {SCHEMA_VERSION}"
            )
        (text,) = db.execute("SELECT json FROM facts").fetchone()
    except sqlite3.DatabaseError as error:
        raise CorruptArtefactError(path, f"not readable: {error}") from error
    facts: dict[str, Any] = json.loads(text)
    return facts


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is on disk before it returns, power cuts included.
        db.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        db.close()
        raise CorruptArtefactError(path, f"not readable: {error}") from error
    return db


def _row(record: Record) -> tuple[object, ...]:
    rna, pooled = record.rna, record.pooled
    return (
        rna.name,
        rna.sequence,
        rna.structure,
        json.dumps(dict(rna.metadata), ensure_ascii=False),
        record.fvu,
        pooled.features.astype("<u4").tobytes(),
        pooled.values.astype("<f4").tobytes(),
        pooled.peaks.astype("<f4").tobytes(),
    )


def _pack(codes: Codes) -> tuple[bytes, bytes, bytes]:
    return (
        codes.indptr.astype("<u4").tobytes(),
        codes.indices.astype("<u4").tobytes(),
        codes.values.astype("<f4").tobytes(),
    )


def _unpack_pooled(features: bytes, values: bytes, peaks: bytes) -> PooledCode:
    return PooledCode(
        np.frombuffer(features, "<u4"),
        np.frombuffer(values, "<f4"),
        np.frombuffer(peaks, "<f4"),
    )
