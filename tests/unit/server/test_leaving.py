"""Callers that leave at their deadline, and disks that fail, midway through a change.

Whatever is said to be there is there, now and after another start, and can be used.
"""

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.server.crashing import follow, rna_of
from tests.unit.server.test_moving import PLAN, Known, dictionaries, storing

from ribolex import disk
from ribolex.dictionary import Dictionary
from ribolex.errors import CollectionExistsError, CollectionNotFoundError
from ribolex.server.index import folders, generations, snapshot, store
from ribolex.server.index.collection import Collection
from ribolex.server.index.intake import Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.owner import Owner
from ribolex.server.index.store import CollectionStore
from ribolex.server.reindex import Reindexer, Reindexing
from ribolex.server.unbroken import Unbroken

__all__ = ["dictionaries"]  # a fixture

Patch = pytest.MonkeyPatch


class Held:
    """Stands in for a function: called in a thread, it waits until it is let."""

    def __init__(self, patch: Patch, where: object, name: str) -> None:
        self._real: Callable[..., Any] = getattr(where, name)
        self._begun, self._let = threading.Event(), threading.Event()
        self.n_calls = 0
        patch.setattr(where, name, lambda *given: self._call(*given))

    def _call(self, *given: object) -> object:
        self.n_calls += 1
        self._begun.set()
        assert self._let.wait(20)
        return self._real(*given)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 20)

    def let(self) -> None:
        self._let.set()


async def leave(call: Coroutine[Any, Any, object], held: Held) -> None:
    """Cancels a call while its work is held; then lets that go on."""
    task = asyncio.create_task(call)
    await held.begun()
    task.cancel()
    await asyncio.sleep(0.01)
    held.let()
    with pytest.raises(asyncio.CancelledError):
        await task


def failing(
    patch: Patch, where: object, name: str, fails: Callable[..., bool], times: int = 1
) -> None:
    """Has a function fail, as many times as told, where it is given what is told."""
    real, left = getattr(where, name), [times]

    def call(*given: Any, **named: Any) -> Any:
        if left[0] and fails(*given):
            left[0] -= 1
            raise OSError(errno.EIO, "disk")
        return real(*given, **named)

    patch.setattr(where, name, call)


async def make(there: CollectionStore, dictionary: Dictionary, *names: str) -> None:
    await there.create("c", dictionary, SearchMeasure())
    await there.write("c", Storing([rna_of(name, 1, 96) for name in names]))


def open_files() -> list[Path]:
    return [link.resolve() for link in Path("/proc/self/fd").iterdir()]


def names_of(collection: Collection) -> list[str]:
    return [rna.name for rna in collection.list_rnas((), "", 10**6, 10**9).rnas]


async def test_what_a_caller_left_behind_is_waited_for() -> None:
    unbroken, go_on, done = Unbroken(), asyncio.Event(), list[str]()

    async def work() -> None:
        await go_on.wait()
        done.append("it")

    task = asyncio.create_task(unbroken.do(work()))
    await asyncio.sleep(0)
    for _ in range(2):  # even who does not wait for the end
        task.cancel()
        await asyncio.sleep(0.01)
    assert task.cancelled()
    asyncio.get_running_loop().call_later(0.01, go_on.set)
    await unbroken.settle()
    assert done == ["it"]


async def test_a_collection_is_made_though_its_caller_leaves(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    one = dictionaries["tiny@1"]
    async with storing(tmp_path, dictionaries) as there:
        held = Held(monkeypatch, store, "_create")
        await leave(there.create("c", one, SearchMeasure()), held)
        assert (await there.summary("c")).n_rnas == 0
        with pytest.raises(CollectionExistsError):
            await there.create("c", one, SearchMeasure())


async def test_a_collection_is_gone_though_its_caller_leaves(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    one = dictionaries["tiny@1"]
    async with storing(tmp_path, dictionaries) as there:
        await make(there, one, "a")
        await leave(there.delete("c"), Held(monkeypatch, Owner, "_shut"))
        with pytest.raises(CollectionNotFoundError):
            await there.summary("c")
        await there.create("c", one, SearchMeasure())
    async with storing(tmp_path, dictionaries) as there:
        assert await there.run("c", names_of) == []


async def test_a_collection_is_restored_though_its_caller_leaves(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    async with storing(tmp_path, dictionaries) as there:
        await make(there, dictionaries["tiny@1"], "a", "b")
        taken = await there.snapshot("c")

        async def restore() -> None:
            async with there.receiving() as path:
                with taken.file, path.open("wb") as file:
                    shutil.copyfileobj(taken.file, file)
                await there.restore(path, "copy")

        await leave(restore(), Held(monkeypatch, folders, "place"))
        assert await there.run("copy", names_of) == ["a", "b"]
    assert sorted(os.listdir(tmp_path)) == [".lock", "c", "copy"]


async def test_a_snapshot_that_nobody_waits_for_is_given_up(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(snapshot, "_STEPS", 1)
    async with storing(tmp_path, dictionaries) as there:
        await make(there, dictionaries["tiny@1"], "a")
        described = Held(monkeypatch, snapshot, "_describe")
        described.let()
        await leave(there.snapshot("c"), Held(monkeypatch, snapshot, "take"))
        # The thread ends before the event loop does.
        await asyncio.get_running_loop().shutdown_default_executor()
        assert described.n_calls == 0
        assert sorted(os.listdir(tmp_path)) == [".lock", "c"]


async def test_a_load_goes_on_without_those_who_waited_for_it(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    async with storing(tmp_path, dictionaries) as there:
        await there.create("c", dictionaries["tiny@1"], SearchMeasure())
        held = Held(monkeypatch, Collection, "load")
        for _ in range(3):
            early = asyncio.create_task(there.run("c", names_of))
            await held.begun()
            early.cancel()
            with pytest.raises(asyncio.CancelledError):
                await early
        held.let()
        assert await there.run("c", names_of) == []
        assert held.n_calls == 1


async def test_a_collection_whose_dictionary_does_not_come_can_be_deleted(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    asked = asyncio.Event()

    async def find(name: str, version: int) -> Dictionary:
        asked.set()
        never: asyncio.Future[Dictionary] = asyncio.Future()
        return await never

    async with storing(tmp_path, dictionaries) as there:
        await there.create("c", dictionaries["tiny@1"], SearchMeasure())
        monkeypatch.setattr(there, "_find_dictionary", find)
        waiting = asyncio.create_task(there.run("c", names_of))
        await asked.wait()
        async with asyncio.timeout(20):
            assert await there.delete("c") == 0
            with pytest.raises(CollectionNotFoundError):
                await waiting
    assert os.listdir(tmp_path) == [".lock"]


async def test_all_who_wait_for_a_load_that_fails_are_told_and_the_next_one_tries(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    async with storing(tmp_path, dictionaries) as there:
        await there.create("c", dictionaries["tiny@1"], SearchMeasure())
        failing(monkeypatch, Collection, "load", lambda *given: True)
        calls = [there.run("c", names_of) for _ in range(3)]
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in told] == [OSError] * 3
        assert await there.run("c", names_of) == []


async def test_a_move_is_begun_once_though_its_caller_leaves(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    async def fitting(name: str, version: int) -> Any:
        return SimpleNamespace(dictionary=dictionaries[f"{name}@{version}"])

    async def run(self: Reindexing) -> None: ...

    nothing: Any = None
    known: Any = SimpleNamespace(fitting=fitting)
    monkeypatch.setattr(Reindexing, "run", run)
    async with storing(tmp_path, dictionaries) as there:
        await make(there, dictionaries["tiny@1"], "a")
        reindexer = Reindexer(nothing, known, there)
        held = Held(monkeypatch, Collection, "load")
        await leave(reindexer.begin("c", PLAN), held)
        await reindexer.begin("c", PLAN)
        assert held.n_calls == 1
        assert set(there.moves.moves) == {"c"}
        await reindexer.close()


async def test_a_new_index_that_cannot_be_opened_is_closed_and_tried_again(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    one, two = dictionaries.values()
    async with storing(tmp_path, dictionaries) as there:
        await make(there, one, "a")
        failing(monkeypatch, Collection, "create", lambda *given: True)
        with pytest.raises(OSError, match="disk"):
            await there.moves.begin("c", two, PLAN)
        failing(monkeypatch, Collection, "load", lambda *given: True)
        with pytest.raises(OSError, match="disk") as kept:
            await there.moves.begin("c", two, PLAN)
        assert not [one for one in open_files() if tmp_path / "c/g1" in one.parents]
        del kept
        assert (await there.moves.begin("c", two, PLAN)).plan == PLAN


@pytest.mark.parametrize(
    ("where", "name", "fails"),
    [
        (generations, "tidy", lambda *given: True),
        (disk, "sync", Path.is_dir),
        (Collection, "lead", lambda *given: True),
        (Collection, "close", lambda *given: True),
    ],
)
async def test_what_fails_after_a_move_loses_no_write(
    tmp_path: Path,
    dictionaries: Known,
    monkeypatch: Patch,
    where: object,
    name: str,
    fails: Callable[..., bool],
) -> None:
    one, two = dictionaries.values()
    async with storing(tmp_path, dictionaries) as there:
        await make(there, one, "a")
        move = await there.moves.begin("c", two, PLAN)
        await follow(move)
        failing(monkeypatch, where, name, fails)
        await there.moves.flip(move)
        await there.write("c", Storing([rna_of("d", 1, 96)]), two.content_id)
    async with storing(tmp_path, dictionaries) as there:
        assert (await there.summary("c")).facts.version == 2
        assert await there.run("c", names_of) == ["a", "d"]


async def test_a_move_that_did_not_reach_the_disk_is_none(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    one, two = dictionaries.values()
    async with storing(tmp_path, dictionaries) as there:
        await make(there, one, "a")
        move = await there.moves.begin("c", two, PLAN)
        await follow(move)
        failing(monkeypatch, disk, "sync", Path.is_file)
        with pytest.raises(OSError, match="disk"):
            await there.moves.flip(move)
        await there.write("c", Storing([rna_of("d", 1, 96)]), one.content_id)
    async with storing(tmp_path, dictionaries) as there:
        assert (await there.summary("c")).facts.version == 1
        assert await there.run("c", names_of) == ["a", "d"]
        assert set(there.moves.moves) == {"c"}


async def test_a_collection_that_could_not_be_made_or_deleted_is_as_before(
    tmp_path: Path, dictionaries: Known, monkeypatch: Patch
) -> None:
    one = dictionaries["tiny@1"]
    async with storing(tmp_path, dictionaries) as there:
        failing(monkeypatch, folders, "sync", tmp_path.samefile)
        with pytest.raises(OSError, match="disk"):
            await there.create("c", one, SearchMeasure())
        assert os.listdir(tmp_path) == [".lock"]
        await make(there, one, "a")
        failing(monkeypatch, Path, "rename", lambda path, to: path.name == "c")
        with pytest.raises(OSError, match="disk"):
            await there.delete("c")
        assert await there.run("c", names_of) == ["a"]
        failing(monkeypatch, shutil, "rmtree", lambda *given: True)
        assert await there.delete("c") == 1
        await there.create("c", one, SearchMeasure())
    async with storing(tmp_path, dictionaries) as there:
        assert await there.run("c", names_of) == []
    assert sorted(os.listdir(tmp_path)) == [".lock", "c"]
