"""What disks and files do to collections: every answer is true, and faults are told."""

import errno
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import random_alignment
from tests.unit.server.agreement import check_agreement
from tests.unit.server.crashing import rna_of

from ribolex.dictionary import Dictionary
from ribolex.server.index import (
    pooled,
    pooled_blocks,
    pooled_index,
    position_files,
    positions,
)
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import MetadataColumns
from ribolex.server.index.pooled_index import PooledIndex
from ribolex.server.index.positions import PositionalIndex
from ribolex.server.index.search import Search

pytestmark = pytest.mark.timeout(300)  # the first calls compile

Break = Callable[[object, str, BaseException], None]


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def aligning(dictionary: Dictionary) -> Dictionary:
    return replace(dictionary, alignment=random_alignment(1))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pooled_blocks, pooled_index, pooled):
        monkeypatch.setattr(module, "ROWS", 64)
    monkeypatch.setattr(positions, "SLOTS", 600)


@pytest.fixture
def break_once(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Gives a function that has a function raise when it is called next."""

    whole: dict[tuple[object, str], Any] = {}

    def break_it(owner: object, name: str, error: BaseException) -> None:
        works = whole.setdefault((owner, name), getattr(owner, name))

        def fails(*args: Any, **named: Any) -> Any:
            monkeypatch.setattr(owner, name, works)
            raise error

        monkeypatch.setattr(owner, name, fails)

    return break_it


def opened(folder: Path, dictionary: Dictionary) -> Collection:
    if not folder.exists():
        folder.mkdir()
        Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))
    collection = Collection(folder)
    collection.load(dictionary)
    return collection


def rnas(names: range, seed: int) -> list[Encoded]:
    return [rna_of(f"r{i:03}", seed, 96) for i in names]


STEPS = {
    "a full disk": (position_files, "write_whole", full_disk()),
    "codes removed": (PooledIndex, "remove", MemoryError()),
    "codes put": (PooledIndex, "put", full_disk()),
    "metadata removed": (MetadataColumns, "remove", MemoryError()),
    "metadata put": (MetadataColumns, "put", MemoryError()),
    "positions removed": (PositionalIndex, "remove", full_disk()),
    "positions put": (PositionalIndex, "put", MemoryError()),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_what_is_committed_is_told_and_seen_whatever_an_index_does(
    step: tuple[object, str, BaseException],
    tmp_path: Path,
    aligning: Dictionary,
    small_blocks: None,
    break_once: Break,
) -> None:
    with closing(opened(tmp_path / "c", aligning)) as collection:
        collection.upsert(rnas(range(200), 1))
        break_once(*step)
        assert collection.delete([f"r{i:03}" for i in range(100)]) == 100
        assert check_agreement(collection) == 100
        listed = collection.list_rnas((), "", 999, 10**9)
        assert [one.name for one in listed.rnas] == [
            f"r{i:03}" for i in range(100, 200)
        ]
        new = rnas(range(150, 250), 2)
        break_once(*step)
        done = collection.upsert(new)
        assert (done.n_inserted, done.n_updated) == (50, 50)
        query = collection.query_of(new[0].rna.sequence, new[0].codes, 0.5)
        for sensitivity in ("fast", "sensitive"):
            search = Search(1, 0, sensitivity)
            assert collection.search(query, search).hits[0].rna.name == "r150"
        assert check_agreement(collection) == 150
        # As a kill would leave it now.
        shutil.copytree(tmp_path / "c", tmp_path / "killed")
    for folder in ("c", "killed"):
        with closing(opened(tmp_path / folder, aligning)) as again:
            assert check_agreement(again) == 150


def test_an_index_that_cannot_be_drawn_anew_answers_nothing_false(
    tmp_path: Path, aligning: Dictionary, break_once: Break
) -> None:
    with closing(opened(tmp_path / "c", aligning)) as collection:
        collection.upsert(rnas(range(9), 1))
        break_once(PooledIndex, "put", MemoryError())
        collection.upsert(rnas(range(9), 2))
        break_once(PooledIndex, "recall", MemoryError())
        with pytest.raises(MemoryError):
            collection.list_rnas((), "", 9, 10**9)
        assert collection.get("r000").rna.metadata["seed"] == "2"
        assert check_agreement(collection) == 9


def test_no_part_of_a_block_is_left_on_a_full_disk(
    tmp_path: Path, aligning: Dictionary, small_blocks: None, break_once: Break
) -> None:
    with closing(opened(tmp_path / "c", aligning)) as collection:
        break_once(position_files, "sync", full_disk())
        collection.upsert(rnas(range(70), 1))
        assert not list((tmp_path / "c").rglob("*.new"))
        assert check_agreement(collection) == 70
