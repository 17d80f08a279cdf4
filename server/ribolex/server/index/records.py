"""The RNAs of one collection on disk: what is true, whatever else is lost.

A SQLite file in WAL mode. What `write` has returned is committed and on disk; all
that search needs beside it can be rebuilt from here. Knows nothing of search.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt32

from ribolex.dictionary import Codes
from ribolex.rna import Rna
from ribolex.server.index.schema import connect, read_facts

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
_REPLACE = """
INSERT OR REPLACE INTO rna
    (id, name, sequence, structure, metadata, fvu, features, pooled, peaks, change)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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


class Place(NamedTuple):
    """What an RNA is known by within a collection."""

    rna_id: int
    change: int
    """The last one that made it what it is."""


class Put(NamedTuple):
    """Records to be stored; each replaces the one of its name."""

    records: Sequence[Record]
    places: Sequence[Place] | None = None
    """Where each belongs, if that is decided elsewhere."""


class Removal(NamedTuple):
    """RNAs to be deleted, by name; those that are not there are passed over."""

    names: Sequence[str]


class Written(NamedTuple):
    """What became of one `Put` or `Removal`."""

    ids: list[int]
    """Of each record put, in their order, or of each RNA deleted; a name keeps its id
    for life."""
    n_inserted: int = 0
    n_updated: int = 0
    n_deleted: int = 0


class Effect(NamedTuple):
    """What a group of changes came to."""

    written: list[Written]
    """Of each change, in their order."""
    stored: dict[int, Record]
    """By id, those put that are there now."""
    removed: list[int]
    """Ids that were there before, and are not any more."""
    changes: dict[int, int]
    """Of those stored, by id: tells what they are now from what their ids stood for
    before; rises."""


class _Group(NamedTuple):
    """What a group of changes came to so far, by id."""

    stored: dict[int, Record]
    changes: dict[int, int]
    was_there: dict[int, bool]
    """Of each id that was touched, whether it was in use before."""

    def put(self, rna_id: int, record: Record, change: int, is_known: bool) -> None:
        self.was_there.setdefault(rna_id, is_known)
        self.stored[rna_id], self.changes[rna_id] = record, change

    def remove(self, ids: Iterable[int]) -> None:
        for rna_id in ids:
            self.was_there.setdefault(rna_id, True)
            self.stored.pop(rna_id, None)
            self.changes.pop(rna_id, None)


class Changes(NamedTuple):
    """The state of every RNA, in no order."""

    ids: Int64[np.ndarray, " rna"]
    changes: Int64[np.ndarray, " rna"]
    """As `Written` gave it; 0 for what older versions of Ribolex wrote."""

    def of(self, ids: Int64[np.ndarray, " some"]) -> Int64[np.ndarray, " some"]:
        """Returns the changes of some of the RNAs."""
        order = np.argsort(self.ids)
        rows = order[np.searchsorted(self.ids, ids, sorter=order)]
        found: Int64[np.ndarray, " some"] = self.changes[rows]
        return found


class NucleotideCodes(NamedTuple):
    """What is known of the nucleotides of one RNA."""

    rna_id: int
    sequence: str
    codes: Codes


class Records:
    """The file of one collection. To be used by one thread, the one that opened it.

    Opening raises CorruptArtefactError for what is no such file.

    Attributes:
        db: The file; to be read only.
        facts: What the collection was made with: a JSON object with n_features, the
            width of its codes.
        n_rnas: RNAs stored.
    """

    def __init__(self, path: Path) -> None:
        self.db = connect(path)
        self.facts = read_facts(self.db, path)
        self._n_features = int(self.facts["n_features"])
        self.n_rnas: int = self.db.execute("SELECT count(*) FROM rna").fetchone()[0]
        last = self.db.execute("SELECT change FROM last_change").fetchone()
        self._last_change: int = last[0]

    def close(self) -> None:
        """Closes the file; everything acknowledged is in it."""
        self.db.close()

    def write(self, changes: Sequence[Put | Removal]) -> Effect:
        """Makes changes one after the other, in one transaction.

        On return they are on disk. After an error none of them is.
        """
        # The time, since a deleted RNA's id may be given again.
        change = max(self._last_change + 1, time.time_ns())
        group = _Group({}, {}, {})
        written = []
        with self._transaction():
            for each in changes:
                if isinstance(each, Removal):
                    written.append(self._remove(each.names, group))
                elif each.places is None:
                    written.append(self._put(each.records, change, group))
                else:
                    written.append(self._put_at(each.records, each.places, group))
            last = max(change, self._last_change, *group.changes.values())
            if group.was_there:
                # Kept apart from the RNAs: no change is given twice to an id.
                self.db.execute("UPDATE last_change SET change = ?", (last,))
        self._last_change = last
        self.n_rnas += sum(one.n_inserted - one.n_deleted for one in written)
        stored, was_there = group.stored, group.was_there
        removed = [i for i, known in was_there.items() if known and i not in stored]
        return Effect(written, stored, removed, group.changes)

    def copies(self, ids: Iterable[int]) -> list[tuple[Place, Rna]]:
        """Returns RNAs without codes, and their places; passes over those not there."""
        statement = "SELECT change FROM rna WHERE id = ?"
        found = ((i, self.db.execute(statement, (i,)).fetchone()) for i in ids)
        return [
            (Place(i, row[0]), self.read_rna(i)) for i, row in found if row is not None
        ]

    def find(self, name: str) -> int | None:
        """Returns the id of the RNA of that name, if it is there."""
        row = self.db.execute("SELECT id FROM rna WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def names(self, ids: Sequence[int]) -> list[str]:
        """Returns the names of stored RNAs, in the order of the ids."""
        statement = "SELECT name FROM rna WHERE id = ?"
        rows = [self.db.execute(statement, (i,)).fetchone() for i in ids]
        return [row[0] for row in rows]

    def ids_after(self, name: str) -> Iterator[int]:
        """Yields the ids of RNAs whose names come after one, in the order of names."""
        statement = "SELECT id FROM rna WHERE name > ? ORDER BY name"
        for (rna_id,) in self.db.execute(statement, (name,)):
            yield rna_id

    def read_rna(self, rna_id: int) -> Rna:
        """Returns a stored RNA without its codes."""
        statement = "SELECT name, sequence, structure, metadata FROM rna WHERE id = ?"
        row = self.db.execute(statement, (rna_id,)).fetchone()
        name, sequence, structure, metadata = row
        return Rna(name, sequence, structure, json.loads(metadata))

    def read(self, rna_id: int) -> Record:
        """Returns the record of a stored RNA, all its codes included."""
        row = self.db.execute(f"{_SELECT} WHERE id = ?", (rna_id,)).fetchone()
        name, sequence, structure, metadata, fvu, *blobs = row
        indptr, indices, values = blobs[3:]
        return Record(
            Rna(name, sequence, structure, json.loads(metadata)),
            self._codes(indptr, indices, values),
            unpack_pooled(*blobs[:3]),
            fvu,
        )

    def pooled_codes(self, ids: Iterable[int]) -> list[PooledCode]:
        """Returns the pooled codes of stored RNAs, in the order of the ids."""
        statement = "SELECT features, pooled, peaks FROM rna WHERE id = ?"
        rows = (self.db.execute(statement, (i,)).fetchone() for i in ids)
        return [unpack_pooled(*blobs) for blobs in rows]

    def scan_metadata(self) -> Iterator[tuple[int, Mapping[str, str], int]]:
        """Yields id, metadata and nucleotides of every RNA, in the order of ids."""
        statement = "SELECT id, metadata, length(sequence) FROM rna ORDER BY id"
        for rna_id, metadata, length in self.db.execute(statement):
            yield rna_id, json.loads(metadata), length

    def changes(self) -> Changes:
        """Returns id and last change of every RNA."""
        rows = self.db.execute("SELECT id, change FROM rna ORDER BY change")
        # Number by number: a list of a million pairs takes 350 MB.
        table = np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, 2)
        return Changes(table[:, 0], table[:, 1])

    def nucleotide_codes(self, ids: Iterable[int]) -> Iterator[NucleotideCodes]:
        """Yields the nucleotides of stored RNAs, in the order of the ids."""
        statement = """
            SELECT sequence, indptr, indices, "values"
            FROM rna JOIN nucleotide_code USING (id) WHERE id = ?
        """
        for rna_id in ids:
            sequence, *blobs = self.db.execute(statement, (rna_id,)).fetchone()
            yield NucleotideCodes(rna_id, sequence, self._codes(*blobs))

    def _put(self, records: Sequence[Record], change: int, group: _Group) -> Written:
        ids, n_updated = [], 0
        for record in records:
            is_known = self.find(record.rna.name) is not None
            (rna_id,) = self.db.execute(_UPSERT, (*_row(record), change)).fetchone()
            self._put_codes(rna_id, record)
            group.put(rna_id, record, change, is_known)
            n_updated += is_known
            ids.append(rna_id)
        return Written(ids, len(ids) - n_updated, n_updated)

    def _put_at(
        self, records: Sequence[Record], places: Sequence[Place], group: _Group
    ) -> Written:
        n_updated = n_deleted = 0
        for record, (rna_id, change) in zip(records, places, strict=True):
            # The name may be under another id here, left from an RNA that is gone.
            other = self.find(record.rna.name)
            if other is not None and other != rna_id:
                n_deleted += self._remove([record.rna.name], group).n_deleted
            statement = "SELECT 1 FROM rna WHERE id = ?"
            is_known = self.db.execute(statement, (rna_id,)).fetchone() is not None
            self.db.execute(_REPLACE, (rna_id, *_row(record), change))
            self._put_codes(rna_id, record)
            group.put(rna_id, record, change, is_known)
            n_updated += is_known
        ids = [place.rna_id for place in places]
        return Written(ids, len(ids) - n_updated, n_updated, n_deleted)

    def _put_codes(self, rna_id: int, record: Record) -> None:
        self.db.execute(
            "INSERT OR REPLACE INTO nucleotide_code VALUES (?, ?, ?, ?)",
            (rna_id, *_pack(record.codes)),
        )

    def _remove(self, names: Iterable[str], group: _Group) -> Written:
        found = (self.find(name) for name in set(names))
        ids = [rna_id for rna_id in found if rna_id is not None]
        rows = [(rna_id,) for rna_id in ids]
        self.db.executemany("DELETE FROM nucleotide_code WHERE id = ?", rows)
        self.db.executemany("DELETE FROM rna WHERE id = ?", rows)
        group.remove(ids)
        return Written(ids, n_deleted=len(ids))

    def codes(self, ids: Iterable[int]) -> Iterator[Codes]:
        """Yields the codes of stored RNAs, in the order of the ids."""
        statement = """
            SELECT indptr, indices, "values" FROM nucleotide_code WHERE id = ?
        """
        for rna_id in ids:
            yield self._codes(*self.db.execute(statement, (rna_id,)).fetchone())

    def _codes(self, indptr: bytes, indices: bytes, values: bytes) -> Codes:
        return Codes(
            np.frombuffer(indptr, "<u4").astype(np.int64),
            np.frombuffer(indices, "<u4"),
            np.frombuffer(values, "<f4"),
            self._n_features,
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            # After some errors, such as a full disk, SQLite has done it itself.
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise


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


def unpack_pooled(features: bytes, values: bytes, peaks: bytes) -> PooledCode:
    """Returns the pooled code that a row of the table holds."""
    return PooledCode(
        np.frombuffer(features, "<u4"),
        np.frombuffer(values, "<f4"),
        np.frombuffer(peaks, "<f4"),
    )
