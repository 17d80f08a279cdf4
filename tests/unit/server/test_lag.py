"""What one file of records lacks of another is what a look at each RNA says."""

import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.server.index import schema
from ribolex.server.index.lag import read_lag, some_ids

_NUMBERS = itertools.count()

STATES = st.dictionaries(st.integers(1, 12), st.integers(0, 4))
"""The last change of each RNA by id."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lag") / "empty.sqlite3"
    schema.create(path, {})
    return path


def write(empty: Path, changes: dict[int, int]) -> Path:
    path = empty.with_name(f"{next(_NUMBERS)}.sqlite3")
    shutil.copy(empty, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.executemany(
            "INSERT INTO rna VALUES (?, ?, '', NULL, '{}', 0, '', '', '', ?)",
            [(i, f"r{i}", change) for i, change in changes.items()],
        )
        db.commit()
    return path


@settings(deadline=None, max_examples=40)
@given(old=STATES, new=STATES)
def test_a_lag_is_what_differs_and_what_is_gone(
    empty: Path, old: dict[int, int], new: dict[int, int]
) -> None:
    lag = read_lag(write(empty, old), write(empty, new))
    missing = {i for i, change in old.items() if new.get(i) != change}
    assert set(lag.missing.tolist()) == missing
    changes = [old[i] for i in lag.missing.tolist()]
    assert changes == sorted(changes)
    assert set(lag.extra) == new.keys() - old.keys()
    assert lag.n_rnas == len(old)


def test_some_ids_come_from_all_over_a_file(empty: Path) -> None:
    path = write(empty, dict.fromkeys(range(1, 1001), 7))
    some = some_ids(path, 64)
    assert some == some_ids(path, 64)
    assert len(set(some)) == 64
    # A tenth of the ids has a tenth of them, or nearly so.
    counts = [sum((i - 1) // 100 == part for i in some) for part in range(10)]
    assert min(counts) >= 4
    assert set(some_ids(path, 2000)) == set(range(1, 1001))


def test_a_file_that_is_not_there_is_not_made(empty: Path) -> None:
    path, nowhere = write(empty, {1: 1}), empty.with_name("nowhere.sqlite3")
    for pair in ((path, nowhere), (nowhere, path)):
        with pytest.raises(sqlite3.OperationalError):
            read_lag(*pair)
    assert not nowhere.exists()
