"""The fast search where a Milvus keeps the codes, and the records are the truth.

The Milvus gives candidates by dot product; they are compared exactly by the codes in
the records, so that scores are those of `pooled`. Whatever it does not have, because
it was away or is another one by now, is found by comparing ids and changes, and put
there. Knows the records of one collection; nothing of other collections.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from ribolex.errors import NotReadyError
from ribolex.server.index.forward import Parts, Strongest, WeightedCode, parts_of
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import Condition
from ribolex.server.index.milvus import Milvus
from ribolex.server.index.milvus_rows import (
    FORMAT,
    alias_of,
    expressions,
    row_of,
    stem_of,
)
from ribolex.server.index.milvus_table import MOST, MilvusTable
from ribolex.server.index.pooled import PooledSearch, Scored
from ribolex.server.index.records import PooledCode, Records
from ribolex.server.index.search import Check, go_on
from ribolex.server.index.stored_codes import StoredCodes

_FIRST_CANDIDATES = 256
_CANDIDATES_PER_HIT = 4
_MORE = 4
"""Times as many, if among these good ones still turned up late."""
_GROUP = 128
"""RNAs that are read and put there together."""
_COMPARED = 1024
"""RNAs that are compared exactly together."""
_MOST_BEHIND = 100_000
"""RNAs that are noted as behind; with more, all are looked at again."""
_WAIT_S = 1.0
"""That a search lets the index catch up."""
_NOTHING = Scored(np.empty(0, np.int64), np.empty(0))


class IndexPlace(NamedTuple):
    """Which index of a server it is."""

    collection: str
    generation: str
    """"" or "g1" and so on."""
    basis: str
    """What codes depend on; with another one they are others."""


class MilvusIndex:
    """The sequence codes of a collection, by id. For one thread.

    What it cannot do while the Milvus is away it does later: see `catch_up`.

    Attributes:
        has_all_features: No: it has no peaks.
        table: Where the codes are.
    """

    has_all_features = False

    def __init__(
        self,
        milvus: Milvus,
        place: IndexPlace,
        measure: SearchMeasure,
        idf: Float32[np.ndarray, " n_features"],
        records: Records,
    ) -> None:
        """Asks for nothing yet.

        Args:
            milvus: that keeps the codes.
            place: which index it is.
            measure: of likeness.
            idf: of the dictionary's features.
            records: of the collection.
        """
        self._milvus, self._measure, self._idf = milvus, measure, idf
        self._records, self._stored = records, StoredCodes(records)
        stem = stem_of(milvus.prefix, place.collection, place.generation)
        digest = blake2b(f"{FORMAT} {place.basis}".encode(), digest_size=4)
        self.table = MilvusTable(milvus, f"{stem}{digest.hexdigest()}", stem)
        self._alias = alias_of(milvus.prefix, place.collection)
        self._behind: set[int] = set()
        self._to_compare: int | None = 0
        """The id from which on nothing is known of the Milvus; None if all is."""
        self._is_open = self._is_counted = self._is_leading = self._has_alias = False

    def put(
        self,
        ids: Sequence[int],
        changes: int | Sequence[int],
        pooled: Sequence[PooledCode],
    ) -> None:
        """Has codes put there that are in the records; later, if it is away."""
        self.remove(ids)

    def remove(self, ids: Iterable[int]) -> None:
        """Has the Milvus know of some ids what the records do: nothing, if removed."""
        n_behind = len(self._behind)
        self._behind.update(ids)
        if len(self._behind) > _MOST_BEHIND:
            self._behind.clear()
            self._to_compare = 0
        # A change waits for what is its own, not for all that was left before.
        wait_s = _WAIT_S if n_behind > _GROUP else math.inf
        self._try(lambda: self._flush(_after(wait_s)))

    def catch_up(self, within_s: float) -> bool:
        """Goes on to make the Milvus have what the records have; see `CodeIndex`."""

        def go() -> None:
            # Once it is open: that may take long where much has to be loaded.
            is_late = _after(within_s)
            while not self._is_in_step:
                self._flush(is_late)
                if is_late():
                    return
                self._compare()
            if self._is_leading and not self._has_alias:
                self.table.take_alias(self._alias)
                self._has_alias = True

        return self._try(go) and self._is_in_step

    def lead(self) -> None:
        """Has the alias of the collection mean this index, now or later."""
        self._is_leading, self._has_alias = True, False
        self.catch_up(_WAIT_S)

    def close(self) -> None:
        """Does nothing: what is there stays."""

    def weigh(self, pooled: PooledCode) -> WeightedCode:
        """Returns the search vector of a pooled code."""
        return self._measure.weigh(pooled, self._idf)

    def nearest(
        self,
        query: WeightedCode,
        limit: int,
        allowed: Bool[np.ndarray, " id"] | None = None,
        where: Sequence[Condition] = (),
        *,
        exact: bool = False,
        check: Check = go_on,
    ) -> Scored:
        """Returns RNAs with a score above 0, among them the `limit` best.

        With `exact` all records are read, and the Milvus is not asked. Arguments are
        those of `CodeIndex.nearest`.

        Raises:
            NotReadyError: it is away, or is still behind the records.
        """
        if len(query.features) == 0 or (allowed is not None and not allowed.any()):
            return _NOTHING
        if exact:
            return self._nearest_of_all(query, limit, allowed, check)
        asked = expressions(where, allowed)
        n = min(max(_FIRST_CANDIDATES, _CANDIDATES_PER_HIT * limit), MOST)
        best, seen = _NOTHING, set[int]()
        while True:
            found = self._look(query, n, asked, check)
            ids = [i for i in found if _has(allowed, i)]
            first, rest = ids[: len(ids) // 4], ids[len(ids) // 4 :]
            best = _best(best, self._score(query, first, seen, check), limit)
            floor = best.scores.min() if len(best.scores) >= limit else -np.inf
            late = self._score(query, rest, seen, check)
            best = _best(best, late, limit)
            is_all = len(found) < n or n == MOST
            if is_all or late.scores.max(initial=-np.inf) <= floor:
                return best
            n = min(n * _MORE, MOST)

    def candidates(
        self,
        query: WeightedCode,
        n: int,
        allowed: Bool[np.ndarray, " id"] | None,
        where: Sequence[Condition],
        check: Check,
    ) -> list[int]:
        """Returns the ids of the `n` largest dot products, those first.

        Raises:
            NotReadyError: as `nearest`.
        """
        if len(query.features) == 0 or (allowed is not None and not allowed.any()):
            return []
        found = self._look(query, min(n, MOST), expressions(where, allowed), check)
        return [i for i in found if _has(allowed, i)]

    def parts(self, query: WeightedCode, rna_id: int) -> Parts:
        """Returns what makes the score of a query and one RNA; they sum to it."""
        (pooled,) = self._records.pooled_codes([rna_id])
        return parts_of(query, self.weigh(pooled), self._measure.likeness)

    def peaks(self, feature: int, n_ids: int) -> Float32[np.ndarray, " id"]:
        """Returns 0 for all: none is known without looking into the records."""
        return np.zeros(n_ids, np.float32)

    def strongest(self, feature: int, limit: int) -> list[Strongest]:
        """Returns the RNAs in which a feature has its largest peaks, largest first.

        Reads all records.
        """
        return self._stored.strongest(feature, limit)

    @property
    def _is_in_step(self) -> bool:
        """Whether the Milvus has what the records have, as far as can be known."""
        is_compared = self._to_compare is None and self._is_counted
        return self._is_open and is_compared and not self._behind

    def _try(self, job: Callable[[], None]) -> bool:
        """Returns whether a job could be done with an open Milvus collection."""
        try:
            if not self._is_open:
                # It may have lost something, or be another one.
                self._is_counted = False
                opened = self.table.open()
                if opened.is_new:
                    self._to_compare, self._has_alias = 0, False
                self._is_open = opened.is_loaded
                if not self._is_open:
                    return False
            job()
        except NotReadyError:
            self._is_open = False
            return False
        return True

    def _flush(self, is_late: Callable[[], bool]) -> None:
        """Makes the Milvus have what the records have of all that are behind."""
        n_features = len(self._idf)
        while self._behind and not is_late():
            some = sorted(self._behind)[:_GROUP]
            found = self._stored.read(some)
            self.table.remove(sorted({*some} - {one.rna_id for one in found}))
            self.table.put(
                row_of(one, self.weigh(one.pooled), n_features) for one in found
            )
            self._behind.difference_update(some)

    def _compare(self) -> None:
        """Finds which of the next ids are behind, or that all were looked at."""
        start, end = self._to_compare, self._stored.end
        if start is None:
            self._is_counted = self.table.count() == self._records.n_rnas
            self._to_compare = None if self._is_counted else 0
        elif start >= end:
            self.table.remove_from(end)
            self._to_compare, self._is_counted = None, True
        else:
            ours = self._stored.changes(start, start + MOST)
            theirs = self.table.changes(start)
            ids = ours.keys() | theirs.keys()
            self._behind.update(i for i in ids if ours.get(i) != theirs.get(i))
            self._to_compare = start + MOST

    def _look(
        self, query: WeightedCode, n: int, asked: Sequence[str], check: Check
    ) -> list[int]:
        """Returns ids of the largest dot products, those first, `n` at most."""
        found: list[tuple[float, int]] = []

        def look() -> None:
            found.clear()
            for expression in asked:
                check()
                found.extend(self.table.nearest(query, n, expression))

        # The second time if it was started anew, and had loaded nothing.
        for _ in range(2):
            if not self._is_in_step and not self.catch_up(_WAIT_S):
                break
            if self._try(look):
                return [i for _, i in sorted(found, key=lambda f: (-f[0], f[1]))[:n]]
        state = "is not up to date yet" if self._milvus.is_up else "is away"
        raise NotReadyError(
            f"Milvus at {self._milvus.address.url} {state}: RNAs are stored all the "
            "same, and found once it has them; an exact search does without it"
        )

    def _nearest_of_all(
        self,
        query: WeightedCode,
        limit: int,
        allowed: Bool[np.ndarray, " id"] | None,
        check: Check,
    ) -> Scored:
        best = _NOTHING
        for group in self._stored.scan():
            check()
            left = {i: code for i, code in group.items() if _has(allowed, i)}
            best = _best(best, self._exactly(query, left), limit)
        return best

    def _score(
        self, query: WeightedCode, ids: Sequence[int], seen: set[int], check: Check
    ) -> Scored:
        """Returns the exact scores of candidates that were not yet seen."""
        fresh = [i for i in ids if i not in seen]
        seen.update(fresh)
        out = _NOTHING
        for start in range(0, len(fresh), _COMPARED):
            check()
            stored = self._stored.read(fresh[start : start + _COMPARED])
            codes = {one.rna_id: one.pooled for one in stored}
            out = _joined(out, self._exactly(query, codes))
        return out

    def _exactly(self, query: WeightedCode, codes: Mapping[int, PooledCode]) -> Scored:
        """Returns the scores above 0 of some codes, from an index of them alone."""
        with closing(PooledSearch(self._measure, self._idf)) as search:
            search.put(list(codes), 0, list(codes.values()))
            return search.nearest(query, len(codes), exact=True)


def _after(wait_s: float) -> Callable[[], bool]:
    """Returns what tells whether a time has passed since now."""
    end_s = time.monotonic() + wait_s
    return lambda: time.monotonic() >= end_s


def _has(allowed: Bool[np.ndarray, " id"] | None, rna_id: int) -> bool:
    return allowed is None or (rna_id < len(allowed) and bool(allowed[rna_id]))


def _joined(one: Scored, other: Scored) -> Scored:
    pairs = zip(one, other, strict=True)
    return Scored(*(np.concatenate(pair) for pair in pairs))


def _best(one: Scored, other: Scored, limit: int) -> Scored:
    """Returns the `limit` best of both, and those that are as good as the last."""
    both = _joined(one, other)
    if len(both.scores) <= limit:
        return both
    kept = both.scores >= np.partition(both.scores, -limit)[-limit]
    return Scored(both.ids[kept], both.scores[kept])
