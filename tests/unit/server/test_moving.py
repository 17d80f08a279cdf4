"""Generations on disk, and a new index that follows an old one whatever is done."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.server.agreement import check_agreement
from tests.unit.server.crashing import follow, rna_of

from ribolex.dictionary import Dictionary
from ribolex.errors import (
    CollectionMovedError,
    CollectionNotFoundError,
    CorruptArtefactError,
    InvalidRequestError,
)
from ribolex.registry import FolderRegistry
from ribolex.server.index import generations
from ribolex.server.index.collection import Collection
from ribolex.server.index.generations import Generations, Plan
from ribolex.server.index.intake import Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.records import Removal
from ribolex.server.index.store import CollectionStore

PLAN = Plan("tiny", 2, 1.0, 0.0)


class Known(dict[str, Dictionary]):
    """Dictionaries by name and version; not shown number by number."""

    def __repr__(self) -> str:
        return f"Known({list(self)})"


@pytest.fixture(scope="session")
def dictionaries(tiny_registry: Path) -> Known:
    registry = FolderRegistry(tiny_registry)
    return Known({ref: registry.get(ref) for ref in ("tiny@1", "tiny@2")})


@asynccontextmanager
async def storing(root: Path, dictionaries: Known) -> AsyncIterator[CollectionStore]:
    async def find(name: str, version: int) -> Dictionary:
        return dictionaries[f"{name}@{version}"]

    store = CollectionStore(root, SearchMeasure(), find)
    await store.open()
    yield store
    await store.close()


def content(collection: Collection) -> dict[str, tuple[str, bytes]]:
    check_agreement(collection)
    rnas = collection.list_rnas((), "", 10**6, 10**9).rnas
    records = [collection.get(rna.name) for rna in rnas]
    return {
        one.rna.name: (one.rna.metadata["seed"], one.codes.values.tobytes())
        for one in records
    }


CHANGES = st.lists(
    st.tuples(st.sampled_from("pdf"), st.lists(st.sampled_from("abcde"), max_size=4)),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(changes=CHANGES)
def test_the_new_index_becomes_what_the_old_one_is(
    dictionaries: Known, changes: list[tuple[str, list[str]]]
) -> None:
    """Whatever is put, deleted, and followed in between; ids are given again, too."""

    async def run(root: Path) -> None:
        async with storing(root, dictionaries) as store:
            await store.create("c", dictionaries["tiny@1"], SearchMeasure())
            await store.run("c", check_agreement)
            move = await store.moves.begin("c", dictionaries["tiny@2"], PLAN)
            for number, (kind, names) in enumerate(changes):
                if kind == "p":
                    rnas = [rna_of(name, number, 96) for name in names]
                    await store.write("c", Storing(rnas))
                elif kind == "d":
                    await store.write("c", Removal(names))
                else:
                    await follow(move)
            await follow(move)
            lag = await move.lag()
            assert (lag.missing.tolist(), lag.extra) == ([], [])
            assert lag.n_rnas == store.sizes["c"]
            old, new = [await o.run(content) for o in (move.old, move.new)]
            assert old == new

    with TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


async def test_a_collection_moves_keeps_what_was_and_moves_back(
    tmp_path: Path, dictionaries: Known
) -> None:
    one, two = dictionaries.values()
    async with storing(tmp_path, dictionaries) as store:
        await store.create("c", one, SearchMeasure("max"))
        rnas = [rna_of(name, 1, 96) for name in "abc"]
        await store.write("c", Storing(rnas), one.content_id)
        with pytest.raises(InvalidRequestError, match="is what 'c' is indexed under"):
            await store.moves.begin("c", one, Plan("tiny", 1, 1.0, 0.0))
        with pytest.raises(CollectionNotFoundError):
            await store.moves.begin("nobody", two, PLAN)
        move = await store.moves.begin("c", two, PLAN)
        assert store.bound == {"tiny@1", "tiny@2"}
        with pytest.raises(InvalidRequestError, match="on its way to tiny@2"):
            await store.moves.begin("c", two, Plan("tiny", 3, 1.0, 0.0))
        await follow(move)
        assert await move.overlap() == 1.0
        await store.moves.flip(move)
        summary = await store.summary("c")
        assert (summary.facts.version, summary.n_rnas) == (2, 3)
        assert summary.facts.measure.pooling == "max"
        # Who encoded for the dictionary before is told, and nothing is stored.
        with pytest.raises(CollectionMovedError):
            await store.write("c", Storing(rnas), one.content_id)
        with pytest.raises(CollectionMovedError):
            await store.run("c", check_agreement, one.content_id)
        await store.write("c", Storing([rna_of("d", 2, 96)]), two.content_id)
        await store.write("c", Removal(["a"]))
    async with storing(tmp_path, dictionaries) as store:
        assert (await store.summary("c")).facts.version == 2
        assert store.moves.kept == {"c": "tiny@1"}
        back = await store.moves.begin("c", one, Plan("tiny", 1, 1.0, 0.0))
        # Only what was changed since is to be done.
        lag = await back.lag()
        assert (len(lag.missing), len(lag.extra)) == (1, 1)
        await follow(back)
        await store.moves.flip(back)
        assert set(await store.run("c", content)) == {"b", "c", "d"}
        assert store.moves.kept == {"c": "tiny@2"}
        await store.moves.end("c")
        assert store.bound == {"tiny@1"}
    left = set(os.listdir(tmp_path / "c"))
    assert {"generations.json", "records.sqlite3"} <= left
    assert "g1" not in left
    async with storing(tmp_path, dictionaries) as store:
        assert await store.run("c", check_agreement) == 3
        move = await store.moves.begin("c", two, PLAN)
        assert await store.delete("c") == 3
        assert store.bound == set()
    assert os.listdir(tmp_path) == [".lock"]


async def test_what_was_begun_goes_on_after_another_start(
    tmp_path: Path, dictionaries: Known
) -> None:
    one, two = dictionaries.values()
    async with storing(tmp_path, dictionaries) as store:
        await store.create("c", one, SearchMeasure())
        await store.write("c", Storing([rna_of(name, 1, 96) for name in "abc"]))
        move = await store.moves.begin("c", two, PLAN)
        await follow(move)
        await store.write("c", Storing([rna_of("d", 1, 96)]))
    async with storing(tmp_path, dictionaries) as store:
        assert (await store.summary("c")).facts.version == 1
        move = store.moves.moves["c"]
        assert move.plan == PLAN
        assert len((await move.lag()).missing) == 1


async def test_the_folder_may_be_told_relative_to_where_the_server_runs(
    tmp_path: Path, dictionaries: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = dictionaries.values()
    monkeypatch.chdir(tmp_path)
    async with storing(Path("data"), dictionaries) as store:
        await store.create("c", one, SearchMeasure())
        await store.write("c", Storing([rna_of("a", 1, 96)]))
        taken = await store.snapshot("c")
        taken.file.close()
        assert taken.manifest.n_rnas == 1
        move = await store.moves.begin("c", two, PLAN)
        await follow(move)
        await store.moves.flip(move)
        assert set(await store.run("c", content)) == {"a"}


async def test_what_was_before_a_move_is_never_taken_for_what_is_now(
    tmp_path: Path, dictionaries: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = dictionaries.values()
    file = tmp_path / "c" / "generations.json"
    async with storing(tmp_path, dictionaries) as store:
        await store.create("c", one, SearchMeasure())
        await store.moves.flip(await store.moves.begin("c", two, PLAN))
        await store.write("c", Storing([rna_of("a", 1, 96)]))

    def fail(*given: object) -> None:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(generations, "tidy", fail)
        async with storing(tmp_path, dictionaries) as store:
            assert set(await store.run("c", content)) == {"a"}
    file.write_text("{")
    async with storing(tmp_path, dictionaries) as store:
        with pytest.raises(CorruptArtefactError, match=r"generations\.json"):
            await store.write("c", Storing([rna_of("b", 1, 96)]))
        with pytest.raises(CorruptArtefactError):
            await store.summary("c")
        assert [one.facts for one in await store.list()] == []
        assert await store.delete("c") == 0


async def test_writes_wait_while_they_may_not(
    tmp_path: Path, dictionaries: Known
) -> None:
    one, two = dictionaries.values()
    async with storing(tmp_path, dictionaries) as store:
        await store.create("c", one, SearchMeasure())
        move = await store.moves.begin("c", two, PLAN)
        move.old.may_write.clear()
        jobs = [
            asyncio.ensure_future(store.write("c", Removal(["a"]))),
            asyncio.ensure_future(store.change("c", lambda c: c.facts.version)),
        ]
        await asyncio.sleep(0.05)
        assert not any(job.done() for job in jobs)
        await store.moves.flip(move)
        move.old.may_write.set()
        _, version = await asyncio.gather(*jobs)
        assert version == 2


def test_generations_come_back_and_what_none_is_goes(tmp_path: Path) -> None:
    assert generations.read(tmp_path) == Generations()
    for name in ("g1", "g2", "g3", "positions", "guest"):
        (tmp_path / name).mkdir()
    (tmp_path / "records.sqlite3").touch()
    kept = Generations("g2", kept="", kept_ref="a@1", coming="g3", plan=PLAN)
    generations.write(tmp_path, kept)
    generations.tidy(tmp_path, kept)
    assert generations.read(tmp_path) == kept
    assert kept.next_name() == "g4"
    assert not (tmp_path / "g1").exists()
    generations.tidy(tmp_path, Generations("g3", kept="g2", kept_ref="b@1"))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["g2", "g3", "generations.json", "guest"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"plan": null, "current": "../x"}', '{"plan": 1}', '{"plan":{}}'],
)
def test_a_damaged_file_of_generations_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "generations.json").write_text(text)
    with pytest.raises(CorruptArtefactError):
        generations.read(tmp_path)


def test_the_file_holds_nothing_but_names_and_the_plan(tmp_path: Path) -> None:
    generations.write(tmp_path, Generations("g1", plan=PLAN))
    found = json.loads((tmp_path / "generations.json").read_text())
    assert set(found) == {"current", "kept", "kept_ref", "coming", "plan"}
