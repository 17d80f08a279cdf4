"""Search for relatives: RNAs that align with a query, however little they look alike.

A rough alignment with everything gives candidates (`scanning`), local alignment by
letters and features gives scores (`ribolex.rna.local_alignment`), statistics of the
alignment model give E-values, by which hits are ranked. Knows ids, letters and codes;
nothing of names, records, or of what an explanation is.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.local_alignment import NucleotideArrays, align_locally
from ribolex.rna.traceback import Alignment, trace
from ribolex.server.index.metadata import Condition
from ribolex.server.index.position_blocks import Block, Lettered
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.positions import PositionalIndex, Snapshot
from ribolex.server.index.recall_sample import RecallSample
from ribolex.server.index.scanning import (
    MAX_QUERY,
    find_candidates,
    windows,
)
from ribolex.server.index.stretches import Stretches, around, everything, fetch

N_CANDIDATES = 500
"""Pieces that a sensitive search aligns with each window of the query at least."""

_CANDIDATES_A_HIT = 2
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
        self._n_threads = n_threads
        self._sample = sample
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None
        self.index = PositionalIndex(folder)

    def put(self, rna_id: int, change: int, sequence: str, codes: Codes) -> None:
        """Stores an RNA in place of what its id had; found from now on.

        Args:
            rna_id: of the RNA.
            change: another number for each state of it.
            sequence: one that `normalise` has accepted.
            codes: one row a nucleotide.
        """
        self.put_all([rna_id], [change], [sequence], [codes])

    def put_all(
        self,
        ids: Sequence[int],
        changes: Sequence[int],
        sequences: Sequence[str],
        codes: Sequence[Codes],
    ) -> None:
        """Stores RNAs, one at least, as `put` does one; faster together."""
        rnas = NucleotideArrays.of_sequences(sequences)
        vectors = self._model.vectors(Codes.concatenate(codes))
        states = self._model.states(rnas.letters, vectors)
        parts = [slice(*pair) for pair in pairwise(rnas.offsets.tolist())]
        self.index.put(
            Lettered(rna_id, change, states[part], vectors[part])
            for rna_id, change, part in zip(ids, changes, parts, strict=True)
        )

    def remove(self, ids: Iterable[int]) -> None:
        """Forgets RNAs; ids that are not there are passed over."""
        self.index.remove(ids)

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
        where: Sequence[Condition] = (),
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
            where: of no use here, where ids tell.
            max_e_value: of a hit.
            check: called every few milliseconds, in any thread; what it raises ends
                the search.
        """
        seen = self.index.snapshot()
        at_least = max(N_CANDIDATES, _CANDIDATES_A_HIT * limit)
        n_candidates = None if exhaustive else at_least
        found = self.rank(seen, sought, n_candidates, allowed, check, self._pool)
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
        n_candidates: int | None,
        allowed: Bool[np.ndarray, " id"] | None,
        check: Check,
        pool: ThreadPoolExecutor | None = None,
        n_rnas: int | None = None,
    ) -> Ranking:
        """Returns what `search` finds, before any alignment is traced.

        Args:
            seen: of the index.
            sought: as for `search`, and what follows too.
            n_candidates: to align, at most; None for all there is.
            allowed: by id.
            check: of whether to go on.
            pool: that works for it; None for the caller alone.
            n_rnas: that were searched, for E-values; None for those allowed here.
        """
        pieces = seen.pieces
        alive = seen.alive(allowed)
        if sought.excluded is not None:
            alive &= pieces.rna_ids != sought.excluded
        if n_rnas is None:
            n_rnas = int(np.count_nonzero(alive & (pieces.starts == 0)))
        found: list[Ranking] = []
        for start, stop in windows(len(sought.letters)):
            part = sought.part(start, stop)
            query = self._arrays(part)
            if n_candidates is None:
                chosen = everything(seen, alive)
            else:
                candidates = find_candidates(
                    query, self._model, seen, alive, n_candidates, check, pool
                )
                chosen = around(candidates, pieces, len(part.letters))
            scores = self._align(query, seen, chosen, check, pool)
            rows = pieces.rows(chosen.blocks, chosen.pieces)
            e_values = self._model.statistics.e_value(
                scores,
                len(sought.letters),
                pieces.totals[rows],
                n_rnas,
            )
            ids = pieces.rna_ids[rows]
            fresh = Ranking(chosen, ids, np.full(len(ids), start), scores, e_values)
            found.append(fresh)
            found = [_best_of_each(found)]
        return found[0]

    def _align(
        self,
        query: NucleotideArrays,
        seen: Snapshot,
        chosen: Stretches,
        check: Check,
        pool: ThreadPoolExecutor | None,
    ) -> Float64[np.ndarray, " stretch"]:
        """Returns how well stretches align with a part of a query."""

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
        """Has the recall of a search measured, if the sample takes it."""

        def check() -> None:
            if sample.is_closed:
                raise TimeoutError("nobody waits for a recall any more")

        def measure() -> float | None:
            truth = self.rank(seen, sought, None, allowed, check)
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
