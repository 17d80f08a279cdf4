"""Search for relatives: RNAs that align with a query, however little they look alike.

Diagonals with most votes give candidates (`voting`), local alignment by letters and
features gives scores (`ribolex.rna.local_alignment`), statistics of the alignment model
give E-values, by which hits are ranked. Knows ids, letters and codes; nothing of names,
records, or of what an explanation is.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.local_alignment import NucleotideArrays, align_locally
from ribolex.rna.traceback import Alignment, trace
from ribolex.server.index.position_blocks import Block, Layout, Lettered
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.positions import PositionalIndex, Snapshot
from ribolex.server.index.recall_sample import RecallSample
from ribolex.server.index.stretches import Stretches, around, column, everything, fetch
from ribolex.server.index.voting import (
    MAX_QUERY,
    Electorate,
    Franchise,
    count_votes,
    draw_ballots,
    windows,
)

N_CANDIDATES = 1000
"""Pieces that a sensitive search aligns with each window of the query."""

_WORDS_PART = 0.5
_DENSITY = 0.02
_ALIGNED_AT_ONCE = 512
"""Pieces between two calls of a check."""

_SAMPLED_HITS, _SURE = 10, 1.0
"""A recall is that of so many hits, of E-values that are no chance."""

Check = Callable[[], None]


class Sought(NamedTuple):
    """A query: its letters, and the codes of its nucleotides."""

    letters: UInt8[np.ndarray, " nucleotide"]
    """0 to 3 for A, C, G, U; 4 for others."""
    codes: Codes
    excluded: int | None = None
    """Id of the RNA that is no hit, being the query itself."""

    @classmethod
    def of(cls, sequence: str, codes: Codes, excluded: int | None = None) -> "Sought":
        """Returns the query of a sequence that `normalise` has accepted."""
        letters = NucleotideArrays.of_sequences([sequence]).letters
        return cls(letters, codes, excluded)

    def part(self, start: int, stop: int) -> "Sought":
        """Returns some of its nucleotides."""
        return Sought(
            self.letters[start:stop], self.codes.slice(start, stop), self.excluded
        )


class Relative(NamedTuple):
    """One hit."""

    rna_id: int
    e_value: float
    score: float
    """By which it was found, of vectors of 8 bits."""
    trace: Callable[[], Alignment]
    """Aligns it. Positions count from the first nucleotides of the query and of the
    RNA."""


class Ranking(NamedTuple):
    """The best stretch of each RNA, smallest E-value first.

    Equals come by score, then by id.
    """

    stretches: Stretches
    """Not block by block."""
    rna_ids: Int64[np.ndarray, " rna"]
    windows: Int64[np.ndarray, " rna"]
    """First nucleotide of the part of the query that found it."""
    scores: Float64[np.ndarray, " rna"]
    e_values: Float64[np.ndarray, " rna"]

    def take(
        self, chosen: Int64[np.ndarray, " chosen"] | Bool[np.ndarray, " rna"] | slice
    ) -> "Ranking":
        """Returns some of them."""
        columns = (values[chosen] for values in self[1:])
        return Ranking(self.stretches.take(chosen), *columns)


class RelativesSearch:
    """Finds relatives among the RNAs of one collection.

    For one thread; `rank` alone may be called in others meanwhile.

    Attributes:
        index: Of the RNAs' features; who changes the RNAs keeps it in step.
    """

    def __init__(
        self,
        model: AlignmentModel,
        *,
        folder: BlockFolder[Block] | None = None,
        n_threads: int = 1,
        sample: RecallSample | None = None,
    ) -> None:
        """Opens what the folder has.

        Args:
            model: of the dictionary that all codes are of.
            folder: where blocks are kept; None for memory alone.
            n_threads: that work for one search.
            sample: takes some of the searches to measure their recall; None for none.
        """
        self._model = model
        self._layout = Layout(model.votes > 0)
        self._franchise = Franchise(model.votes, _WORDS_PART, _DENSITY)
        self._n_threads = n_threads
        self._sample = sample
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self.index = PositionalIndex(self._layout, folder)

    def put(self, rna_id: int, change: int, sequence: str, codes: Codes) -> None:
        """Stores an RNA in place of what its id had; found from now on.

        Args:
            rna_id: of the RNA.
            change: another number for each state of it.
            sequence: one that `normalise` has accepted.
            codes: one row a nucleotide.
        """
        letters = NucleotideArrays.of_sequences([sequence]).letters
        vectors = self._model.vectors(codes)
        self.index.put([Lettered(rna_id, change, letters, codes, vectors)])

    def close(self) -> None:
        """Ends its threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def search(
        self,
        sought: Sought,
        *,
        limit: int,
        exhaustive: bool = False,
        allowed: Bool[np.ndarray, " id"] | None = None,
        max_e_value: float = np.inf,
        check: Check = lambda: None,
    ) -> list[Relative]:
        """Returns the best hit in each RNA, smallest E-value first, then by id.

        Their alignments are traced by whoever shows them. With a query longer than
        MAX_QUERY an alignment holds what lies within MAX_QUERY nucleotides of the part
        that found it.

        Args:
            sought: the query, of one nucleotide or more.
            limit: hits at most.
            exhaustive: whether to align every RNA rather than candidates.
            allowed: by id, whether to look at an RNA; None for all.
            max_e_value: of a hit.
            check: called every few milliseconds, in any thread; what it raises ends
                the search.
        """
        seen = self.index.snapshot()
        found = self.rank(seen, sought, exhaustive, allowed, check, self._pool)
        if self._sample is not None and not exhaustive:
            self._offer(self._sample, seen, sought, allowed, found.rna_ids)
        found = found.take(found.e_values <= max_e_value).take(slice(limit))
        return [
            Relative(
                int(found.rna_ids[place]),
                float(found.e_values[place]),
                float(found.scores[place]),
                partial(self._trace, seen, sought, found, place),
            )
            for place in range(len(found.rna_ids))
        ]

    def rank(
        self,
        seen: Snapshot,
        sought: Sought,
        exhaustive: bool,
        allowed: Bool[np.ndarray, " id"] | None,
        check: Check,
        pool: ThreadPoolExecutor | None = None,
    ) -> Ranking:
        """Returns what `search` finds, before any alignment is traced.

        Args:
            seen: of the index.
            sought: as for `search`, and what follows too.
            exhaustive: or by votes.
            allowed: by id.
            check: of whether to go on.
            pool: that works for it; None for the caller alone.
        """

        def is_allowed(block: Block) -> Bool[np.ndarray, " piece"]:
            out: Bool[np.ndarray, " piece"]
            out = seen.is_alive(block, allowed)
            if sought.excluded is not None:
                out &= block.rna_ids != sought.excluded
            return out

        electorate = Electorate(seen.blocks, is_allowed)
        n_rnas = sum(
            int(np.count_nonzero(is_allowed(block) & (block.starts == 0)))
            for block in seen.blocks
        )
        found: list[Ranking] = []
        for start, stop in windows(len(sought.letters)):
            part = sought.part(start, stop)
            if exhaustive:
                chosen = everything(electorate)
            else:
                chosen = self._choose(part, electorate, seen, check, pool)
            scores = self._align(part, seen, chosen, check, pool)
            e_values = self._model.statistics.e_value(
                scores,
                len(sought.letters),
                column("totals", seen.blocks, chosen),
                n_rnas,
            )
            ids = column("rna_ids", seen.blocks, chosen)
            fresh = Ranking(chosen, ids, np.full(len(ids), start), scores, e_values)
            found.append(fresh)
            found = [_best_of_each(found)]
        return found[0]

    def _choose(
        self,
        part: Sought,
        electorate: Electorate,
        seen: Snapshot,
        check: Check,
        pool: ThreadPoolExecutor | None,
    ) -> Stretches:
        """Returns what to align with a part of a query, by votes."""
        letters, codes, _ = part
        ballots = draw_ballots(
            codes, letters, self._layout, self._franchise, seen.sizes, seen.n_slots
        )
        threads = None if pool is None else (pool, self._n_threads)
        found = count_votes(ballots, electorate, N_CANDIDATES, check, threads)
        return around(found, seen.blocks, len(letters))

    def _align(
        self,
        part: Sought,
        seen: Snapshot,
        chosen: Stretches,
        check: Check,
        pool: ThreadPoolExecutor | None,
    ) -> Float64[np.ndarray, " stretch"]:
        """Returns how well stretches align with a part of a query."""
        query = self._arrays(part)

        def work(stretches: Stretches) -> Float64[np.ndarray, " stretch"]:
            check()
            found = align_locally(query, fetch(seen.blocks, stretches), self._model)
            return found.scores.astype(np.float64)

        jobs = chosen.parts(_ALIGNED_AT_ONCE)
        do = map if pool is None else pool.map
        return np.concatenate([np.empty(0), *do(work, jobs)])

    def _offer(
        self,
        sample: RecallSample,
        seen: Snapshot,
        sought: Sought,
        allowed: Bool[np.ndarray, " id"] | None,
        found: Int64[np.ndarray, " rna"],
    ) -> None:
        """Has the recall of a search by votes measured, if the sample takes it."""

        def check() -> None:
            if sample.is_closed:
                raise TimeoutError("nobody waits for a recall any more")

        def measure() -> float | None:
            truth = self.rank(seen, sought, True, allowed, check)
            ids = truth.rna_ids[truth.e_values <= _SURE][:_SAMPLED_HITS]
            return (
                float(np.isin(ids, found[:_SAMPLED_HITS]).mean()) if len(ids) else None
            )

        if len(sought.letters) <= MAX_QUERY:
            sample.offer(measure)

    def _trace(
        self, seen: Snapshot, sought: Sought, ranking: Ranking, place: int
    ) -> Alignment:
        """Returns the alignment of one hit."""
        one = ranking.take(slice(place, place + 1))
        (block,), (piece,), (start,), (stop,) = one.stretches
        (window,) = one.windows
        first, last = 0, len(sought.letters)
        if last > MAX_QUERY:
            # What begins or ends outside of the window is told as well.
            first, last = max(window - MAX_QUERY, 0), min(window + 2 * MAX_QUERY, last)
            pieces = seen.blocks[block].piece_slots
            start = max(start - MAX_QUERY, 0)
            stop = min(stop + MAX_QUERY, pieces[piece + 1] - pieces[piece])
        wider = one.stretches._replace(starts=np.array([start]), stops=np.array([stop]))
        query = self._arrays(sought.part(int(first), int(last)))
        found = trace(query, fetch(seen.blocks, wider), self._model)
        before = int(seen.blocks[block].starts[piece] + start)
        return replace(
            found,
            query_start=found.query_start + int(first),
            query_stop=found.query_stop + int(first),
            target_start=found.target_start + before,
            target_stop=found.target_stop + before,
        )

    def _arrays(self, part: Sought) -> NucleotideArrays:
        offsets = np.array([0, len(part.letters)])
        return NucleotideArrays(part.letters, offsets, self._model.vectors(part.codes))


def _best_of_each(parts: Sequence[Ranking]) -> Ranking:
    """Returns the best stretch of each RNA; those that do not align at all are out."""
    stretches = zip(*(part.stretches for part in parts), strict=True)
    columns = zip(*(part[1:] for part in parts), strict=True)
    found = Ranking(
        Stretches(*map(np.concatenate, stretches)), *map(np.concatenate, columns)
    )
    order = np.lexsort((found.rna_ids, -found.scores, found.e_values))
    order = order[found.scores[order] > 0]
    _, firsts = np.unique(found.rna_ids[order], return_index=True)
    return found.take(order[np.sort(firsts)])
