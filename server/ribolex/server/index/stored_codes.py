"""What the records tell an index that keeps no codes itself, some RNAs at a time.

Knows tables; nothing of search.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ribolex.server.index.forward import Strongest
from ribolex.server.index.records import PooledCode, Records, unpack_pooled

_AT_ONCE = 1024
"""Ids from which RNAs are read together."""


class Stored(NamedTuple):
    """An RNA as an index elsewhere is to know it."""

    rna_id: int
    change: int
    name: str
    metadata: Mapping[str, str]
    n_nucleotides: int
    pooled: PooledCode


def _stored(row: tuple[Any, ...]) -> Stored:
    rna_id, change, name, metadata, length, *blobs = row
    pooled = unpack_pooled(*blobs)
    return Stored(rna_id, change, name, json.loads(metadata), length, pooled)


class StoredCodes:
    """Reads the records of one collection, for the thread that owns them."""

    def __init__(self, records: Records) -> None:
        self._db = records.db

    @property
    def end(self) -> int:
        """One more than the largest id."""
        (last,) = self._db.execute("SELECT max(id) FROM rna").fetchone()
        return 0 if last is None else int(last) + 1

    def read(self, ids: Iterable[int]) -> list[Stored]:
        """Returns RNAs; passes over those not there."""
        statement = """
            SELECT id, change, name, metadata, length(sequence), features, pooled, peaks
            FROM rna WHERE id = ?
        """
        rows = (self._db.execute(statement, (i,)).fetchone() for i in ids)
        return [_stored(row) for row in rows if row is not None]

    def changes(self, start: int, stop: int) -> dict[int, int]:
        """Returns the last changes of the RNAs whose ids are in a range, by id."""
        statement = "SELECT id, change FROM rna WHERE id >= ? AND id < ?"
        return dict(self._db.execute(statement, (start, stop)))

    def scan(self) -> Iterator[dict[int, PooledCode]]:
        """Yields all pooled codes by id, some at a time, in the order of ids.

        What is changed meanwhile is seen from then on.
        """
        statement = """
            SELECT id, features, pooled, peaks FROM rna WHERE id >= ? AND id < ?
        """
        for start in range(0, self.end, _AT_ONCE):
            rows = self._db.execute(statement, (start, start + _AT_ONCE)).fetchall()
            yield {rna_id: unpack_pooled(*blobs) for rna_id, *blobs in rows}

    def strongest(self, feature: int, limit: int) -> list[Strongest]:
        """Returns the RNAs in which a feature has its largest peaks, largest first.

        Reads all of them. Equal peaks come in the order of ids.
        """
        best: list[Strongest] = []
        for group in self.scan():
            for rna_id, code in group.items():
                place = int(np.searchsorted(code.features, feature))
                if place < len(code.features) and code.features[place] == feature:
                    best.append(Strongest(rna_id, float(code.peaks[place])))
            best = sorted(best, key=lambda one: (-one.peak, one.rna_id))[:limit]
        return best
