"""A search for RNAs in which features fire as a query asks, done bit by bit.

The peaks in memory, if they are there, tell which RNAs may match; the nucleotide codes
of those are read from the records and looked at, a block at a time, by name. Between
two blocks others may use the collection; what they change, the next block sees. Knows
nothing of messages, or of who asks.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from ribolex.dictionary import Codes
from ribolex.rna import Rna
from ribolex.server.index.feature_query import Query, features_of
from ribolex.server.index.listing import size_of
from ribolex.server.index.marking import (
    Bounds,
    Marked,
    Peaks,
    Stretch,
    Tape,
    bounds,
    mark,
    read_tape,
    stretches_of,
)
from ribolex.server.index.metadata import Condition, MetadataColumns
from ribolex.server.index.records import Records
from ribolex.server.index.seams import CodeIndex

_FIRST_RNAS, _BLOCK_RNAS = 64, 512
"""RNAs of the first block, and of the largest ones: twice as many each time."""
_BLOCK_SLOTS = 1 << 16
"""Nucleotides that are looked at together, or one RNA if it is longer."""
_SPARSE = 8
"""Where fewer than one RNA in so many may match, they are put in order apart."""
_LAST_ID = 2**63
_STRETCH_SIZE = 16
"""What a stretch adds to a page's size, in letters."""


@dataclass(frozen=True, slots=True)
class FeatureSearch:
    """What to search for, and how much of it."""

    query: Query
    limit: int
    """Most matches to return, >= 1."""
    max_size: int
    """Of their RNAs and stretches, in letters; one is returned however large it is."""
    where: tuple[Condition, ...] = ()
    after: str = ""
    """The name after which to begin; empty for the first."""
    is_counting: bool = False
    """Whether to count all that match, on whatever page."""


class Match(NamedTuple):
    """An RNA in which a query holds, and the firings that have part in it."""

    rna: Rna
    stretches: list[Stretch]
    """By feature in the order of the query, then by start; none where it only says
    what must not be."""


class Source(NamedTuple):
    """The parts of a collection that a search reads, in the state of now."""

    records: Records
    pooled: CodeIndex
    metadata: MetadataColumns
    n_features: int


class _Plan(NamedTuple):
    """What is known of a collection before any nucleotide is read."""

    pooled: CodeIndex
    allowed: Bool[np.ndarray, " id"]
    bounds: Bounds
    in_order: list[tuple[str, int]] | None
    """Names and ids of the RNAs that may match, by name; None if they are many."""


class FeatureScan:
    """One search on its way through a collection.

    To be stepped in the collection's thread until it is done.

    Attributes:
        matches: The page so far.
        has_more: Whether another match comes after the page.
        n_matching: RNAs that match in all; None if they are not to be counted, or not
            yet.
        n_searched: RNAs that the conditions let through.
        n_read: RNAs of which the codes were read.
    """

    def __init__(self, search: FeatureSearch) -> None:
        self._search = search
        self._features = features_of(search.query)
        self._plan: _Plan | None = None
        self._after = search.after
        self._page_size, self._block_rnas = 0, _FIRST_RNAS
        self._is_page_done = False
        self._counted_to, self._n_counted = -1, 0
        self.matches: list[Match] = []
        self.has_more = False
        self.n_matching: int | None = None
        self.n_searched = 0
        self.n_read = 0

    def step(self, source: Source) -> bool:
        """Looks at one block; returns whether the search is done."""
        plan = self._plan_of(source)
        self.n_searched = int(np.count_nonzero(plan.allowed))
        if not self._is_page_done:
            self._fill_page(source, plan)
            is_counted = not self._search.is_counting or self.n_matching is not None
            return self._is_page_done and is_counted
        return self._count(source, plan)

    def _plan_of(self, source: Source) -> _Plan:
        """Returns the plan; a new one if anything was changed since it was made."""
        allowed = source.metadata.allowed(self._search.where)
        plan, pooled = self._plan, source.pooled
        # The same array is given until RNAs come, change or go.
        if plan and plan.allowed is allowed and plan.pooled is pooled:
            return plan
        peaks = {one: pooled.peaks(one, len(allowed)) for one in self._features}
        known = Peaks(peaks, len(allowed), pooled.has_all_features)
        maybe, surely = bounds(self._search.query, known)
        found = Bounds(maybe & allowed, surely & allowed)
        ids = np.flatnonzero(found.maybe).tolist()
        in_order = None
        if _SPARSE * len(ids) < source.records.n_rnas:
            in_order = sorted(zip(source.records.names(ids), ids, strict=True))
        self._plan = _Plan(pooled, allowed, found, in_order)
        return self._plan

    def _fill_page(self, source: Source, plan: _Plan) -> None:
        """Looks at the next RNAs by name."""
        ids = list(islice(self._next_ids(source, plan), self._block_rnas))
        self._block_rnas = min(2 * self._block_rnas, _BLOCK_RNAS)
        ids, marked, tape = self._look(source, ids)
        for i in np.flatnonzero(marked.holds):
            slots = slice(tape.offsets[i], tape.offsets[i + 1])
            rna = source.records.read_rna(ids[i])
            found = stretches_of(
                self._features, tape.values[:, slots], marked.places[:, slots]
            )
            size = size_of(rna) + _STRETCH_SIZE * len(found)
            is_full = self._page_size + size > self._search.max_size
            if len(self.matches) == self._search.limit or (self.matches and is_full):
                self.has_more = self._is_page_done = True
                return
            self.matches.append(Match(rna, found))
            self._page_size += size
        if not ids:
            self._is_page_done = True
            if not self._search.after:
                self.n_matching = len(self.matches)
            return
        (self._after,) = source.records.names(ids[-1:])

    def _next_ids(self, source: Source, plan: _Plan) -> Iterator[int]:
        """Yields the RNAs that may match, by name, from where the search is."""
        if plan.in_order is not None:
            first = bisect_right(plan.in_order, (self._after, _LAST_ID))
            return (i for _, i in islice(plan.in_order, first, None))
        after = source.records.ids_after(self._after)
        return (i for i in after if plan.bounds.maybe[i])

    def _count(self, source: Source, plan: _Plan) -> bool:
        """Looks at the next RNAs of which the peaks do not tell, by id."""
        maybe, surely = plan.bounds
        first = self._counted_to + 1
        left = first + np.flatnonzero(maybe[first:] & ~surely[first:])[:_BLOCK_RNAS]
        ids, marked, _ = self._look(source, left.tolist())
        self._n_counted += int(np.count_nonzero(marked.holds))
        if ids:
            self._counted_to = ids[-1]
            return False
        self.n_matching = self._n_counted + int(np.count_nonzero(surely))
        return True

    def _look(
        self, source: Source, ids: Sequence[int]
    ) -> tuple[list[int], Marked, Tape]:
        """Returns the first ids, as many as make a block, and what holds for them."""
        codes: list[Codes] = []
        n_slots = 0
        for one in source.records.codes(ids):
            codes.append(one)
            n_slots += len(one)
            if n_slots >= _BLOCK_SLOTS:
                break
        self.n_read += len(codes)
        tape = read_tape(codes, self._features, source.n_features)
        return list(ids[: len(codes)]), mark(self._search.query, tape), tape
