"""Whether the file of a collection holds what only Ribolex would have written.

For files that come from outside: searches trust what is in the table, so nothing may
be in it that they could stumble over. Knows nothing of where the file came from.
"""

import json
import sqlite3
from typing import Any, get_args

import numpy as np
from jaxtyping import Float32, UInt32

from ribolex.dictionary import Damping, Pooling
from ribolex.errors import CorruptInputError, RibolexError
from ribolex.rna import Rna
from ribolex.rna.alphabet import normalise
from ribolex.server.index.facts import Facts
from ribolex.server.index.forward import Likeness
from ribolex.server.index.intake import check_rna
from ribolex.server.index.metadata import LENGTH, MAX_KEYS
from ribolex.server.index.schema import MAX_CHANGE, MAX_ID, empty

_COLUMNS = """
SELECT m.type, m.name, m.tbl_name, c.name, c.type, c."notnull", c.pk, c.hidden
FROM sqlite_master AS m LEFT JOIN pragma_table_xinfo(m.name) AS c
    ON m.type = 'table'
"""
_ROWS = """
SELECT id, name, sequence, structure, metadata, fvu, features, pooled, peaks,
    indptr, indices, "values", change
FROM rna LEFT JOIN nucleotide_code USING (id) ORDER BY id
"""


def audit(db: sqlite3.Connection, facts: Facts) -> None:
    """Does nothing if a file is sound in itself and every RNA in it can be searched.

    Args:
        db: the file.
        facts: that it holds.

    Raises:
        CorruptInputError: names the RNA at fault, if it is one.
        sqlite3.DatabaseError: the file is damaged.
    """
    _check_facts(facts)
    (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise CorruptInputError("records", str(verdict))
    with empty() as expected:
        # No trigger, view or column that we would not have made.
        if set(db.execute(_COLUMNS)) != set(expected.execute(_COLUMNS)):
            raise CorruptInputError("records", "has other tables than a collection")
    n_rnas, n_codes = (
        db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("rna", "nucleotide_code")
    )
    if n_rnas != n_codes:
        raise CorruptInputError("records", f"{n_codes} codes of {n_rnas} RNAs")
    _check_last_change(db)
    keys: set[str] = set()
    for place, row in enumerate(db.execute(_ROWS)):
        try:
            keys |= _check_row(row, facts.n_features).metadata.keys() - {LENGTH}
            if len(keys) > MAX_KEYS:
                raise ValueError(f"more than {MAX_KEYS} different keys up to it")
        except (ValueError, TypeError, AttributeError, RibolexError) as error:
            where = f"rnas[{place}]"
            raise CorruptInputError(where, str(error)) from error


def _check_last_change(db: sqlite3.Connection) -> None:
    """Looks whether it is one, and none of an RNA is later, or no number."""
    found = db.execute("SELECT change FROM last_change LIMIT 2").fetchall()
    (latest,) = db.execute("SELECT max(change) FROM rna").fetchone()
    last = found[0][0] if len(found) == 1 else None
    if type(last) is not int or not 0 <= last <= MAX_CHANGE:
        raise CorruptInputError(
            "last_change", f"holds {found}, expected one from 0 to {MAX_CHANGE}"
        )
    if type(latest) is int and latest > last:
        raise CorruptInputError("last_change", f"is {last}, expected {latest} or more")


def _check_row(row: tuple[Any, ...], n_features: int) -> Rna:
    rna_id, name, sequence, structure, metadata, fvu, *blobs, change = row
    known: dict[str, str] = json.loads(metadata)
    rna = Rna(name, sequence, structure, known)
    check_rna(rna, "rna")
    if normalise(sequence, "sequence") != sequence:
        raise ValueError("its letters are not as they are stored")
    # What has no place in UTF-8 is an error, too.
    _ = [text.encode() for pair in known.items() for text in pair]
    if type(fvu) is not float:
        raise ValueError("its fvu is no number")
    if not 1 <= rna_id <= MAX_ID:
        raise ValueError(f"its id is {rna_id}, expected 1 to {MAX_ID}")
    if type(change) is not int or not 0 <= change <= MAX_CHANGE:
        raise ValueError(f"its change is {change!r}, expected 0 to {MAX_CHANGE}")
    features, pooled, peaks, indptr, indices, values = (
        np.frombuffer(blob, kind)
        for blob, kind in zip(
            blobs, ("<u4", "<f4", "<f4", "<u4", "<u4", "<f4"), strict=True
        )
    )
    _check_values(features, pooled, n_features)
    _check_values(features, peaks, n_features)
    if np.any(np.diff(features.astype(np.int64)) <= 0):
        raise ValueError("features of its pooled code do not rise")
    steps = np.diff(indptr.astype(np.int64)).astype(np.int64)
    if len(steps) != len(sequence) or indptr[0] != 0 or np.any(steps < 0):
        raise ValueError("its codes are not of its nucleotides")
    if indptr[-1] != len(indices):
        raise ValueError("its codes are cut short")
    _check_values(indices, values, n_features)
    # Raised by its row's number a feature is above all before it.
    rows = np.repeat(np.arange(len(steps), dtype=np.int64), steps)
    if np.any(np.diff(rows * n_features + indices) <= 0):
        raise ValueError("features of a nucleotide do not rise")
    return rna


def _check_facts(facts: Facts) -> None:
    measure = facts.measure
    is_sound = (
        measure.pooling in get_args(Pooling)
        and measure.damping in get_args(Damping)
        and measure.likeness in get_args(Likeness)
        and type(measure.idf_power) in (int, float)
        and type(measure.keep_strongest) in (int, type(None))
        and type(facts.created_at_s) is float
        and type(facts.n_features) is int
    )
    if not is_sound:
        raise CorruptInputError("facts", "are none of a collection")


def _check_values(
    features: UInt32[np.ndarray, " entry"],
    values: Float32[np.ndarray, " entry"],
    n_features: int,
) -> None:
    if len(features) != len(values):
        raise ValueError("as many features as values were expected")
    if np.any(features >= n_features):
        raise ValueError(f"feature {features.max()}, expected below {n_features}")
    if not np.all(np.isfinite(values) & (values > 0)):
        raise ValueError("a value is no number above 0")
