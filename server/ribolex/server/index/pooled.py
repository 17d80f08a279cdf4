"""The fast search: sequence codes compared wherever features fire, and explained.

Sketches of all RNAs give candidates, the features that these have give better ones,
and those are compared exactly; of each more, until no better one turns up late. Knows
ids and codes; nothing of names or positions of the query.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt64

from ribolex.server.index.forward import Parts, Strongest, WeightedCode, parts_of
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import Condition
from ribolex.server.index.pooled_blocks import ROWS, PooledBlock, Weighing, bits_of
from ribolex.server.index.pooled_index import Part, PooledIndex
from ribolex.server.index.pooled_kernels import match_places, score_places, sift
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.records import PooledCode
from ribolex.server.index.search import Check, go_on

_ALL = 2048
"""RNAs that are compared exactly, all of them, without looking at sketches."""
_FIRST_SIFTED = 1024
_FIRST_COMPARED = 128
_PER_HIT = 8
"""Times as many of both as hits are wanted, at least."""
_MORE = 8
"""Times as many, if among these good ones still turned up late."""
_STRANGE = 3.0
"""Standard deviations by which hits must be better than few candidates that are not."""
_AT_ONCE = 1 << 15
"""RNAs that are compared before somebody is asked whether to go on."""


class Scored(NamedTuple):
    """RNAs by id, and their likeness to the query, in no order."""

    ids: Int64[np.ndarray, " rna"]
    scores: Float64[np.ndarray, " rna"]


_NOTHING = Scored(np.empty(0, np.int64), np.empty(0))


class Candidates(NamedTuple):
    """Rows that are probably near."""

    places: Int64[np.ndarray, " candidate"]
    distances: Int64[np.ndarray, " candidate"]
    """From the query, by signs."""


class View(NamedTuple):
    """Rows as compiled loops see them."""

    blocks: Int64[np.ndarray, "block column"]
    parts: Sequence[Part]
    """Keep what the former point to."""

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "View":
        """Returns the rows of parts."""
        return cls(np.array([part.columns for part in parts], np.int64), parts)


class PooledSearch:
    """The sequence codes of a collection, by id. Not thread-safe.

    Attributes:
        index: Of the codes; who changes the RNAs keeps it in step.
    """

    def __init__(
        self,
        measure: SearchMeasure,
        idf: Float32[np.ndarray, " n_features"],
        *,
        folder: BlockFolder[PooledBlock] | None = None,
        n_threads: int = 1,
    ) -> None:
        """Opens what the folder has.

        Args:
            measure: of likeness.
            idf: of the dictionary's features.
            folder: where blocks are kept; None for memory alone.
            n_threads: that work for one search.
        """
        self._measure, self._idf = measure, idf
        self._weighing = Weighing.of(measure, idf)
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self.index = PooledIndex(len(idf), self._weighing, folder)

    def put(
        self,
        ids: Sequence[int],
        changes: int | Sequence[int],
        pooled: Sequence[PooledCode],
    ) -> None:
        """Stores codes in place of what their ids had; see `PooledIndex.put`."""
        self.index.put(ids, changes, pooled)

    def remove(self, ids: Iterable[int]) -> None:
        """Forgets codes; ids that are not there are passed over."""
        self.index.remove(ids)

    def catch_up(self, within_s: float) -> bool:
        """Returns that nothing is left to do: all is done at once."""
        return True

    def lead(self) -> None:
        """Does nothing: it is of no matter to anybody else."""

    def close(self) -> None:
        """Writes what is only in memory, and ends its threads."""
        self.index.close()
        if self._pool is not None:
            self._pool.shutdown()

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

        Args:
            query: from `weigh`.
            limit: hits that are wanted.
            allowed: by id, whether to look at an RNA; None for all.
            where: of no use here, where ids tell.
            exact: whether to compare all of them, not only candidates.
            check: called between blocks.
        """
        parts = self.index.parts()
        n_left = len(self.index)
        if allowed is not None:
            n_left = min(n_left, int(np.count_nonzero(allowed)))
        if exact or n_left <= _ALL or any(part.basis is None for part in parts):
            places = np.sort(self.index.places(allowed))
            scored = self._score(query, View.of(parts), places, check)
        else:
            view = View.of(parts)
            scored = self.score_best(query, view, limit, allowed, check)
        kept = scored.scores > 0
        return Scored(scored.ids[kept], scored.scores[kept])

    def parts(self, query: WeightedCode, rna_id: int) -> Parts:
        """Returns what makes the score of a query and one RNA; they sum to it."""
        return parts_of(query, self.index.code(rna_id), self._measure.likeness)

    @property
    def has_all_features(self) -> bool:
        """Whether what has no peak of a feature has no nucleotide with it."""
        return self._measure.has_all_features

    def peaks(self, feature: int, n_ids: int) -> Float32[np.ndarray, " id"]:
        """Returns the largest value of a feature by id, 0 where it has none."""
        return self.index.peaks(feature, n_ids)

    def strongest(self, feature: int, limit: int) -> list[Strongest]:
        """Returns the RNAs in which a feature has its largest peaks, largest first.

        Looks into every row. Equal peaks come in the order of ids.
        """
        peaks = self.index.peaks(feature, 0)
        rna_ids = np.flatnonzero(peaks)
        order = np.lexsort((rna_ids, -peaks[rna_ids]))[:limit]
        return [Strongest(int(i), float(peaks[i])) for i in rna_ids[order]]

    def score_best(
        self,
        query: WeightedCode,
        view: View,
        limit: int,
        allowed: Bool[np.ndarray, " id"] | None = None,
        check: Check = go_on,
    ) -> Scored:
        """Compares candidates, likeliest first, until no better one turns up.

        That is when the likeliest quarter of them holds all of the best of all.

        Args:
            query: from `weigh`.
            view: of rows that all have sketches.
            limit: hits that are wanted.
            allowed: by id, whether to look at an RNA; None for all.
            check: called now and then.
        """
        places, likely = self._likely(query, view, limit, allowed, check)
        order = np.argsort(-likely)
        done, n_done = _NOTHING, 0
        n = max(_FIRST_COMPARED, _PER_HIT * limit)
        while True:
            more = self._score(query, view, places[order[n_done:n]], check)
            done = Scored(*map(np.concatenate, zip(done, more, strict=True)))
            early = max(n_done, n // 4)
            floor = _worst_of_best(done.scores[:early], limit)
            if n >= len(order) or done.scores[early:].max(initial=-np.inf) <= floor:
                return done
            n_done, n = n, n * _MORE

    def _likely(
        self,
        query: WeightedCode,
        view: View,
        limit: int,
        allowed: Bool[np.ndarray, " id"] | None,
        check: Check,
    ) -> tuple[Int64[np.ndarray, " place"], Float32[np.ndarray, " place"]]:
        """Returns places of RNAs, and how alike they are by the features they have.

        The nearest by signs, so many of them that the nearest quarter holds those that
        have most in common with the query; of the first few, far more than the others.
        """
        bits = bits_of(query, len(self._idf))
        asked = _ask(query, view)
        n_all = sum(len(part.block) for part in view.parts)
        n = first = max(_FIRST_SIFTED, _PER_HIT * limit)
        while True:
            check()
            found = self._sift(view, asked, allowed, n)
            likely = np.empty(len(found.places), np.float32)
            match_places(bits, view.blocks, found.places, ROWS, likely)
            if len(likely) < n:
                break
            near = np.partition(found.distances, n // 4)[n // 4]
            late = likely[found.distances > near]
            floor = _worst_of_best(likely, limit)
            # None is late if three quarters share one distance: who knows who else.
            is_sure = len(late) > 0 and (n > first or _stands_out(floor, late))
            if is_sure and float(late.max()) < floor:
                break
            n = min(n * _MORE, n_all + 1)
        return found.places, likely

    def _sift(
        self,
        view: View,
        asked: UInt64[np.ndarray, "block 7"],
        allowed: Bool[np.ndarray, " id"] | None,
        n: int,
    ) -> Candidates:
        """Returns the `n` nearest by signs, or some more."""
        known = np.empty(0, bool) if allowed is None else allowed

        def work(first: int) -> Candidates:
            chosen = np.arange(first, len(view.blocks), self._n_threads)
            return Candidates(*sift(view.blocks, chosen, ROWS, asked, known, n))

        if self._pool is None:
            return work(0)
        found = zip(*self._pool.map(work, range(self._n_threads)), strict=True)
        every = Candidates(*map(np.concatenate, found))
        if len(every.places) <= n:
            return every
        kept = every.distances <= np.partition(every.distances, n - 1)[n - 1]
        return Candidates(every.places[kept], every.distances[kept])

    def _score(
        self,
        query: WeightedCode,
        view: View,
        places: Int64[np.ndarray, " place"],
        check: Check,
    ) -> Scored:
        """Returns the exact scores of chosen rows."""
        wide = np.zeros(len(self._idf), np.float32)
        wide[query.features] = query.weights
        is_jaccard = self._measure.likeness == "jaccard"
        own = float(query.weights.sum(dtype=np.float64)) if is_jaccard else 0.0
        scored = Scored(np.zeros(len(places), np.int64), np.zeros(len(places)))
        if not len(query.features) or not len(places):
            return scored
        block = view.parts[0].block
        like_features, like_values = block.features[:0], block.values[:0]

        def work(start: int) -> None:
            check()
            part = slice(start, start + _AT_ONCE)
            score_places(
                wide,
                own,
                view.blocks,
                places[part],
                ROWS,
                like_features,
                like_values,
                self._weighing.table,
                *(column[part] for column in scored),
            )

        do: Callable[..., Iterator[None]]
        do = map if self._pool is None else self._pool.map
        for _ in do(work, range(0, len(places), _AT_ONCE)):
            pass
        return scored


def _ask(query: WeightedCode, view: View) -> UInt64[np.ndarray, "block 7"]:
    """Returns the query as it is compared with the sketches of each block."""
    asked: dict[int, UInt64[np.ndarray, " 7"]] = {}
    for part in view.parts:
        assert part.basis is not None  # the caller has looked
        if id(part.basis) not in asked:
            asked[id(part.basis)] = part.basis.ask(query)
    return np.array([asked[id(part.basis)] for part in view.parts], np.uint64)


def _stands_out(floor: float, others: Float32[np.ndarray, " other"]) -> bool:
    """Returns whether a value is far from what others are spread over."""
    mean = float(others.sum()) / len(others)
    variance = max(float(others @ others) / len(others) - mean**2, 0.0)
    return floor > mean + _STRANGE * math.sqrt(variance)


def _worst_of_best(scores: np.ndarray, limit: int) -> float:
    """Returns the score that a hit must beat to be among the best `limit`."""
    if len(scores) < limit:
        return -np.inf
    return float(np.partition(scores, -limit)[-limit])
