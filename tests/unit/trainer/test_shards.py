"""Shards read as one array."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.trainer.shards import ShardedRows


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 60), st.integers(0, 60))
def test_slices_are_those_of_one_array(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], start: int, stop: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    whole = np.random.default_rng(0).random((sum(sizes), 3)).astype(np.float16)
    files: list[tuple[Path, int]] = []
    for i, n_rows in enumerate(sizes):
        at = sum(sizes[:i])
        np.save(folder / f"{i}.npy", whole[at : at + n_rows])
        files.append((folder / f"{i}.npy", n_rows))
    rows = ShardedRows(files, 3)
    assert (len(rows), rows.shape) == (len(whole), whole.shape)
    np.testing.assert_array_equal(rows[start:stop], whole[start:stop])
    np.testing.assert_array_equal(rows[:], whole)


def test_a_slice_of_each_rna_opens_each_file_once(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.full((50, 2), i, np.float16))
    rows = ShardedRows([(tmp_path / f"{i}.npy", 50) for i in range(3)], 2)
    n_open = len(os.listdir("/proc/self/fd"))
    kept = [rows[i : i + 1] for i in range(150)]
    assert len(os.listdir("/proc/self/fd")) - n_open <= 3
    assert [int(one[0, 1]) for one in kept] == [i // 50 for i in range(150)]
