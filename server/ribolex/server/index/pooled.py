"""The fast search: sequence codes compared wherever features fire, and explained.

Sketches of all RNAs give candidates, which are compared exactly until no better one
turns up. Knows ids and codes; nothing of names or positions of the query.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from ribolex.server.index.forward import Parts, Strongest, WeightedCode, parts_of
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import Condition
from ribolex.server.index.pooled_blocks import PooledBlock, Weighing
from ribolex.server.index.pooled_index import Part, PooledIndex
from ribolex.server.index.pooled_kernels import estimate, score_rows
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.records import PooledCode
from ribolex.server.index.search import Check, go_on
from ribolex.server.index.sketch import Question

_ALL = 2048
"""RNAs that are compared exactly, all of them, without looking at sketches."""
_FIRST_CANDIDATES = 1024
_CANDIDATES_PER_HIT = 8
_MORE = 8
"""Times as many, if among these good ones still turned up late."""


class Scored(NamedTuple):
    """RNAs by id, and their likeness to the query, in no order."""

    ids: Int64[np.ndarray, " rna"]
    scores: Float64[np.ndarray, " rna"]


_NOTHING = Scored(np.empty(0, np.int64), np.empty(0))


class Candidates(NamedTuple):
    """Rows that are probably near, and how near."""

    blocks: Int64[np.ndarray, " candidate"]
    rows: Int64[np.ndarray, " candidate"]
    estimates: Float32[np.ndarray, " candidate"]

    def best(self, n: int) -> "Candidates":
        """Returns the `n` nearest, in no order."""
        if len(self.rows) <= n:
            return self
        kept = np.argpartition(self.estimates, -n)[-n:]
        return Candidates(*(column[kept] for column in self))


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
        masks = [part.mask(allowed) for part in parts]
        n_left = len(self.index)
        if allowed is not None:
            n_left = sum(int(np.count_nonzero(mask)) for mask in masks)
        if exact or n_left <= _ALL or any(part.basis is None for part in parts):
            scored = self._score_all(query, parts, masks, check)
        else:
            scored = self._score_best(query, parts, masks, limit, n_left, check)
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

    def _score_all(
        self,
        query: WeightedCode,
        parts: Sequence[Part],
        masks: Sequence[Bool[np.ndarray, " room"]],
        check: Check,
    ) -> Scored:
        def work(number: int) -> Scored:
            check()
            rows = np.flatnonzero(masks[number])
            block = parts[number].block
            return Scored(block.rna_ids[rows], self._score(query, block, rows))

        do: Callable[..., Iterator[Scored]]
        do = map if self._pool is None else self._pool.map
        found = [*do(work, range(len(parts)))]
        return _joined(found)

    def _score_best(
        self,
        query: WeightedCode,
        parts: Sequence[Part],
        masks: Sequence[Bool[np.ndarray, " room"]],
        limit: int,
        n_left: int,
        check: Check,
    ) -> Scored:
        """Compares candidates, likeliest first, until no better one turns up.

        That is when the likeliest quarter of them holds all of the best of all.
        """
        n = max(_FIRST_CANDIDATES, _CANDIDATES_PER_HIT * limit)
        done = [_NOTHING]
        n_done = 0
        while True:
            found = self._candidates(query, parts, masks, n, check)
            order = np.argsort(-found.estimates)
            early = max(n_done, n // 4)
            done.append(self._compare(query, parts, found, order[n_done:early]))
            floor = _worst_of_best(done, limit)
            late = self._compare(query, parts, found, order[early:])
            done.append(late)
            if n >= n_left or late.scores.max(initial=-np.inf) <= floor:
                return _joined(done)
            n_done, n = n, n * _MORE

    def _candidates(
        self,
        query: WeightedCode,
        parts: Sequence[Part],
        masks: Sequence[Bool[np.ndarray, " room"]],
        n: int,
        check: Check,
    ) -> Candidates:
        """Returns the `n` rows that are probably the nearest."""
        asked: dict[int, Question] = {}
        for part in parts:
            assert part.basis is not None  # the caller has looked
            if id(part.basis) not in asked:
                asked[id(part.basis)] = part.basis.ask(query)

        def work(numbers: range) -> Candidates:
            best = Candidates(
                np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
            )
            floor = -np.inf
            for number in numbers:
                check()
                part = parts[number]
                question = asked[id(part.basis)]
                fresh = look(part.block, question, masks[number], floor, number)
                both = zip(best, fresh, strict=True)
                best = Candidates(*map(np.concatenate, both)).best(n)
                if len(best.rows) == n:
                    floor = float(best.estimates.min())
            return best

        shares = [range(i, len(parts), self._n_threads) for i in range(self._n_threads)]
        do: Callable[..., Iterator[Candidates]]
        do = map if self._pool is None else self._pool.map
        found = zip(*do(work, shares), strict=True)
        return Candidates(*map(np.concatenate, found)).best(n)

    def _compare(
        self,
        query: WeightedCode,
        parts: Sequence[Part],
        found: Candidates,
        chosen: Int64[np.ndarray, " chosen"],
    ) -> Scored:
        """Returns the exact scores of chosen candidates."""
        chosen = chosen[np.lexsort((found.rows[chosen], found.blocks[chosen]))]
        numbers, rows = found.blocks[chosen], found.rows[chosen]
        out = []
        for number in np.unique(numbers).tolist():
            own = rows[slice(*np.searchsorted(numbers, (number, number + 1)))]
            block = parts[number].block
            out.append(Scored(block.rna_ids[own], self._score(query, block, own)))
        return _joined(out)

    def _score(
        self, query: WeightedCode, block: PooledBlock, rows: Int64[np.ndarray, " row"]
    ) -> Float64[np.ndarray, " row"]:
        wide = np.zeros(len(self._idf), np.float32)
        wide[query.features] = query.weights
        is_jaccard = self._measure.likeness == "jaccard"
        own = float(query.weights.sum(dtype=np.float64)) if is_jaccard else 0.0
        scores = np.zeros(len(rows))
        if len(query.features):
            score_rows(
                wide,
                own,
                rows,
                block.bounds,
                block.features,
                block.values,
                self._weighing.table,
                block.scales,
                block.sums,
                scores,
            )
        return scores


def look(
    block: PooledBlock,
    question: Question,
    mask: Bool[np.ndarray, " room"],
    floor: float,
    number: int,
) -> Candidates:
    """Returns the rows of a block that are probably nearer than `floor`."""
    rows = np.empty(len(block), np.int64)
    estimates = np.empty(len(block), np.float32)
    n = estimate(
        block.signs,
        block.n_ones,
        block.factors,
        block.offsets,
        len(block),
        question.planes,
        question.constant,
        question.step,
        mask,
        floor,
        rows,
        estimates,
    )
    return Candidates(np.full(n, number), rows[:n], estimates[:n])


def _joined(found: Sequence[Scored]) -> Scored:
    ids, scores = zip(_NOTHING, *found, strict=True)
    return Scored(np.concatenate(ids), np.concatenate(scores))


def _worst_of_best(found: Sequence[Scored], limit: int) -> float:
    """Returns the score that a hit must beat to be among the best `limit`."""
    scores = _joined(found).scores
    if len(scores) < limit:
        return -np.inf
    return float(np.partition(scores, -limit)[-limit])
