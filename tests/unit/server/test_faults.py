"""What disks and files do to collections: every answer is true, and faults are told."""

import errno
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conftest import random_alignment
from tests.unit.server.agreement import check_agreement
from tests.unit.server.crashing import rna_of
from tests.unit.server.restoring import open_store

from ribolex.dictionary import Dictionary
from ribolex.errors import (
    CorruptArtefactError,
    NotReadyError,
    StorageFullError,
)
from ribolex.server.index import (
    folders,
    pooled,
    pooled_blocks,
    pooled_index,
    position_files,
    positions,
    snapshot,
)
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded, Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import MetadataColumns
from ribolex.server.index.pooled_index import PooledIndex
from ribolex.server.index.positions import PositionalIndex
from ribolex.server.index.records import Removal
from ribolex.server.index.schema import RECORDS
from ribolex.server.index.search import Search
from ribolex.server.index.store import CollectionStore
from ribolex.server.status import rich_status

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


@asynccontextmanager
async def storing(root: Path, dictionary: Dictionary) -> AsyncIterator[CollectionStore]:
    store = open_store(root, dictionary)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def root(tmp_path: Path, dictionary: Dictionary) -> Path:
    """A data folder with two collections, of a server that was stopped."""
    async with storing(tmp_path, dictionary) as store:
        for name in ("bad", "good"):
            await store.create(name, dictionary, SearchMeasure())
            await store.write(name, Storing(rnas(range(9), 1)))
    return tmp_path


def damage(root: Path, table: str) -> None:
    """Overwrites a page of a table or an index, as a bad disk may."""
    path = root / "bad" / RECORDS
    with closing(sqlite3.connect(path)) as db:
        statement = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = db.execute(statement, (table,)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))


async def names(store: CollectionStore) -> list[str]:
    return [one.facts.name for one in await store.list()]


@pytest.mark.parametrize("table", ["rna", "rna_change", "facts"])
async def test_a_damaged_collection_is_told_and_the_others_are_served(
    root: Path, dictionary: Dictionary, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(root, table)
    async with storing(root, dictionary) as store:
        assert "collection bad cannot be opened" in caplog.text
        assert "good" in await names(store)
        assert await store.run("good", check_agreement) == 9
        for _ in range(2):
            with pytest.raises(CorruptArtefactError, match="malformed|readable"):
                await store.run("bad", Collection.details)
        await store.delete("bad")
        await store.create("bad", dictionary, SearchMeasure())
        assert await names(store) == ["bad", "good"]


async def test_a_code_on_a_damaged_page_is_lost_data(
    root: Path, dictionary: Dictionary
) -> None:
    damage(root, "nucleotide_code")
    async with storing(root, dictionary) as store:
        with pytest.raises(CorruptArtefactError) as caught:
            await store.run("bad", lambda collection: collection.get("r001"))
        code, _ = grpc.StatusCode.DATA_LOSS.value
        assert rich_status(caught.value).code == code


@pytest.mark.parametrize("text", ["{", "[1]", "{}"])
async def test_facts_that_are_none_are_told(
    root: Path, dictionary: Dictionary, text: str
) -> None:
    with closing(sqlite3.connect(root / "bad" / RECORDS, isolation_level=None)) as db:
        db.execute("UPDATE facts SET json = ?", (text,))
    async with storing(root, dictionary) as store:
        assert await names(store) == ["good"]
        with pytest.raises(CorruptArtefactError):
            await store.summary("bad")


async def test_a_collection_that_could_not_be_opened_is_when_it_can(
    root: Path, dictionary: Dictionary, break_once: Break
) -> None:
    break_once(PooledIndex, "recall", MemoryError())
    async with storing(root, dictionary) as store:
        assert await names(store) == ["bad", "good"]
        assert await store.run("bad", check_agreement) == 9


def limit_pages(collection: Collection, more: int) -> None:
    """Has SQLite find no room past so many pages more, as on a disk that is full."""
    db = collection._records.db
    (n_pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count = {n_pages + more}")


async def test_on_a_full_disk_nothing_is_stored_by_halves_and_a_caller_is_told(
    root: Path, dictionary: Dictionary
) -> None:
    async with storing(root, dictionary) as store:
        await store.run("good", lambda collection: limit_pages(collection, 2))
        change = Storing(rnas(range(5, 99), 2))
        with pytest.raises(StorageFullError) as caught:
            await store.write("good", change)
        status = rich_status(caught.value)
        assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert "good/records.sqlite3: its disk is full, nothing was" in status.message
        assert await store.run("good", check_agreement) == 9
        # What takes no room can be done, and makes some.
        removal = Removal([f"r{i:03}" for i in range(9)])
        assert (await store.write("good", removal)).n_deleted == 9
        await store.run("good", lambda collection: limit_pages(collection, 999))
        assert (await store.write("good", change)).n_inserted == 94
        assert await store.run("good", check_agreement) == 94


async def restore(
    store: CollectionStore, content: bytes, onto: Path | None = None
) -> None:
    async with store.receiving() as path:
        (onto or path).write_bytes(content)
        await store.restore(path, "new")


async def test_whatever_a_full_disk_meets_leaves_nothing_and_is_told(
    root: Path, dictionary: Dictionary, break_once: Break
) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    async with storing(root, dictionary) as store:
        with (await store.snapshot("good")).file as file:
            content = file.read()
        break_once(folders, "sync", full_disk())
        with pytest.raises(StorageFullError):
            await store.create("new", dictionary, SearchMeasure())
        for fault in (full, full_disk()):
            break_once(snapshot, "_digest", fault)
            with pytest.raises(StorageFullError):
                await store.snapshot("good")
            break_once(snapshot, "audit", fault)
            with pytest.raises(StorageFullError):
                await restore(store, content)
        with pytest.raises(StorageFullError):
            await restore(store, content, Path("/dev/full"))
        assert set(os.listdir(root)) == {".lock", "bad", "good"}
        assert await names(store) == ["bad", "good"]


async def test_a_disk_that_does_not_answer_is_no_damage(
    root: Path, dictionary: Dictionary, break_once: Break
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    async with storing(root, dictionary) as store:
        break_once(Collection, "get", error)
        with pytest.raises(NotReadyError, match="records.sqlite3: disk I/O error"):
            await store.run("good", lambda collection: collection.get("r001"))
        assert await store.run("good", lambda collection: collection.get("r001"))
