"""Blocks of the positional index: pieces of RNAs, and which slot holds what.

The nucleotides of many RNAs lie one after the other in the slots of a block, each RNA
in one piece or, if it is long, in pieces that overlap. Beside the posting lists a
block holds what alignment needs of each nucleotide: its letter, and its vector in
whole numbers of 8 bits. Knows nothing of disks, of queries, or of which RNAs are still
there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int8, Int32, Int64, UInt8, UInt16, UInt32

from ribolex.dictionary import Codes
from ribolex.server.index.position_kernels import (
    sort_postings,
    strongest_entries,
    unsort_postings,
    words,
)

SLOTS = 1 << 16
"""Of a block at most, so that 16 bits number them."""

PIECE = 4096
"""Nucleotides of a piece at most."""

OVERLAP = 1024
"""Nucleotides that neighbouring pieces share: no less than a query may have, so that
some piece holds the whole of what any query lies on."""

WORD = 4
"""Letters of a word; with 5 fewer relatives are found (docs/benchmarks.md)."""

N_WORDS: int = 4**WORD

FORMAT = f"1 {PIECE} {OVERLAP} {WORD}"
"""What blocks are; those of another format are of no use."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Which lists a block has: one of each feature, then one of each word."""

    is_voter: Bool[np.ndarray, " n_features"]
    """Features that have postings; those of the others are never written."""
    n_kept: int = 6
    """Postings of a nucleotide at most: of the features with the largest values. How
    large they are is not stored: counted alike they find more (docs/benchmarks.md)."""

    @property
    def n_lists(self) -> int:
        """Lists of a block."""
        return len(self.is_voter) + N_WORDS


class Entries(NamedTuple):
    """What is kept of rows of codes, row by row."""

    rows: Int32[np.ndarray, " entry"]
    features: Int32[np.ndarray, " entry"]


class Lettered(NamedTuple):
    """One RNA as the index takes it."""

    rna_id: int
    change: int
    """Number of the change that made it what it is; >= 0, rises with every change."""
    letters: UInt8[np.ndarray, " nucleotide"]
    """0 to 3 for A, C, G, U; 4 for others."""
    codes: Codes
    """One row a nucleotide."""
    vectors: Float32[np.ndarray, "nucleotide width"]


class Targets(NamedTuple):
    """Stretches of RNAs one after the other, as alignment takes them."""

    letters: UInt8[np.ndarray, " nucleotide"]
    offsets: Int64[np.ndarray, " boundary"]
    vectors: Float32[np.ndarray, "nucleotide width"]


class Pieces(NamedTuple):
    """The unsorted content of a block, or of a part of one. Read-only."""

    rna_ids: Int64[np.ndarray, " piece"]
    changes: Int64[np.ndarray, " piece"]
    starts: Int32[np.ndarray, " piece"]
    """Where each piece begins in its RNA."""
    totals: Int32[np.ndarray, " piece"]
    """Nucleotides of the whole RNA that each piece is of."""
    lengths: Int32[np.ndarray, " piece"]
    lists: Int32[np.ndarray, " entry"]
    slots: Int32[np.ndarray, " entry"]
    """Rising; the first piece begins at 0."""
    letters: UInt8[np.ndarray, " slot"]
    vectors: Int8[np.ndarray, "slot width"]
    scales: Float16[np.ndarray, " slot"]
    """What to multiply a slot's vector with."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Pieces with their posting lists; read-only arrays, maybe of a mapped file."""

    rna_ids: Int64[np.ndarray, " piece"]
    changes: Int64[np.ndarray, " piece"]
    starts: Int32[np.ndarray, " piece"]
    totals: Int32[np.ndarray, " piece"]
    piece_slots: Int32[np.ndarray, " piece_boundary"]
    """Piece p owns slots piece_slots[p] .. piece_slots[p + 1] - 1."""
    corrections: Float32[np.ndarray, " piece"]
    """1 / log(length): what chance gives grows with the logarithm."""
    bounds: UInt32[np.ndarray, " list_boundary"]
    postings: UInt16[np.ndarray, " entry"]
    letters: UInt8[np.ndarray, " slot"]
    vectors: Int8[np.ndarray, "slot width"]
    scales: Float16[np.ndarray, " slot"]

    def __len__(self) -> int:
        return len(self.rna_ids)

    @property
    def n_slots(self) -> int:
        """Slots in use."""
        return len(self.letters)

    @property
    def postings_bytes(self) -> int:
        """What voting needs, letters included; vectors are not in it."""
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
        lengths = stops - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        firsts = self.piece_slots[pieces] + starts
        rows = np.arange(offsets[-1]) + np.repeat(firsts - offsets[:-1], lengths)
        return Targets(self.letters[rows], offsets, self._vectors_of(rows))

    def _vectors_of(
        self, rows: Int64[np.ndarray, " row"]
    ) -> Float32[np.ndarray, "row width"]:
        out: Float32[np.ndarray, "row width"] = self.vectors[rows].astype(np.float32)
        out *= self.scales[rows].astype(np.float32)[:, None]
        return out


def strongest(codes: Codes, layout: Layout) -> Entries:
    """Returns the features with the largest values of each row, of those that vote."""
    room = min(len(codes.indices), layout.n_kept * len(codes))
    rows, features = np.empty(room, np.int32), np.empty(room, np.int32)
    bounds, indices, values = codes.indptr, codes.indices, codes.values
    n = strongest_entries(
        bounds, indices, values, layout.is_voter, layout.n_kept, rows, features
    )
    return Entries(rows[:n], features[:n])


def cut(n_nucleotides: int) -> Iterator[tuple[int, int]]:
    """Yields start and stop of the pieces of an RNA; neighbours share OVERLAP."""
    start = 0
    while True:
        stop = min(start + PIECE, n_nucleotides)
        yield start, stop
        if stop == n_nucleotides:
            return
        start = stop - OVERLAP


def count_pieces(
    n_nucleotides: Int32[np.ndarray, " rna"],
) -> Int64[np.ndarray, " rna"]:
    """Returns how many pieces RNAs of some lengths are cut in."""
    beyond = np.maximum(n_nucleotides.astype(np.int64) - PIECE, 0)
    return 1 + -(-beyond // (PIECE - OVERLAP))


def pieces_of(rna: Lettered, layout: Layout) -> Iterator[Pieces]:
    """Yields the pieces of an RNA, each alone; none of one without nucleotides."""
    entries = strongest(rna.codes, layout)
    words_of = words(rna.letters, WORD)
    vectors, scales = _narrow(rna.vectors)
    for start, stop in cut(len(rna.letters)) if len(rna.letters) else ():
        first, last = np.searchsorted(entries.rows, (start, stop))
        # A word that reaches over the end of a piece belongs to the next one too.
        begins = np.flatnonzero(words_of[start:stop] >= 0).astype(np.int32)
        of_words = layout.n_lists - N_WORDS + words_of[start:stop][begins]
        slots = np.concatenate([entries.rows[first:last] - start, begins])
        order = np.argsort(slots, kind="stable")
        yield Pieces(
            np.array([rna.rna_id]),
            np.array([rna.change]),
            np.array([start], np.int32),
            np.array([len(rna.letters)], np.int32),
            np.array([stop - start], np.int32),
            np.concatenate([entries.features[first:last], of_words])[order].astype(
                np.int32
            ),
            slots[order].astype(np.int32),
            rna.letters[start:stop],
            vectors[start:stop],
            scales[start:stop],
        )


def join(parts: Sequence[Pieces]) -> Pieces:
    """Returns the pieces of one or more parts as one part."""
    n_slots = np.cumsum([0] + [len(part.letters) for part in parts])
    slots = [
        part.slots + np.int32(before)
        for part, before in zip(parts, n_slots[:-1], strict=True)
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Pieces(*columns)._replace(slots=np.concatenate(slots))


def split(pieces: Pieces) -> Iterator[Pieces]:
    """Yields every piece alone."""
    ends = np.cumsum(pieces.lengths)
    starts = ends - pieces.lengths
    firsts = np.searchsorted(pieces.slots, starts)
    lasts = np.searchsorted(pieces.slots, ends)
    for i in range(len(ends)):
        own, slots = slice(i, i + 1), slice(starts[i], ends[i])
        entries = slice(firsts[i], lasts[i])
        yield Pieces(
            pieces.rna_ids[own],
            pieces.changes[own],
            pieces.starts[own],
            pieces.totals[own],
            pieces.lengths[own],
            pieces.lists[entries],
            pieces.slots[entries] - np.int32(starts[i]),
            pieces.letters[slots],
            pieces.vectors[slots],
            pieces.scales[slots],
        )


def seal(pieces: Pieces, layout: Layout) -> Block:
    """Returns the block of some pieces, which have SLOTS nucleotides at most."""
    bounds, postings = sort_postings(pieces.lists, pieces.slots, layout.n_lists)
    block = Block(
        pieces.rna_ids,
        pieces.changes,
        pieces.starts,
        pieces.totals,
        np.concatenate([[0], np.cumsum(pieces.lengths)]).astype(np.int32),
        corrections(pieces.lengths),
        bounds,
        postings,
        pieces.letters,
        pieces.vectors,
        pieces.scales,
    )
    for field in fields(block):
        # As those of mapped files are; compiled loops tell the two apart.
        getattr(block, field.name).flags.writeable = False
    return block


def unseal(block: Block, kept: Bool[np.ndarray, " piece"]) -> Pieces:
    """Returns some pieces of a block; the order of lists within a slot may differ."""
    lengths = np.diff(block.piece_slots)
    is_kept = np.repeat(kept, lengths)
    lists, slots = unsort_postings(block.bounds, block.postings, is_kept)
    before = np.cumsum(~is_kept).astype(np.int32)
    return Pieces(
        block.rna_ids[kept],
        block.changes[kept],
        block.starts[kept],
        block.totals[kept],
        lengths[kept].astype(np.int32),
        lists,
        slots - before[slots],
        block.letters[is_kept],
        block.vectors[is_kept],
        block.scales[is_kept],
    )


def corrections(
    lengths: Int32[np.ndarray, " piece"],
) -> Float32[np.ndarray, " piece"]:
    """Returns what to multiply the votes of pieces of some lengths with."""
    out: Float32[np.ndarray, " piece"]
    out = (1 / np.log(np.maximum(lengths, 2))).astype(np.float32)
    return out


def _narrow(
    vectors: Float32[np.ndarray, "nucleotide width"],
) -> tuple[Int8[np.ndarray, "nucleotide width"], Float16[np.ndarray, " nucleotide"]]:
    """Returns vectors as whole numbers with a scale each."""
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    # Up to the next float16, so that no number passes 127.
    scales = np.nextafter((largest / 127).astype(np.float16), np.float16(np.inf))
    whole = np.rint(vectors / scales.astype(np.float32)[:, None])
    return whole.astype(np.int8), scales
