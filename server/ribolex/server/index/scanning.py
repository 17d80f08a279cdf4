"""The scan: which stored RNAs are worth a closer look.

A query is aligned with everything, gaps included, but roughly: a stored nucleotide is
known by its state only, and scores have 8 bits. What scores least likely by chance is
worth it. Knows blocks; nothing of ids, or of how well a candidate aligns in truth.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32, Int64, UInt8

from ribolex.dictionary import AlignmentModel
from ribolex.dictionary.alignment import N_STATES
from ribolex.rna import byte_strips
from ribolex.rna.byte_strips import ROWS
from ribolex.rna.extreme_value import ExtremeValue
from ribolex.rna.local_alignment import NucleotideArrays
from ribolex.rna.scan_kernels import MOST, judge_lanes, scan_lanes
from ribolex.server.index.position_blocks import (
    PART,
    PART_OVERLAP,
    PIECE,
    Block,
    cut,
)
from ribolex.server.index.positions import Snapshot

MAX_QUERY = 1024
"""Nucleotides of a query that are searched for at once."""

_WINDOW, _WINDOW_OVERLAP = 256, 64
"""Of a query, nucleotides that are scanned for at once: scores of more would not fit
in 8 bits without being too coarse."""
_BEST_PAIR = 5.5
"""What 8 bits count the best pair as, in windows of up to _FINE nucleotides."""
_FINE = 128
_COARSER = 4.0
"""How much coarser scores are counted where too many are as high as 8 bits go."""
_LANES_A_PIECE = -(-PIECE // (PART - PART_OVERLAP))
_LONGEST = 4096
"""Longer RNAs are judged as if they had this length."""


class Candidates(NamedTuple):
    """Pieces worth a closer look, the least likely by chance first."""

    blocks: Int32[np.ndarray, " candidate"]
    """Place of the block in the list that was searched."""
    pieces: Int32[np.ndarray, " candidate"]
    """In the block."""
    starts: Int32[np.ndarray, " candidate"]
    """In the piece, of the part of at most PART nucleotides that scored best."""
    z: Float32[np.ndarray, " candidate"]
    """As `ExtremeValue.standardise` has it."""

    def best(self, limit: int) -> "Candidates":
        """Returns the best part of each of the best pieces; of equals the first."""
        found = self._take(np.lexsort((self.starts, self.pieces, self.blocks, -self.z)))
        keys = found.blocks.astype(np.int64) << 32 | found.pieces
        _, firsts = np.unique(keys, return_index=True)
        return found._take(np.sort(firsts)[:limit])

    def _take(self, chosen: Int64[np.ndarray, " chosen"]) -> "Candidates":
        return Candidates(*(column[chosen] for column in self))


class _Probe(NamedTuple):
    """A window of a query as the kernel takes it."""

    n_nucleotides: int
    tables: Int8[np.ndarray, "row 128"]
    gap: np.int8
    unit: float
    """Worth of 1."""

    @classmethod
    def of(
        cls, scores: Float32[np.ndarray, "row 125"], model: AlignmentModel, unit: float
    ) -> "_Probe":
        n_rows = -(-len(scores) // ROWS) * ROWS
        tables = np.full((n_rows, byte_strips.N_STATES), -128, np.int8)
        whole = np.clip(np.rint(scores / unit), -128, 127)
        tables[: len(scores), :N_STATES] = whole
        # One cost of all nucleotides in a gap, the mean of both that the model has.
        gap = (model.gap_open + model.gap_extend) / 2
        gap_units = np.int8(min(max(round(gap / unit), 1), 127))
        return cls(len(scores), tables, gap_units, unit)


def find_candidates(
    query: NucleotideArrays,
    model: AlignmentModel,
    seen: Snapshot,
    allowed: Bool[np.ndarray, " piece"],
    limit: int,
    check: Callable[[], None],
    pool: Executor | None = None,
) -> Candidates:
    """Returns the pieces that are worth a closer look; those that score 0 are not.

    Args:
        query: one sequence of MAX_QUERY nucleotides at most, with vectors.
        model: of the dictionary that all is of.
        seen: where to search.
        allowed: which of its pieces count.
        limit: candidates at most, 1 or more.
        check: called every few milliseconds, in any thread; what it raises ends the
            search.
        pool: that scans; None for the caller alone.
    """
    vectors = query.vectors
    assert isinstance(vectors, np.ndarray)  # those of a model are
    scores = model.state_scores(query.letters, vectors)
    largest = max(float(model.letters.max()) + model.similarity, 1e-6)
    field = _Field.of(seen, check, pool)
    everyone = field.lanes_of(allowed)
    found = []
    for start, stop in cut(len(scores), _WINDOW, _WINDOW_OVERLAP):
        unit = largest / _BEST_PAIR * max(1.0, (stop - start) / _FINE) ** 0.5
        chosen = everyone
        while True:
            probe = _Probe.of(scores[start:stop], model, unit)
            levels = field.scan(probe, chosen)
            chosen = levels == MOST
            if np.count_nonzero(chosen) <= limit or unit > largest:
                break
            unit *= _COARSER
        found.append(field.best(levels, probe, model.statistics, limit))
    return _merge(found).best(limit)


class _Field(NamedTuple):
    """All lanes of all blocks, one after the other."""

    seen: Snapshot
    bounds: Int64[np.ndarray, " block_boundary"]
    """Block b owns lanes bounds[b] .. bounds[b + 1] - 1."""
    check: Callable[[], None]
    pool: Executor | None

    @classmethod
    def of(
        cls, seen: Snapshot, check: Callable[[], None], pool: Executor | None
    ) -> "_Field":
        sizes = [len(block.lane_pieces) for block in seen.blocks]
        return cls(seen, np.cumsum([0, *sizes]), check, pool)

    def _blocks(self) -> Iterator[tuple[Block, slice]]:
        """Yields each block with where its lanes are."""
        bounds = zip(self.bounds[:-1], self.bounds[1:], strict=True)
        for block, (start, stop) in zip(self.seen.blocks, bounds, strict=True):
            yield block, slice(start, stop)

    def lanes_of(self, pieces: Bool[np.ndarray, " piece"]) -> Bool[np.ndarray, " lane"]:
        """Returns which lanes are parts of some pieces."""
        out = np.empty(self.bounds[-1], bool)
        firsts = self.seen.pieces.firsts
        for first, (block, own) in zip(firsts, self._blocks(), strict=False):
            out[own] = pieces[first + block.lane_pieces] & (block.lane_pieces >= 0)
        return out

    def scan(
        self, probe: _Probe, chosen: Bool[np.ndarray, " lane"]
    ) -> UInt8[np.ndarray, " lane"]:
        """Returns the score of each lane in the probe's units; 0 if not chosen."""
        out = np.empty(len(chosen), np.uint8)

        def work(each: tuple[Block, slice]) -> None:
            self.check()
            block, own = each
            scan_lanes(
                probe.tables,
                probe.gap,
                block.lanes,
                block.group_places,
                chosen[own],
                out[own],
            )

        do = map if self.pool is None else self.pool.map
        for _ in do(work, self._blocks()):
            pass
        return out

    def best(
        self,
        levels: UInt8[np.ndarray, " lane"],
        probe: _Probe,
        statistics: ExtremeValue,
        limit: int,
    ) -> Candidates:
        """Returns the pieces whose scores are least likely."""
        lengths = np.arange(_LONGEST + 1)
        zero, one = (
            statistics.standardise(score, probe.n_nucleotides, lengths)
            for score in (0.0, probe.unit)
        )
        table = zero.astype(np.float32), (one - zero).astype(np.float32)
        z = np.empty(len(levels), np.float32)
        for block, own in self._blocks():
            judge_lanes(levels[own], block.lane_pieces, block.totals, *table, z[own])
        n_lanes = _LANES_A_PIECE * limit
        floor = (
            np.partition(z, len(z) - n_lanes)[-n_lanes] if len(z) > n_lanes else -np.inf
        )
        lanes = np.flatnonzero((z >= floor) & (levels > 0))
        places = np.searchsorted(self.bounds, lanes, "right") - 1
        pieces, starts = np.empty((2, len(lanes)), np.int32)
        for place in np.unique(places):
            is_here = places == place
            own = lanes[is_here] - self.bounds[place]
            pieces[is_here] = self.seen.blocks[place].lane_pieces[own]
            starts[is_here] = self.seen.blocks[place].lane_starts[own]
        return Candidates(places.astype(np.int32), pieces, starts, z[lanes]).best(limit)


def _merge(parts: Sequence[Candidates]) -> Candidates:
    whole = np.empty(0, np.int32)
    none = Candidates(whole, whole, whole, np.empty(0, np.float32))
    return Candidates(*map(np.concatenate, zip(none, *parts, strict=True)))


def windows(n_nucleotides: int) -> Iterator[tuple[int, int]]:
    """Yields start and stop of the parts that a query is searched in.

    Neighbours share half of MAX_QUERY; a short query is one part.
    """
    return cut(n_nucleotides, MAX_QUERY, MAX_QUERY // 2)
