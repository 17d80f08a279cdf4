"""Stretches of stored RNAs that are to be aligned with a query.

Around the candidates of a scan, or everything. Knows blocks; nothing of scores.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64

from ribolex.rna.local_alignment import NucleotideArrays
from ribolex.server.index.position_blocks import PART, Block
from ribolex.server.index.positions import PieceTable, Snapshot
from ribolex.server.index.scanning import Candidates

_MARGIN = 64
"""Nucleotides before and after a candidate that are aligned at least; of long queries
half their length."""
_WHOLE = 2 * PART
"""Pieces of so many nucleotides are aligned whole."""


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


def around(candidates: Candidates, known: PieceTable, n_nucleotides: int) -> Stretches:
    """Returns what a query of some length may align with in candidates."""
    order = np.argsort(candidates.blocks, kind="stable")
    places, pieces, begins, _ = (column[order] for column in candidates)
    margin = max(_MARGIN, n_nucleotides // 2)
    lengths = known.lengths[known.rows(places, pieces)].astype(np.int64)
    is_whole = lengths <= _WHOLE
    starts = np.where(is_whole, 0, np.maximum(begins.astype(np.int64) - margin, 0))
    stops = np.minimum(begins + np.int64(PART + margin), lengths)
    return Stretches(places, pieces, starts, np.where(is_whole, lengths, stops))


def everything(seen: Snapshot, allowed: Bool[np.ndarray, " piece"]) -> Stretches:
    """Returns all pieces that may be searched, whole."""
    known, rows = seen.pieces, np.flatnonzero(allowed)
    places = np.searchsorted(known.firsts, rows, "right") - 1
    pieces = (rows - known.firsts[places]).astype(np.int32)
    lengths = known.lengths[rows].astype(np.int64)
    return Stretches(places.astype(np.int32), pieces, np.zeros_like(lengths), lengths)


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


def _by_block(stretches: Stretches) -> Iterator[tuple[int, Stretches]]:
    edges = np.diff(stretches.blocks, prepend=-1, append=-1)
    firsts = np.flatnonzero(edges)
    for start, stop in zip(firsts[:-1], firsts[1:], strict=True):
        yield int(stretches.blocks[start]), stretches.take(slice(start, stop))
