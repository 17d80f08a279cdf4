"""Rows of activations in random order, an epoch at a time: what a fit consumes.

Rows lie in memory (`ArrayRows`) or on a disk that is larger (`PooledRows`). The
generator alone decides which rows make which batch; no timing does. Knows nothing of
RNAs, models or of what a row is.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float16
from torch import Tensor

from ribolex.errors import InvalidRequestError

BUDGET_BYTES = 2**30
"""Memory that rows may take unless told otherwise."""

_BLOCK_BYTES = 2**21
"""Read in one go: far more than a disk's seek costs."""
_BLOCKS_A_POOL = 64
"""At least so many places of the rows meet in a pool."""

Batch = tuple[Float16[Tensor, "_batch d_in"], ...]
"""One tensor a layer; the same line of each is of the same nucleotide."""

Layers = tuple[Float16[np.ndarray, "_row d_in"], ...]


@runtime_checkable
class Rows(Protocol):
    """Rows that lie in order, in memory or on disk; an array is such."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[row, d_in]."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Float16[np.ndarray, "_row d_in"]:
        """Returns adjoining rows, read-only."""


@runtime_checkable
class RowSource(Protocol):
    """Gives every row once an epoch, in batches of random rows."""

    @property
    def d_in(self) -> int:
        """Width of a row."""

    @property
    def n_layers(self) -> int:
        """Tensors of a batch: 2 for the input and the target of a transcoder."""

    def __len__(self) -> int:
        """Returns the rows of an epoch."""

    def batches(
        self,
        batch_rows: int,
        generator: np.random.Generator,
        device: str = "cpu",
        start: int = 0,
    ) -> Iterator[Batch]:
        """Returns the batches of one epoch; the last may be smaller.

        The generator is drawn from at once, equally often whatever `start` is, so
        `default_rng([seed, epoch])` and `start` lead back to any batch of a fit.

        Args:
            batch_rows: rows of a batch.
            generator: decides the order.
            device: where the tensors shall be.
            start: batches to leave out; what only they need is not read.
        """


class DifferenceRows:
    """By how much the rows of one layer differ from another's. Read-only."""

    def __init__(self, rows: Rows, less: Rows) -> None:
        self._rows, self._less = rows, less

    @property
    def shape(self) -> tuple[int, ...]:
        """[row, d_in]."""
        return self._rows.shape

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice) -> Float16[np.ndarray, "_row d_in"]:
        out: Float16[np.ndarray, "_row d_in"] = self._rows[part] - self._less[part]
        return out


class PartRows:
    """The i-th of n parts of adjoining rows, of about the same size. Read-only."""

    def __init__(self, rows: Rows, i: int, n: int) -> None:
        self._rows = rows
        self._start, stop = (len(rows) * edge // n for edge in (i, i + 1))
        self._n_rows = stop - self._start

    @property
    def shape(self) -> tuple[int, ...]:
        """[row, d_in]."""
        return (self._n_rows, *self._rows.shape[1:])

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, part: slice) -> Float16[np.ndarray, "_row d_in"]:
        start, stop, _ = part.indices(self._n_rows)
        return self._rows[self._start + start : self._start + max(start, stop)]


class Pool(NamedTuple):
    """Rows that are in memory together, and are mixed."""

    n_rows: int
    seed: int
    load: Callable[[], Layers]


class ArrayRows:
    """Rows in memory, in an order drawn anew for each epoch. Read-only."""

    def __init__(self, layers: Sequence[Float16[np.ndarray, "row d_in"]]) -> None:
        self._layers = tuple(layers)

    @property
    def d_in(self) -> int:
        """Width of a row."""
        return int(self._layers[0].shape[1])

    @property
    def n_layers(self) -> int:
        """Tensors of a batch."""
        return len(self._layers)

    def __len__(self) -> int:
        return len(self._layers[0])

    def batches(
        self,
        batch_rows: int,
        generator: np.random.Generator,
        device: str = "cpu",
        start: int = 0,
    ) -> Iterator[Batch]:
        """Returns the batches of one epoch; see `RowSource`."""
        pool = Pool(len(self), draw_seed(generator), lambda: self._layers)
        return mix([pool], batch_rows, device, start)


class PooledRows:
    """Rows on a disk, mixed in pools in memory. Read-only.

    Blocks of adjoining rows are taken in random order from all over the disk, as many
    as half the budget holds, and their rows are mixed; meanwhile a thread reads the
    next pool. Each block is read once an epoch, in one go.
    """

    def __init__(self, layers: Sequence[Rows], budget_bytes: int) -> None:
        self._layers = tuple(layers)
        row_bytes = 2 * self.d_in
        self._pool_rows = max(1, budget_bytes // (2 * row_bytes * self.n_layers))
        mixing = self._pool_rows // _BLOCKS_A_POOL
        self._block_rows = max(1, min(_BLOCK_BYTES // row_bytes, mixing))

    @property
    def d_in(self) -> int:
        """Width of a row."""
        return self._layers[0].shape[1]

    @property
    def n_layers(self) -> int:
        """Tensors of a batch."""
        return len(self._layers)

    def __len__(self) -> int:
        return len(self._layers[0])

    def batches(
        self,
        batch_rows: int,
        generator: np.random.Generator,
        device: str = "cpu",
        start: int = 0,
    ) -> Iterator[Batch]:
        """Returns the batches of one epoch; see `RowSource`."""
        blocks = [
            slice(at, min(at + self._block_rows, len(self)))
            for at in range(0, len(self), self._block_rows)
        ]
        drawn = [blocks[i] for i in generator.permutation(len(blocks))]
        sizes = [block.stop - block.start for block in drawn]
        pools = [
            Pool(
                sum(sizes[part.start : part.stop]),
                draw_seed(generator),
                partial(self._read, drawn[part.start : part.stop]),
            )
            for part in group(sizes, self._pool_rows)
        ]
        return mix(pools, batch_rows, device, start, ahead=True)

    def _read(self, blocks: Sequence[slice]) -> Layers:
        # In the order in which they lie: the rows are mixed afterwards.
        blocks = sorted(blocks, key=lambda block: int(block.start))
        n_rows = sum(block.stop - block.start for block in blocks)
        out = tuple(np.empty((n_rows, self.d_in), np.float16) for _ in self._layers)
        for rows, filled in zip(self._layers, out, strict=True):
            at = 0
            for block in blocks:
                end = at + block.stop - block.start
                filled[at:end] = rows[block]
                at = end
        return out


def open_rows(
    layers: Sequence[Rows], budget_bytes: int = BUDGET_BYTES
) -> ArrayRows | PooledRows:
    """Returns a source of rows that takes at most so much memory.

    Args:
        layers: the same nucleotides in each.
        budget_bytes: what fits is held in memory and mixed exactly; of what does not,
            pools are. A batch comes on top.

    Raises:
        InvalidRequestError: layers that are not of the same shape, or none.
    """
    shapes = {rows.shape for rows in layers}
    if len(shapes) != 1:
        raise InvalidRequestError("layers", f"shapes {sorted(shapes)}, expected one")
    n_rows, d_in = shapes.pop()
    if 2 * n_rows * d_in * len(layers) <= budget_bytes:
        return ArrayRows([rows[:] for rows in layers])
    return PooledRows(layers, budget_bytes)


def group(sizes: Sequence[int], limit: int) -> list[range]:
    """Returns runs of neighbours that sum to at most `limit`; a larger one is alone."""
    out: list[range] = []
    start = total = 0
    for i, size in enumerate(sizes):
        if i > start and total + size > limit:
            out.append(range(start, i))
            start, total = i, 0
        total += size
    return [*out, range(start, len(sizes))] if sizes else []


def draw_seed(generator: np.random.Generator) -> int:
    """Returns the seed of a generator of its own."""
    return int(generator.integers(2**63))


def mix(
    pools: Sequence[Pool],
    batch_rows: int,
    device: str,
    start: int = 0,
    *,
    ahead: bool = False,
) -> Iterator[Batch]:
    """Yields all rows of the pools in batches, those of each pool in random order.

    Args:
        pools: in the order in which they are wanted.
        batch_rows: a batch that one pool leaves unfinished is filled from the next.
        device: where the tensors shall be.
        start: batches to leave out; pools that lie before them are not loaded.
        ahead: load each pool in a thread while the one before it is given out.
    """
    skip, first = start * batch_rows, 0
    while first < len(pools) and pools[first].n_rows <= skip:
        skip -= pools[first].n_rows
        first += 1
    begun: Layers | None = None
    for seed, layers in _load(pools[first:], ahead):
        order = np.random.default_rng(seed).permutation(len(layers[0]))
        at, skip = skip, 0
        while at < len(order):
            stop = at + batch_rows - (0 if begun is None else len(begun[0]))
            taken = tuple(rows.take(order[at:stop], axis=0) for rows in layers)
            at = stop
            begun = taken if begun is None else _join(begun, taken)
            if len(begun[0]) == batch_rows:
                yield _to(begun, device)
                begun = None
        del layers  # before the next pool but one is read
    if begun is not None:
        yield _to(begun, device)


def _load(pools: Sequence[Pool], ahead: bool) -> Iterator[tuple[int, Layers]]:
    if not ahead:
        for pool in pools:
            yield pool.seed, pool.load()
        return
    with ThreadPoolExecutor(1, "rows") as reader:
        coming = [reader.submit(pool.load) for pool in pools[:1]]
        for i, pool in enumerate(pools):
            layers = coming.pop().result()
            coming += [reader.submit(later.load) for later in pools[i + 1 : i + 2]]
            yield pool.seed, layers
            del layers


def _join(begun: Layers, taken: Layers) -> Layers:
    return tuple(np.concatenate(pair) for pair in zip(begun, taken, strict=True))


def _to(layers: Layers, device: str) -> Batch:
    return tuple(torch.from_numpy(rows).to(device) for rows in layers)
