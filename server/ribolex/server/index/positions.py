"""The positional index of a collection: the states and vectors of all nucleotides.

Takes RNAs one by one and gives them back by the block. What was put or removed last is
what the next search sees. Knows blocks and ids; nothing of names, queries, or of how
codes are made.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64

from ribolex.server.index.position_blocks import (
    SLOTS,
    Block,
    Lettered,
    Pieces,
    count_pieces,
    join,
    pieces_of,
    seal,
    split,
    unseal,
)
from ribolex.server.index.position_files import BlockFolder

_DEAD_PART = 0.25
"""Of all slots; with more of them dead, blocks are packed anew."""
_GONE = -1
_FIRST_ROOM = 1024


class PieceTable(NamedTuple):
    """What is known of the pieces of all blocks, block after block."""

    firsts: Int64[np.ndarray, " block_boundary"]
    """Block b owns pieces firsts[b] .. firsts[b + 1] - 1."""
    rna_ids: Int64[np.ndarray, " piece"]
    changes: Int64[np.ndarray, " piece"]
    starts: Int32[np.ndarray, " piece"]
    totals: Int32[np.ndarray, " piece"]
    lengths: Int32[np.ndarray, " piece"]

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> "PieceTable":
        """Returns the table of some blocks."""
        none = np.empty(0, np.int32)
        return cls(
            np.cumsum([0, *map(len, blocks)]),
            np.concatenate([none, *(block.rna_ids for block in blocks)]),
            np.concatenate([none, *(block.changes for block in blocks)]),
            np.concatenate([none, *(block.starts for block in blocks)]),
            np.concatenate([none, *(block.totals for block in blocks)]),
            np.concatenate([none, *(np.diff(block.piece_slots) for block in blocks)]),
        )

    def rows(
        self,
        blocks: Int32[np.ndarray, " chosen"],
        pieces: Int32[np.ndarray, " chosen"],
    ) -> Int64[np.ndarray, " chosen"]:
        """Returns where pieces of blocks are in the table."""
        found: Int64[np.ndarray, " chosen"] = self.firsts[blocks] + pieces
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What one search sees. Read-only, but for RNAs that are changed meanwhile.

    Such an RNA is not found any more.
    """

    blocks: tuple[Block, ...]
    pieces: PieceTable
    changes: Int64[np.ndarray, " rna"]
    """Of each id the one that counts, -1 for none."""

    def alive(
        self, allowed: Bool[np.ndarray, " rna"] | None = None
    ) -> Bool[np.ndarray, " piece"]:
        """Returns which pieces are of RNAs that are there, and allowed.

        Args:
            allowed: by id; ids past its end are not. None for all.
        """
        rna_ids = self.pieces.rna_ids
        alive: Bool[np.ndarray, " piece"]
        alive = self.changes[rna_ids] == self.pieces.changes
        if allowed is not None:
            known = np.minimum(rna_ids, len(allowed) - 1)
            alive &= allowed[known] & (rna_ids < len(allowed))
        return alive


class PositionalIndex:
    """Blocks of RNAs that grow, and die piece by piece. Not thread-safe.

    Full blocks are immutable; with a folder they are written to files as they fill,
    and mapped. The last, open block is only in memory.
    """

    def __init__(self, folder: BlockFolder[Block] | None = None) -> None:
        """Opens the blocks of the folder, or begins with none.

        Args:
            folder: where blocks are kept; None for memory alone.
        """
        self._folder = folder
        self._blocks = () if folder is None else tuple(folder.open())
        self._open: list[Pieces] = []
        self._n_open = 0
        self._changes = np.full(_FIRST_ROOM, _GONE, np.int64)
        self._lengths = np.zeros(_FIRST_ROOM, np.int64)
        self._n_dead = 0
        self._snapshot: Snapshot | None = None

    def recall(
        self,
        rna_ids: Int64[np.ndarray, " rna"],
        changes: Int64[np.ndarray, " rna"],
    ) -> Int64[np.ndarray, " missing"]:
        """Tells the index, which was just opened, what RNAs there are.

        Returns the ids of those that it lacks in that state, rising: to be `put`.
        All else in its blocks is dead.
        """
        for known in (rna_ids, *(block.rna_ids for block in self._blocks)):
            self._make_room(int(known.max(initial=0)))
        self._changes[rna_ids] = changes
        n_found = self._count_found()
        while (spoiled := self._spoiled(n_found)) and self._folder is not None:
            self._blocks = tuple(b for b in self._blocks if b not in spoiled)
            self._folder.drop(spoiled)
            n_found = self._count_found()
        for block in self._blocks:
            alive = self._changes[block.rna_ids] == block.changes
            lengths = np.diff(block.piece_slots)
            np.add.at(self._lengths, block.rna_ids[alive], lengths[alive])
            self._n_dead += self._dead_slots(block)
        missing = np.sort(rna_ids[n_found[rna_ids] == 0])
        self._changes[missing] = _GONE
        self._pack_if_dead()
        return missing

    def put(self, rnas: Iterable[Lettered]) -> None:
        """Stores RNAs in place of what their ids had."""
        for rna in rnas:
            self._make_room(rna.rna_id)
            self._retire(rna.rna_id)
            self._changes[rna.rna_id] = rna.change
            for piece in pieces_of(rna):
                self._lengths[rna.rna_id] += len(piece.states)
                self._append(piece)
        self._pack_if_dead()

    def remove(self, rna_ids: Iterable[int]) -> None:
        """Forgets RNAs; ids that are not there are passed over."""
        for rna_id in rna_ids:
            if rna_id < len(self._changes):
                self._retire(int(rna_id))
        self._pack_if_dead()

    def snapshot(self) -> Snapshot:
        """Returns what a search of now sees; cheap if nothing was changed."""
        if self._snapshot is None:
            blocks = self._blocks
            if self._open:
                self._open = [join(self._open)]
                blocks = (*blocks, seal(self._open[0]))
            self._snapshot = Snapshot(blocks, PieceTable.of(blocks), self._changes)
        return self._snapshot

    def _append(self, piece: Pieces) -> None:
        if self._n_open + len(piece.states) > SLOTS:
            self._close_open()
        self._open.append(piece)
        self._n_open += len(piece.states)
        self._snapshot = None

    def _close_open(self) -> None:
        block = seal(join(self._open))
        self._open, self._n_open = [], 0
        if self._folder is not None:
            block = self._folder.write(block)
        self._blocks = (*self._blocks, block)
        self._snapshot = None

    def _retire(self, rna_id: int) -> None:
        if self._changes[rna_id] != _GONE:
            self._n_dead += int(self._lengths[rna_id])
            self._changes[rna_id], self._lengths[rna_id] = _GONE, 0

    def _pack_if_dead(self) -> None:
        """Takes blocks apart of which much is dead, if there is too much of it."""
        n_slots = self._n_open + sum(block.n_slots for block in self._blocks)
        if self._n_dead <= max(SLOTS, _DEAD_PART * n_slots):
            return
        kept, sparse, self._n_dead = [], [], 0
        for block in self._blocks:
            n_dead = self._dead_slots(block)
            if n_dead > _DEAD_PART / 2 * block.n_slots:
                sparse.append(block)
            else:
                kept.append(block)
                self._n_dead += n_dead
        self._blocks = tuple(kept)
        self._open = [
            piece
            for part in self._open
            for piece in split(part)
            if self._changes[piece.rna_ids] == piece.changes
        ]
        self._n_open = sum(len(piece.states) for piece in self._open)
        self._snapshot = None
        for block in sparse:
            alive = self._changes[block.rna_ids] == block.changes
            for piece in split(unseal(block, alive)):
                self._append(piece)
        if self._folder is not None:
            self._folder.drop(sparse)

    def _count_found(self) -> Int64[np.ndarray, " rna"]:
        """Returns by id how many pieces in blocks are of RNAs as they are now."""
        n_found = np.zeros(len(self._changes), np.int64)
        for block in self._blocks:
            alive = self._changes[block.rna_ids] == block.changes
            np.add.at(n_found, block.rna_ids[alive], 1)
        return n_found

    def _spoiled(self, n_found: Int64[np.ndarray, " rna"]) -> list[Block]:
        """Returns the blocks that hold an RNA in part, or one that is there twice.

        A part is left by a file that is lost, a second copy by a kill while blocks are
        packed. What is read anew would be found beside it.
        """
        spoiled = []
        for block in self._blocks:
            alive = self._changes[block.rna_ids] == block.changes
            n_wanted = count_pieces(block.totals[alive])
            if np.any(n_found[block.rna_ids[alive]] != n_wanted):
                spoiled.append(block)
        return spoiled

    def _dead_slots(self, block: Block) -> int:
        alive = self._changes[block.rna_ids] == block.changes
        return int(np.diff(block.piece_slots)[~alive].sum())

    def _make_room(self, highest: int) -> None:
        if highest < len(self._changes):
            return
        room = max(2 * len(self._changes), highest + 1)
        changes, lengths = np.full(room, _GONE, np.int64), np.zeros(room, np.int64)
        changes[: len(self._changes)] = self._changes
        lengths[: len(self._lengths)] = self._lengths
        self._changes, self._lengths, self._snapshot = changes, lengths, None
