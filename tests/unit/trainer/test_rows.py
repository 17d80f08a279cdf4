"""Every row comes once an epoch, well mixed, in an order that the seed decides."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.trainer.rows import (
    ArrayRows,
    DifferenceRows,
    PartRows,
    PooledRows,
    Rows,
    RowSource,
    group,
    open_rows,
)


def numbered(n_rows: int, d_in: int = 2) -> np.ndarray:
    """Gives rows that tell their own number, exactly in float16."""
    rows = np.zeros((n_rows, d_in), np.float16)
    rows[:, 0], rows[:, 1] = np.arange(n_rows) // 1000, np.arange(n_rows) % 1000
    return rows


def numbers(batches: Sequence[Any], layer: int = 0) -> list[list[int]]:
    """Gives the numbers of each batch's rows."""
    return [(b[layer][:, 0] * 1000.0 + b[layer][:, 1]).int().tolist() for b in batches]


def epoch(source: RowSource, batch_rows: int, seed: int, start: int = 0) -> Any:
    generator = np.random.default_rng(seed)
    return numbers(list(source.batches(batch_rows, generator, start=start)))


SOURCES = [
    lambda layers: ArrayRows(layers),
    lambda layers: PooledRows(layers, 40 * 8),
    lambda layers: PooledRows(layers, 1),
]


@pytest.mark.parametrize("make", SOURCES)
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.integers(1, 90), st.integers(0, 2**32), st.data())
def test_each_row_comes_once_and_a_resumed_epoch_goes_on(
    make: Callable[..., RowSource],
    n_rows: int,
    batch_rows: int,
    seed: int,
    data: st.DataObject,
) -> None:
    source = make([numbered(n_rows)])
    assert (source.d_in, len(source), source.n_layers) == (2, n_rows, 1)
    whole = epoch(source, batch_rows, seed)
    assert sorted(sum(whole, [])) == list(range(n_rows))
    assert {len(batch) for batch in whole[:-1]} <= {batch_rows}
    start = data.draw(st.integers(0, len(whole) + 1))
    assert epoch(source, batch_rows, seed, start) == whole[start:]


@pytest.mark.parametrize("make", SOURCES)
def test_layers_stay_aligned(make: Callable[..., RowSource]) -> None:
    rows = numbered(300)
    source = make([rows, rows + np.float16(1)])
    for x, y in source.batches(32, np.random.default_rng(0)):
        assert set((y - x).flatten().tolist()) == {1}


@pytest.mark.parametrize("make", SOURCES)
def test_each_epoch_has_its_own_order(make: Callable[..., RowSource]) -> None:
    source, generator = make([numbered(200)]), np.random.default_rng(0)
    first, second = (numbers(list(source.batches(50, generator))) for _ in range(2))
    assert first != second


def test_pooled_batches_come_from_all_over_the_disk() -> None:
    """A pool holds 1/20 of the rows; still no tenth of them rules a batch."""
    n_rows = 40_000
    source = PooledRows([numbered(n_rows)], n_rows * 4 // 10)
    batches = epoch(source, 256, 0)
    for batch in batches:
        tenths = np.bincount(np.array(batch) * 10 // n_rows, minlength=10)
        # 64 blocks or so meet in a pool; 10 % would be even.
        assert tenths.max() < 0.35 * len(batch)
        assert np.count_nonzero(tenths) >= 7
    neighbours = np.abs(np.diff(batches[0])) == 1
    assert neighbours.mean() < 0.05


class Recording:
    """Rows that tell what is read of them, and by which thread."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.read: list[slice] = []
        self.threads: set[int] = set()
        self.shape = rows.shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        self.read.append(part)
        self.threads.add(threading.get_ident())
        found: np.ndarray = self.rows[part]
        return found


def test_disk_is_read_in_blocks_each_once_and_only_from_the_start_on() -> None:
    rows = Recording(numbered(10_000))
    source = PooledRows([rows], 6_400 * 8)
    epoch(source, 100, 0)
    assert sorted(part.start for part in rows.read) == list(range(0, 10_000, 100))
    assert threading.get_ident() not in rows.threads
    rows.read.clear()
    epoch(source, 100, 0, start=64)
    assert len(rows.read) == 36


def test_error_of_the_reading_thread_reaches_the_caller() -> None:
    class Broken(Recording):
        def __getitem__(self, part: slice) -> np.ndarray:
            if len(self.read) > 100:
                raise OSError("gone")
            return super().__getitem__(part)

    source = PooledRows([Broken(numbered(10_000))], 3_200 * 8)
    with pytest.raises(OSError, match="gone"):
        epoch(source, 100, 0)


def test_epoch_left_early_ends_its_thread() -> None:
    source = PooledRows([numbered(10_000)], 3_200 * 8)
    batches = source.batches(100, np.random.default_rng(0))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("rows")]


def test_budget_decides_what_is_held() -> None:
    layers: list[Rows] = [numbered(100), numbered(100)]
    assert isinstance(open_rows(layers, 800), ArrayRows)
    assert isinstance(open_rows(layers, 799), PooledRows)


def test_layers_of_different_rows_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="layers: shapes"):
        open_rows([numbered(3), numbered(4)])
    with pytest.raises(InvalidRequestError, match="layers: shapes"):
        open_rows([])


@given(st.lists(st.integers(1, 20)), st.integers(1, 30))
def test_groups_adjoin_and_keep_the_limit(sizes: list[int], limit: int) -> None:
    found = group(sizes, limit)
    assert [i for part in found for i in part] == list(range(len(sizes)))
    for part in found:
        assert len(part) == 1 or sum(sizes[i] for i in part) <= limit


@given(st.integers(0, 30), st.integers(1, 5), st.slices(40))
def test_parts_make_up_the_rows(n_rows: int, n: int, part: slice) -> None:
    rows = numbered(n_rows)
    parts = [PartRows(rows, i, n) for i in range(n)]
    assert [p.shape for p in parts] == [(len(p), 2) for p in parts]
    joined = np.concatenate([p[:] for p in parts])
    np.testing.assert_array_equal(joined, rows)
    part = slice(part.start, part.stop)
    np.testing.assert_array_equal(parts[0][part], parts[0][:][part])


def test_difference_is_taken_part_by_part() -> None:
    rows = numbered(9)
    found = DifferenceRows(rows + np.float16(2), rows)
    assert (len(found), found.shape) == (9, (9, 2))
    assert (found[2:5] == 2).all()
