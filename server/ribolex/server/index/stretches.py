"""Stretches of stored RNAs that are to be aligned with a query.

Around the diagonals that got votes, or everything. Knows blocks; nothing of votes or
scores.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from ribolex.rna.local_alignment import NucleotideArrays
from ribolex.server.index.position_blocks import Block
from ribolex.server.index.voting import Candidates, Electorate

_MARGIN = 64
"""Nucleotides before and after a query's diagonal that are aligned at least; of long
queries half their length."""


class Stretches(NamedTuple):
    """Parts of pieces, block by block."""

    blocks: Int32[np.ndarray, " stretch"]
    """Place of the block in the list that was searched, rising."""
    pieces: Int32[np.ndarray, " stretch"]
    """In the block."""
    starts: Int64[np.ndarray, " stretch"]
    """First nucleotide, in the piece."""
    stops: Int64[np.ndarray, " stretch"]

    def take(self, chosen: Int64[np.ndarray, " chosen"] | slice) -> "Stretches":
        """Returns some of them."""
        return Stretches(*(column[chosen] for column in self))

    def parts(self, size: int) -> Iterator["Stretches"]:
        """Yields all of them, `size` at once at most."""
        for start in range(0, len(self.blocks), size):
            yield self.take(slice(start, start + size))


def around(
    candidates: Candidates, blocks: Sequence[Block], n_nucleotides: int
) -> Stretches:
    """Returns what a query of some length may align with on its diagonals."""
    order = np.argsort(candidates.blocks, kind="stable")
    places, pieces = candidates.blocks[order], candidates.pieces[order]
    diagonals = candidates.diagonals[order].astype(np.int64)
    margin = max(_MARGIN, n_nucleotides // 2)
    lengths = _lengths(blocks, places, pieces)
    starts = np.maximum(diagonals - margin, 0)
    stops = np.minimum(diagonals + n_nucleotides + margin, lengths)
    return Stretches(places, pieces, starts, stops)


def everything(electorate: Electorate) -> Stretches:
    """Returns all that may be searched, whole."""
    chosen = [
        np.flatnonzero(electorate.is_allowed(block)).astype(np.int32)
        for block in electorate.blocks
    ]
    counts = [len(pieces) for pieces in chosen]
    places = np.repeat(np.arange(len(chosen), dtype=np.int32), counts)
    pieces = np.concatenate([np.empty(0, np.int32), *chosen])
    lengths = _lengths(electorate.blocks, places, pieces)
    return Stretches(places, pieces, np.zeros(len(places), np.int64), lengths)


def fetch(blocks: Sequence[Block], stretches: Stretches) -> NucleotideArrays:
    """Returns letters and vectors of one or more stretches."""
    parts = [
        blocks[place].targets(pieces, starts, stops)
        for place, (_, pieces, starts, stops) in _by_block(stretches)
    ]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    return NucleotideArrays(
        np.concatenate([part.letters for part in parts]),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([part.vectors for part in parts]),
    )


def column(
    name: str, blocks: Sequence[Block], stretches: Stretches
) -> Int64[np.ndarray, " stretch"]:
    """Returns what a block tells of the piece of each stretch: "rna_ids", "totals"."""
    out = [
        getattr(blocks[place], name)[pieces]
        for place, (_, pieces, _, _) in _by_block(stretches)
    ]
    return np.concatenate([np.empty(0, np.int64), *out])


def _lengths(
    blocks: Sequence[Block],
    places: Int32[np.ndarray, " stretch"],
    pieces: Int32[np.ndarray, " stretch"],
) -> Int64[np.ndarray, " stretch"]:
    nothing = np.zeros(len(places), np.int64)
    out = [
        np.diff(blocks[place].piece_slots)[own]
        for place, (_, own, _, _) in _by_block(
            Stretches(places, pieces, nothing, nothing)
        )
    ]
    return np.concatenate([np.empty(0, np.int64), *out])


def _by_block(stretches: Stretches) -> Iterator[tuple[int, Stretches]]:
    edges = np.diff(stretches.blocks, prepend=-1, append=-1)
    firsts = np.flatnonzero(edges)
    for start, stop in zip(firsts[:-1], firsts[1:], strict=True):
        yield int(stretches.blocks[start]), stretches.take(slice(start, stop))
