"""How far one file of records is behind another, while both are read and written.

SQLite compares what they have in common by the index over changes: no row is read, and
of RNAs that are the same in both nothing comes to Python. Knows nothing of collections,
or of what is done about it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

_OTHERS = """
SELECT id FROM {one}.rna AS one INDEXED BY rna_change
WHERE NOT EXISTS (
    SELECT 1 FROM {other}.rna AS other INDEXED BY rna_change
    WHERE other.change = one.change AND other.id = one.id
)
"""
_MISSING = _OTHERS.format(one="main", other="new") + "ORDER BY one.change"
_EXTRA = f"""
{_OTHERS.format(one="new", other="main")}
    AND NOT EXISTS (SELECT 1 FROM main.rna AS now WHERE now.id = one.id)
"""
# Knuth's multiplicative hash: spread evenly over the ids, and the same every time.
_SOME = """
SELECT id FROM rna INDEXED BY rna_change
ORDER BY id * 2654435761 & 4294967295 LIMIT ?
"""


class Lag(NamedTuple):
    """How far the new one is behind the old one."""

    missing: Int64[np.ndarray, " rna"]
    """Ids that it has to be given, anew or for the first time, by last change."""
    extra: list[int]
    """Ids that it has to forget."""
    n_rnas: int
    """In the old one."""


def read_lag(old: Path, new: Path) -> Lag:
    """Returns how far one file of records is behind another. Blocks.

    About a second of a core for a million RNAs, without Python's lock.

    Raises:
        sqlite3.OperationalError: a file is not there.
    """
    with _reading(old) as db:
        db.execute("ATTACH ? AS new", (_uri(new),))
        db.execute("BEGIN")
        missing = np.fromiter((row[0] for row in db.execute(_MISSING)), np.int64)
        extra = [row[0] for row in db.execute(_EXTRA)]
        (n_rnas,) = db.execute("SELECT count(*) FROM main.rna").fetchone()
        return Lag(missing, extra, n_rnas)


def some_ids(path: Path, limit: int) -> list[int]:
    """Returns ids of stored RNAs from all over a file; all if there are not so many.

    Raises:
        sqlite3.OperationalError: the file is not there.
    """
    with _reading(path) as db:
        return [row[0] for row in db.execute(_SOME, (limit,))]


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(_uri(path), uri=True)) as db:
        yield db


def _uri(path: Path) -> str:
    return f"{path.as_uri()}?mode=ro"
