"""Shards read as one array."""

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
