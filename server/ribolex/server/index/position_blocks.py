"""Blocks of the positional index: pieces of RNAs, and which slot holds what.

The nucleotides of many RNAs lie one after the other in the slots of a block, each RNA
in one piece or, if it is long, in pieces that overlap. Of each nucleotide a block
holds its state and its vector in whole numbers of 8 bits, and the states once more in
lanes, as a scan reads them: pieces of like length side by side, long ones in parts.
Knows nothing of disks, of queries, or of which RNAs are still there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int8, Int32, Int64, UInt8

from ribolex.dictionary.alignment import LETTERS_OF_STATES, N_STATES
from ribolex.rna.byte_strips import LANES
from ribolex.server.index.position_kernels import fill_lanes, widen

SLOTS = 1 << 18
"""Of a block at most."""

PIECE = 4096
"""Nucleotides of a piece at most."""

OVERLAP = 1024
"""Nucleotides that neighbouring pieces share: no less than a query may have, so that
some piece holds the whole of what any query lies on."""

PART = 1024
"""Nucleotides in a lane at most."""

PART_OVERLAP = 128
"""Nucleotides that neighbouring lanes share: of a longer alignment that a lane cuts,
one holds enough to be noticed."""

FORMAT = f"2 {PIECE} {OVERLAP} {PART} {PART_OVERLAP}"
"""What blocks are; those of another format are of no use."""


class Lettered(NamedTuple):
    """One RNA as the index takes it."""

    rna_id: int
    change: int
    """Number of the change that made it what it is; >= 0, rises with every change."""
    states: UInt8[np.ndarray, " nucleotide"]
    vectors: Float32[np.ndarray, "nucleotide width"]


class Targets(NamedTuple):
    """Stretches of RNAs one after the other, as alignment takes them."""

    letters: UInt8[np.ndarray, " nucleotide"]
    offsets: Int64[np.ndarray, " boundary"]
    vectors: Float32[np.ndarray, "nucleotide width"]


class Pieces(NamedTuple):
    """The content of a block, or of a part of one. Read-only."""

    rna_ids: Int64[np.ndarray, " piece"]
    changes: Int64[np.ndarray, " piece"]
    starts: Int32[np.ndarray, " piece"]
    """Where each piece begins in its RNA."""
    totals: Int32[np.ndarray, " piece"]
    """Nucleotides of the whole RNA that each piece is of."""
    lengths: Int32[np.ndarray, " piece"]
    states: UInt8[np.ndarray, " slot"]
    vectors: Int8[np.ndarray, "slot width"]
    scales: Float16[np.ndarray, " slot"]
    """What to multiply a slot's vector with."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Pieces, and their lanes; read-only arrays, maybe of a mapped file."""

    rna_ids: Int64[np.ndarray, " piece"]
    changes: Int64[np.ndarray, " piece"]
    starts: Int32[np.ndarray, " piece"]
    totals: Int32[np.ndarray, " piece"]
    piece_slots: Int32[np.ndarray, " piece_boundary"]
    """Piece p owns slots piece_slots[p] .. piece_slots[p + 1] - 1."""
    states: UInt8[np.ndarray, " slot"]
    vectors: Int8[np.ndarray, "slot width"]
    scales: Float16[np.ndarray, " slot"]
    lane_pieces: Int32[np.ndarray, " lane"]
    """LANES a group; -1 for a lane of nothing."""
    lane_starts: Int32[np.ndarray, " lane"]
    """Where each lane begins in its piece."""
    group_places: Int64[np.ndarray, " group_boundary"]
    """Group g owns places group_places[g] .. group_places[g + 1] - 1 of its lanes."""
    lanes: UInt8[np.ndarray, "place 64"]
    """States; N_STATES after a lane's end."""

    def __len__(self) -> int:
        return len(self.rna_ids)

    @property
    def n_slots(self) -> int:
        """Slots in use."""
        return len(self.states)

    @property
    def index_bytes(self) -> int:
        """Of all but the vectors."""
        arrays = [getattr(self, field.name) for field in fields(self)]
        n_bytes = sum(int(array.nbytes) for array in arrays)
        return n_bytes - self.vectors.nbytes - self.scales.nbytes

    def targets(
        self,
        pieces: Int32[np.ndarray, " chosen"],
        starts: Int64[np.ndarray, " chosen"],
        stops: Int64[np.ndarray, " chosen"],
    ) -> Targets:
        """Returns a stretch of each chosen piece.

        Args:
            pieces: which.
            starts: first nucleotide in the piece.
            stops: one past the last.
        """
        offsets = np.zeros(len(pieces) + 1, np.int64)
        np.cumsum(stops - starts, out=offsets[1:])
        states = np.empty(offsets[-1], np.uint8)
        vectors = np.empty((offsets[-1], self.vectors.shape[1]), np.float32)
        firsts = self.piece_slots[pieces] + starts
        rows = np.arange(offsets[-1]) + np.repeat(firsts - offsets[:-1], stops - starts)
        scales = self.scales[rows].astype(np.float32)
        widen(self.states, self.vectors, rows, scales, states, vectors)
        return Targets(LETTERS_OF_STATES[states], offsets, vectors)


def cut(n_nucleotides: int, most: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yields start and stop of parts of some nucleotides, `most` at most each.

    Neighbours share `overlap`.
    """
    start = 0
    while True:
        stop = min(start + most, n_nucleotides)
        yield start, stop
        if stop == n_nucleotides:
            return
        start = stop - overlap


def count_cuts(
    n_nucleotides: Int32[np.ndarray, " any"], most: int, overlap: int
) -> Int64[np.ndarray, " any"]:
    """Returns how many parts `cut` yields."""
    beyond = np.maximum(n_nucleotides.astype(np.int64) - most, 0)
    return 1 + -(-beyond // (most - overlap))


def count_pieces(
    n_nucleotides: Int32[np.ndarray, " rna"],
) -> Int64[np.ndarray, " rna"]:
    """Returns how many pieces RNAs of some lengths are cut in."""
    return count_cuts(n_nucleotides, PIECE, OVERLAP)


def pieces_of(rna: Lettered) -> Iterator[Pieces]:
    """Yields the pieces of an RNA, each alone; none of one without nucleotides."""
    vectors, scales = _narrow(rna.vectors)
    n = len(rna.states)
    for start, stop in cut(n, PIECE, OVERLAP) if n else ():
        yield Pieces(
            np.array([rna.rna_id]),
            np.array([rna.change]),
            np.array([start], np.int32),
            np.array([n], np.int32),
            np.array([stop - start], np.int32),
            rna.states[start:stop],
            vectors[start:stop],
            scales[start:stop],
        )


def join(parts: Sequence[Pieces]) -> Pieces:
    """Returns the pieces of one or more parts as one part."""
    return Pieces(*map(np.concatenate, zip(*parts, strict=True)))


def split(pieces: Pieces) -> Iterator[Pieces]:
    """Yields every piece alone."""
    ends = np.cumsum(pieces.lengths)
    starts = ends - pieces.lengths
    for i in range(len(ends)):
        own, slots = slice(i, i + 1), slice(starts[i], ends[i])
        yield Pieces(
            *(column[own] for column in pieces[:5]),
            *(column[slots] for column in pieces[5:]),
        )


def seal(pieces: Pieces) -> Block:
    """Returns the block of some pieces, which have SLOTS nucleotides at most."""
    piece_slots = np.concatenate([[0], np.cumsum(pieces.lengths)]).astype(np.int32)
    block = Block(
        *pieces[:4],
        piece_slots,
        *pieces[5:],
        *_lay_in_lanes(pieces.states, piece_slots),
    )
    for field in fields(block):
        # As those of mapped files are; compiled loops tell the two apart.
        getattr(block, field.name).flags.writeable = False
    return block


class _Lanes(NamedTuple):
    """The last fields of a block."""

    pieces: Int32[np.ndarray, " lane"]
    starts: Int32[np.ndarray, " lane"]
    group_places: Int64[np.ndarray, " group_boundary"]
    states: UInt8[np.ndarray, "place 64"]


def _lay_in_lanes(
    states: UInt8[np.ndarray, " slot"], piece_slots: Int32[np.ndarray, " boundary"]
) -> _Lanes:
    """Returns parts of pieces side by side, by length, LANES in a group."""
    lengths = np.diff(piece_slots)
    counts = count_cuts(lengths, PART, PART_OVERLAP)
    pieces = np.repeat(np.arange(len(lengths)), counts)
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    starts = (np.arange(len(pieces)) - firsts) * (PART - PART_OVERLAP)
    sizes = np.minimum(lengths[pieces] - starts, PART)
    order = np.argsort(sizes, kind="stable")
    n_groups = -(-len(order) // LANES)
    lane_pieces = np.full(n_groups * LANES, -1, np.int32)
    lane_starts = np.zeros(n_groups * LANES, np.int32)
    lane_pieces[: len(order)] = pieces[order]
    lane_starts[: len(order)] = starts[order]
    # The last lane of each group is its longest.
    longest = sizes[
        order[np.minimum(np.arange(1, n_groups + 1) * LANES, len(order)) - 1]
    ]
    group_places = np.concatenate([[0], np.cumsum(longest)]).astype(np.int64)
    lanes = np.full((int(group_places[-1]), LANES), N_STATES, np.uint8)
    slots = piece_slots[pieces[order]] + starts[order]
    fill_lanes(
        states,
        slots.astype(np.int64),
        sizes[order].astype(np.int64),
        group_places,
        lanes,
    )
    return _Lanes(lane_pieces, lane_starts, group_places, lanes)


def unseal(block: Block, kept: Bool[np.ndarray, " piece"]) -> Pieces:
    """Returns some pieces of a block."""
    lengths = np.diff(block.piece_slots)
    is_kept = np.repeat(kept, lengths)
    return Pieces(
        block.rna_ids[kept],
        block.changes[kept],
        block.starts[kept],
        block.totals[kept],
        lengths[kept].astype(np.int32),
        block.states[is_kept],
        block.vectors[is_kept],
        block.scales[is_kept],
    )


def _narrow(
    vectors: Float32[np.ndarray, "nucleotide width"],
) -> tuple[Int8[np.ndarray, "nucleotide width"], Float16[np.ndarray, " nucleotide"]]:
    """Returns vectors as whole numbers with a scale each."""
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    # Up to the next float16, so that no number passes 127.
    scales = np.nextafter((largest / 127).astype(np.float16), np.float16(np.inf))
    whole = np.rint(vectors / scales.astype(np.float32)[:, None])
    return whole.astype(np.int8), scales
