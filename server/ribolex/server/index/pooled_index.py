"""The index of pooled codes: rows in blocks that grow, and die row by row.

What was put or removed last is what the next search sees. Knows blocks and ids;
nothing of names or queries.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt64

from ribolex.server.index.forward import WeightedCode
from ribolex.server.index.pooled_blocks import (
    ROWS,
    OpenBlock,
    PooledBlock,
    Rows,
    Weighing,
    dense,
)
from ribolex.server.index.pooled_kernels import Columns, peaks_of
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.records import PooledCode
from ribolex.server.index.sketch import N_WORDS, Basis, fit_basis

FIRST_FIT = 4096
"""RNAs from which the first basis is made; up to then there are no sketches."""

_GROWTH = 16
"""With so many times the RNAs of when a basis was made, the next block gets another."""
_DEAD_PART = 0.25
"""Of all rows; with more of them dead, blocks are packed anew."""
_SHELF = 32
"""Blocks whose signs are kept together: in large pages, which are read faster."""
_GONE = -1
_FIRST_ROOM = 1024


@dataclass(slots=True, eq=False)
class Part:
    """A block and which of its rows are there."""

    block: PooledBlock
    is_alive: Bool[np.ndarray, " room"]
    basis: Basis | None
    """None if it has no sketches."""
    signs: UInt64[np.ndarray, "word room"]
    """Those of the block, maybe in faster memory."""
    columns: Columns = field(init=False)
    """What compiled loops are told of it; good as long as it is kept."""

    def __post_init__(self) -> None:
        block = self.block
        arrays = (
            block.rna_ids,
            self.is_alive,
            block.bounds,
            block.features,
            block.values,
            block.scales,
            block.sums,
            block.bits,
            self.signs,
        )
        where = (array.__array_interface__["data"][0] for array in arrays)
        self.columns = Columns(len(block), self.signs.shape[1], *where)


class PooledIndex:
    """Rows by id. Not thread-safe.

    Full blocks are immutable; with a folder they are written to files as they fill,
    and mapped. The last, open one is written when the index is closed.
    """

    def __init__(
        self,
        n_features: int,
        weighing: Weighing,
        folder: BlockFolder[PooledBlock] | None = None,
    ) -> None:
        """Opens what the folder has; `recall` must come next if there is one.

        Args:
            n_features: width of the codes.
            weighing: how rows are kept.
            folder: where blocks are kept; None for memory alone.
        """
        self._n_features, self._weighing, self._folder = n_features, weighing, folder
        self._open = OpenBlock(n_features, weighing)
        self._open_alive = np.zeros(ROWS, bool)
        self._basis: Basis | None = None
        self._basis_size = 0
        self._places = np.full(_FIRST_ROOM, _GONE, np.int64)
        self._n_alive, self._n_dead = 0, 0
        self._sealed: list[Part] = []
        self._n_shelved = 0
        for block in () if folder is None else folder.open():
            self._add(block)

    def __len__(self) -> int:
        return self._n_alive

    def recall(
        self, rna_ids: Int64[np.ndarray, " rna"], changes: Int64[np.ndarray, " rna"]
    ) -> Int64[np.ndarray, " missing"]:
        """Tells the index, which was just opened, what RNAs there are.

        Returns the ids of those that it lacks in that state, rising: to be `put`.
        All else in its blocks is dead.
        """
        known = np.full(1 + int(rna_ids.max(initial=0)), _GONE, np.int64)
        known[rna_ids] = changes
        self._make_room(len(known) - 1)
        for number, part in enumerate(self._sealed):
            ids = part.block.rna_ids
            inside = np.minimum(ids, len(known) - 1)
            alive = (known[inside] == part.block.changes) & (inside == ids)
            # One that is there twice in the same state is taken from one block.
            alive[alive] &= self._places[ids[alive]] == _GONE
            rows = np.flatnonzero(alive)
            part.is_alive[rows] = True
            self._places[ids[rows]] = number * ROWS + rows
            self._n_alive += len(rows)
            self._n_dead += len(alive) - len(rows)
        self._basis_size = self._n_alive
        if self._basis is not None:
            self._open.set_basis(self._basis)
        self._take_apart([part for part in self._sealed if _is_small(part)])
        self._pack_if_dead()
        return np.sort(rna_ids[self._places[rna_ids] == _GONE])

    def put(
        self,
        ids: Sequence[int],
        changes: int | Sequence[int],
        pooled: Sequence[PooledCode],
    ) -> None:
        """Stores codes in place of what their ids had; ids must differ.

        Args:
            ids: of the RNAs.
            changes: another number for each state of one; a single one for all.
            pooled: their codes.
        """
        self.remove(ids)
        rows = self._open.rows_of(pooled)
        given = np.broadcast_to(np.asarray(changes, np.int64), len(ids))
        self._append(np.array(ids, np.int64), given, rows)

    def remove(self, ids: Iterable[int]) -> None:
        """Forgets codes; ids that are not there are passed over."""
        for rna_id in ids:
            if rna_id >= len(self._places) or self._places[rna_id] == _GONE:
                continue
            number, row = divmod(int(self._places[rna_id]), ROWS)
            is_sealed = number < len(self._sealed)
            part = self._sealed[number].is_alive if is_sealed else self._open_alive
            part[row] = False
            self._places[rna_id] = _GONE
            self._n_alive, self._n_dead = self._n_alive - 1, self._n_dead + 1
        self._pack_if_dead()

    def close(self) -> None:
        """Writes what is only in memory, if there is a folder."""
        if self._folder is not None and len(self._open):
            self._seal()

    def parts(self) -> list[Part]:
        """Returns what a search sees; good until the index changes."""
        if not len(self._open):
            return self._sealed
        block = self._open.view()
        last = Part(block, self._open_alive, self._open.basis, block.signs)
        return [*self._sealed, last]

    def places(
        self, allowed: Bool[np.ndarray, " id"] | None
    ) -> Int64[np.ndarray, " place"]:
        """Returns where those are that are there and allowed, in no order.

        Row r of part p is at `ROWS * p + r`.

        Args:
            allowed: by id; ids past its end are not. None for all.
        """
        places = self._places
        if allowed is not None:
            places = places[np.flatnonzero(allowed[: len(places)])]
        there: Int64[np.ndarray, " place"] = places[places != _GONE]
        return there

    def code(self, rna_id: int) -> WeightedCode:
        """Returns the weighted code of an RNA that is there."""
        number, row = divmod(int(self._places[rna_id]), ROWS)
        return self.parts()[number].block.code(row, self._weighing)

    def peaks(self, feature: int, n_ids: int) -> Float32[np.ndarray, " id"]:
        """Returns the largest value of a feature by id, 0 where it has none.

        Args:
            feature: which.
            n_ids: how many ids, from 0; 0 for as many as there are.
        """
        out = np.zeros(max(n_ids, len(self._places)), np.float32)
        for part in self.parts():
            block, found = part.block, np.empty(len(part.block), np.float32)
            peaks_of(feature, block.bounds, block.features, block.peaks, found)
            alive = part.is_alive[: len(block)]
            out[block.rna_ids[alive]] = found[alive]
        return out[: n_ids or None]

    def _append(
        self,
        ids: Int64[np.ndarray, " row"],
        changes: Int64[np.ndarray, " row"],
        rows: Rows,
    ) -> None:
        self._make_room(int(ids.max(initial=0)))
        start = 0
        while start < len(ids):
            first = len(self._open)
            n = min(len(ids) - start, ROWS - first)
            part, new = slice(start, start + n), np.arange(first, first + n)
            bounds = rows.bounds[start : start + n + 1]
            self._open.append(ids[part], changes[part], rows._replace(bounds=bounds))
            self._open_alive[new] = True
            self._places[ids[part]] = len(self._sealed) * ROWS + new
            self._n_alive += n
            start += n
            if self._basis is None and self._n_alive >= FIRST_FIT:
                self._fit()
            if len(self._open) == ROWS:
                self._seal()

    def _seal(self) -> None:
        block = self._open.view()
        if self._folder is not None:
            block = self._folder.write(block)
        self._shelve(block, self._open_alive, self._open.basis)
        if block is self._open.view():
            self._open = OpenBlock(self._n_features, self._weighing)
        else:
            self._open.clear()
        self._open_alive = np.zeros(ROWS, bool)
        if self._n_alive >= max(_GROWTH * self._basis_size, FIRST_FIT):
            self._fit()
        elif self._basis is not None:
            self._open.set_basis(self._basis)

    def _shelve(
        self,
        block: PooledBlock,
        is_alive: Bool[np.ndarray, " room"],
        basis: Basis | None,
    ) -> None:
        """Takes a full block, and its signs to where those of others are."""
        place = self._n_shelved % _SHELF
        if not place:
            self._shelf = np.empty((_SHELF, N_WORDS, ROWS), np.uint64)
        signs = self._shelf[place]
        signs[:, : block.signs.shape[1]] = block.signs
        self._n_shelved += 1
        self._sealed.append(Part(block, is_alive, basis, signs))

    def _fit(self) -> None:
        """Makes a basis from a sample of all RNAs, for the open block."""
        random = np.random.default_rng(self._n_alive)
        sample = []
        for part in self.parts():
            alive = np.flatnonzero(part.is_alive)
            n = len(alive) * FIRST_FIT // self._n_alive
            chosen = np.sort(random.choice(alive, n, replace=False))
            sample.append(dense(part.block, chosen, self._weighing, self._n_features))
        self._basis = fit_basis(np.concatenate(sample))
        self._basis_size = self._n_alive
        self._open.set_basis(self._basis)

    def _add(self, block: PooledBlock) -> None:
        """Takes a block that was on disk."""
        basis = None
        for part in self._sealed:
            if part.basis is not None and np.array_equal(part.basis.shift, block.shift):
                basis = part.basis
        if basis is None and len(block.shift):
            basis = Basis.of(block.directions, block.shift)
        self._shelve(block, np.zeros(ROWS, bool), basis)
        self._basis = basis or self._basis

    def _pack_if_dead(self) -> None:
        """Takes blocks apart of which much is dead, if there is too much of it."""
        parts = self.parts()
        n_rows = sum(len(part.block) for part in parts)
        if self._n_dead <= max(ROWS // 2, _DEAD_PART * n_rows):
            return
        worst = _DEAD_PART / 2
        self._take_apart([p for p in parts if _n_dead(p) > worst * len(p.block)])

    def _take_apart(self, taken: Sequence[Part]) -> None:
        """Puts the rows of some parts that are still there into the open block."""
        if not taken:
            return
        gone = {id(part.block) for part in taken}
        if id(self._open.view()) in gone:
            self._open = OpenBlock(self._n_features, self._weighing)
            self._open_alive = np.zeros(ROWS, bool)
            if self._basis is not None:
                self._open.set_basis(self._basis)
        dropped = [part for part in self._sealed if id(part.block) in gone]
        self._sealed = [part for part in self._sealed if id(part.block) not in gone]
        self._places[:] = _GONE
        for number, part in enumerate(self.parts()):
            rows = np.flatnonzero(part.is_alive)
            self._places[part.block.rna_ids[rows]] = number * ROWS + rows
        for part in taken:
            rows, block = np.flatnonzero(part.is_alive), part.block
            self._n_alive -= len(rows)
            self._n_dead -= len(block) - len(rows)
            self._append(
                block.rna_ids[rows], block.changes[rows], block.rows.take(rows)
            )
        if self._folder is not None:
            self._folder.drop([part.block for part in dropped])

    def _make_room(self, highest: int) -> None:
        if highest >= len(self._places):
            places = np.full(max(2 * len(self._places), highest + 1), _GONE, np.int64)
            places[: len(self._places)] = self._places
            self._places = places


def _n_dead(part: Part) -> int:
    return len(part.block) - int(np.count_nonzero(part.is_alive))


def _is_small(part: Part) -> bool:
    """Whether a block was written before it was full, or has no sketches."""
    return part.basis is None or len(part.block) < ROWS // 2
