"""The file of one collection: its tables, their version, and how it is opened.

Knows what is in a file; nothing of what is read from it or written to it.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ribolex.errors import CorruptArtefactError
from ribolex.server.index.faults import error_of

RECORDS = "records.sqlite3"
"""Name of the file in a collection's folder."""

MAX_ID = (1 << 40) - 1
"""Of an RNA. SQLite gives one more than the largest there: they are never so many."""

MAX_CHANGE = (1 << 62) - 1
"""Changes are times in ns, or one more than the last: 2116."""

SCHEMA_VERSION = 3
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
-- One row: the last that was given, which outlives the RNA it was given to.
CREATE TABLE last_change (change INTEGER NOT NULL);
INSERT INTO last_change VALUES (0);
"""
_FROM_1 = """
ALTER TABLE rna ADD COLUMN change INTEGER NOT NULL DEFAULT 0;
CREATE INDEX rna_change ON rna (change);
PRAGMA user_version = 2;
"""
_FROM_2 = """
CREATE TABLE last_change (change INTEGER NOT NULL);
INSERT INTO last_change SELECT coalesce(max(change), 0) FROM rna;
PRAGMA user_version = 3;
"""


def create(path: Path, facts: Mapping[str, Any]) -> None:
    """Writes the file of an empty collection; the path must be free."""
    db = connect(path)
    db.executescript(_SCHEMA)
    db.execute("INSERT INTO facts VALUES (?)", (json.dumps(facts),))
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.close()


def empty() -> closing[sqlite3.Connection]:
    """Gives the tables of a collection in memory, to compare others with."""
    db = sqlite3.connect(":memory:")
    db.executescript(_SCHEMA)
    return closing(db)


def read_facts(db: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """Returns what a collection was made with; files of older versions are taken on.

    Raises:
        CorruptArtefactError: the file is no collection, or of another version.
    """
    try:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise CorruptArtefactError(path, "is no collection of Ribolex")
        for step in {1: (_FROM_1, _FROM_2), 2: (_FROM_2,)}.get(version, ()):
            db.executescript(f"BEGIN IMMEDIATE; {step} COMMIT;")
            version += 1
        if version != SCHEMA_VERSION:
            raise CorruptArtefactError(
                path, f"schema version {version}, expected {SCHEMA_VERSION}"
            )
        facts = json.loads(db.execute("SELECT json FROM facts").fetchone()[0])
        if not isinstance(facts, dict) or type(facts.get("n_features")) is not int:
            raise CorruptArtefactError(path, "its facts are none of a collection")
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        raise error_of(error, path) or _unreadable(error, path) from error
    return facts


def connect(path: Path) -> sqlite3.Connection:
    """Opens a file for one writer, or makes an empty one.

    Raises:
        CorruptArtefactError: it is no file of SQLite.
    """
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is on disk before it returns, power cuts included.
        db.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        db.close()
        raise error_of(error, path) or _unreadable(error, path) from error
    return db


def _unreadable(error: Exception, path: Path) -> CorruptArtefactError:
    return CorruptArtefactError(path, f"not readable: {error}")
