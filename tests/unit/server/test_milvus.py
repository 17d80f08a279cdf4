"""A Milvus that loses what it had, goes away, comes back, or is somebody else's too."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.milvus import MilvusLite, running_milvus
from tests.unit.server.crashing import follow, rna_of
from tests.unit.server.test_moving import PLAN, Known, dictionaries

from ribolex.dictionary import Dictionary
from ribolex.errors import CorruptArtefactError, InvalidRequestError, NotReadyError
from ribolex.server import reindex
from ribolex.server.index import milvus as milvus_module
from ribolex.server.index import tending
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded, Storing
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.milvus import Milvus, MilvusAddress
from ribolex.server.index.milvus_index import MilvusIndex
from ribolex.server.index.milvus_rows import alias_of
from ribolex.server.index.milvus_table import MilvusTable
from ribolex.server.index.moving import Move
from ribolex.server.index.search import Search
from ribolex.server.index.store import CollectionStore
from ribolex.server.index.upkeep import RelativesOptions
from ribolex.server.unbroken import Unbroken

__all__ = ["dictionaries"]  # a fixture

pytestmark = pytest.mark.timeout(300)  # the first calls compile


@pytest.fixture
def client(milvus_lite: MilvusLite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("PYTHON_DOTENV_DISABLED", "1")
    from pymilvus import MilvusClient

    with closing(MilvusClient(milvus_lite.url, dedicated=True)) as found:
        yield found


@pytest.fixture
def milvus(milvus_lite: MilvusLite, tmp_path: Path) -> Iterator[Milvus]:
    with closing(Milvus(MilvusAddress.parse(milvus_lite.url), tmp_path)) as found:
        yield found


def rnas(*names: str, seed: int = 0) -> list[Encoded]:
    return [rna_of(name, seed, 96) for name in names]


def opened(root: Path, dictionary: Dictionary, milvus: Milvus | None) -> Collection:
    folder = root / "c"
    if not folder.exists():
        folder.mkdir()
        Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))
    collection = Collection(folder, RelativesOptions(milvus=milvus))
    collection.load(dictionary)
    collection.lead()
    return collection


def found(collection: Collection, like: str = "a", *, exact: bool = False) -> list[str]:
    search = Search(99, 0, "fast", exact=exact)
    hits = collection.search(collection.query_like(like), search).hits
    return sorted(hit.rna.name for hit in hits)


def found_soon(collection: Collection) -> list[str]:
    """What is found once the Milvus has all of it, which may take a while."""
    wait_for(lambda: collection.catch_up(1.0))
    return found(collection)


def table_of(collection: Collection) -> str:
    codes = collection.indexes.codes
    assert isinstance(codes, MilvusIndex)
    return codes.table.name


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 150
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_was_written_without_it_is_put_there(
    tmp_path: Path, dictionary: Dictionary, milvus: Milvus
) -> None:
    with closing(opened(tmp_path, dictionary, milvus)) as collection:
        collection.upsert(rnas(*"abcdef"))
    # A server without it changes, deletes, and gives an id again.
    with closing(opened(tmp_path, dictionary, None)) as collection:
        collection.upsert(rnas("b", seed=1))
        collection.delete("ef")
        collection.upsert(rnas("g"))
        assert (tmp_path / "c" / "pooled").exists()
        expected = found(collection)
    with closing(opened(tmp_path, dictionary, milvus)) as collection:
        assert found(collection) == expected == ["b", "c", "d", "g"]
        again = found(collection, "b")
        assert again == found(collection, "b", exact=True)
        # Those of the other engine would be stale later.
        assert not (tmp_path / "c" / "pooled").exists()


def test_what_others_do_to_it_is_mended(
    tmp_path: Path, dictionary: Dictionary, milvus: Milvus, client: Any
) -> None:
    with closing(opened(tmp_path, dictionary, milvus)) as collection:
        collection.upsert(rnas(*"abcdef"))
        table = table_of(collection)
        (row, _) = client.query(table, filter="id in [1, 2]", output_fields=["*"])
        client.delete(table, ids=[1, 2])
        client.upsert(table, [{**row, "id": 3, "change": 5}, {**row, "id": 900}])
    with closing(opened(tmp_path, dictionary, milvus)) as collection:
        assert found(collection) == list("bcdef")
        assert found(collection, "c") == found(collection, "c", exact=True)
        changes = client.query(table, filter="id >= 0", output_fields=["change"])
        assert len(changes) == 6
        # As after a start of the Milvus that nobody noticed.
        client.release_collection(table)
        assert found(collection) == list("bcdef")
        # While it is in use: all of it goes, and the alias with it.
        for alias in client.list_aliases(table)["aliases"]:
            client.drop_alias(alias)
        client.drop_collection(table)
        with suppress(NotReadyError):
            found(collection)
        assert found_soon(collection) == list("bcdef")
        alias = alias_of(milvus.prefix, "c")
        assert client.describe_alias(alias)["collection_name"] == table


@pytest.mark.usefixtures("short_rest")
def test_while_it_is_away_only_searches_fail(
    tmp_path: Path, dictionary: Dictionary
) -> None:
    with (
        running_milvus() as lite,
        closing(Milvus(MilvusAddress.parse(lite.url), tmp_path)) as milvus,
    ):
        collection = opened(tmp_path, dictionary, milvus)
        collection.upsert(rnas(*"abcd"))
        assert found(collection) == list("bcd")
        lite.kill()
        collection.upsert(rnas("e"))
        assert collection.delete("b") == 1
        with pytest.raises(NotReadyError, match=f"Milvus at {lite.url} is away: RNAs"):
            found(collection)
        assert not milvus.is_up
        assert found(collection, exact=True) == list("cde")
        assert not collection.catch_up(0.1)
        collection.close()
        # Nor does it keep a server from starting, or from writing.
        collection = opened(tmp_path, dictionary, milvus)
        collection.upsert(rnas("f"))
        lite.start()
        wait_for(lambda: collection.catch_up(1.0))
        assert found(collection) == list("cdef")
        collection.close()


@pytest.fixture
def short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_module, "_REST_S", 0.02)


@asynccontextmanager
async def storing(
    root: Path, known: Known, milvus_lite: MilvusLite
) -> AsyncIterator[CollectionStore]:
    async def find(name: str, version: int) -> Dictionary:
        return known[f"{name}@{version}"]

    milvus = Milvus(MilvusAddress.parse(milvus_lite.url), root)
    options = RelativesOptions(milvus=milvus)
    store = CollectionStore(root, SearchMeasure(), find, options)
    await store.open()
    yield store
    await store.close()


async def test_the_alias_moves_with_a_collection_and_what_is_retired_goes(
    tmp_path: Path,
    dictionaries: Known,
    milvus_lite: MilvusLite,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tending, "_POLL_S", 0.05)
    monkeypatch.chdir(tmp_path)
    root = Path("data")
    one, two = dictionaries.values()
    real, n_odd = MilvusTable.take_alias, [0]

    def take_alias(table: MilvusTable, alias: str) -> None:
        if n_odd[0]:
            n_odd[0] -= 1
            raise KeyError("an answer like no other")
        real(table, alias)

    monkeypatch.setattr(MilvusTable, "take_alias", take_alias)

    def there() -> dict[str, list[str]]:
        names = client.list_collections()
        mine = [name for name in names if name.startswith(prefix)]
        return {name: client.list_aliases(name)["aliases"] for name in mine}

    async def become(*shown: tuple[str, bool]) -> None:
        """Waits until there are these generations, with the alias or without."""
        for _ in range(1200):
            now = await asyncio.to_thread(there)
            told = sorted((n.removeprefix(alias)[:4], bool(a)) for n, a in now.items())
            if told == list(shown):
                assert all(a in ([], [alias]) for a in now.values())
                return
            await asyncio.sleep(0.05)
        raise AssertionError(told)

    async with storing(root, dictionaries, milvus_lite) as store:
        assert store.tending is not None
        prefix = store.tending._milvus.prefix
        alias = alias_of(prefix, "a-b.c_d")
        await store.create("a-b.c_d", one, SearchMeasure())
        await store.create("other", one, SearchMeasure())
        await store.write("a-b.c_d", Storing(rnas(*"abcd")))
        assert await store.delete("other") == 0
        await become(("_g0_", True))
        move = await store.moves.begin("a-b.c_d", two, PLAN)
        await follow(move)
        await become(("_g0_", True), ("_g1_", False))
        assert await move.overlap() > 0
        n_odd[0] = 2
        await store.moves.flip(move)
        await become(("_g0_", False), ("_g1_", True))
        assert await store.run("a-b.c_d", found) == list("bcd")
        await store.moves.end("a-b.c_d")
        await become(("_g1_", True))
    async with storing(root, dictionaries, milvus_lite) as store:
        assert await store.run("a-b.c_d", found) == list("bcd")
        await become(("_g1_", True))
        await store.delete("a-b.c_d")
        await become()


async def test_a_damaged_collection_keeps_no_other_from_catching_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "_POLL_S", 0.001)
    caught_up = asyncio.Event()

    class One:
        is_loaded, is_gone = True, False

        def __init__(self, is_damaged: bool) -> None:
            self.is_damaged = is_damaged

        async def run(self, work: object) -> bool:
            if self.is_damaged:
                raise CorruptArtefactError(tmp_path, "not readable")
            caught_up.set()
            return True

    owners: Any = {"a": One(True), "b": One(False)}
    milvus: Any = SimpleNamespace(
        prefix="p", root=tmp_path, is_up=True, tidy=list, close=lambda: None
    )
    moves: Any = SimpleNamespace(moves={})
    tended = tending.Tending(milvus, owners, moves)
    tended.start()
    await asyncio.wait_for(caught_up.wait(), 60)
    while tended.n_behind != 1:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    await tended.close()


async def test_a_move_waits_for_an_index_that_is_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Behind(Move):
        asked = 0

        async def overlap(self) -> float:
            self.asked += 1
            if self.asked < 3:
                raise NotReadyError("Milvus is away")
            return 0.5

    nothing: Any = None
    move = Behind("c", PLAN, nothing, nothing)
    job = reindex.Reindexing(move, nothing, nothing, nothing, Unbroken())

    async def done() -> bool:
        return True

    monkeypatch.setattr(reindex, "_POLL_S", 0.001)
    monkeypatch.setattr(job, "_catch_up", done)
    monkeypatch.setattr(job, "_exchange", done)
    await job.run()
    assert (job.progress.state, job.progress.overlap) == ("done", 0.5)


def test_another_folder_has_its_own(
    tmp_path: Path, dictionary: Dictionary, milvus_lite: MilvusLite, milvus: Milvus
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    with (
        closing(Milvus(milvus.address, second)) as other,
        closing(opened(tmp_path, dictionary, milvus)) as here,
        closing(opened(second, dictionary, other)) as there,
    ):
        here.upsert(rnas("a", "b"))
        there.upsert(rnas("a", "c"))
        other.tidy(list)
        assert found(here) == ["b"]
        # Of its own nothing was kept: it is made anew.
        with suppress(NotReadyError):
            found(there)
        assert found_soon(there) == ["c"]
    with closing(Milvus(milvus.address, second)) as again:
        assert again.prefix == other.prefix != milvus.prefix
    (second / ".milvus").write_text("../\n")
    with (
        closing(Milvus(milvus.address, second)) as damaged,
        pytest.raises(CorruptArtefactError, match="expected 12 digits"),
    ):
        _ = damaged.prefix


@pytest.mark.parametrize(
    "text",
    ["", "milvus:19530", "redis://h:1", "http://", "http://u:p@h:1", "http://h:1?to=x"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--milvus: expected http://HOST"):
        MilvusAddress.parse(text)


def test_a_token_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    told = MilvusAddress.parse(f"https://h:19530?token_file={file}&database=rna")
    assert told == MilvusAddress("https://h:19530", "rna", file)
    with closing(Milvus(told, tmp_path)) as milvus:
        with pytest.raises(NotReadyError, match="https://h:19530: .*No such file"):
            milvus.ask(lambda client: None)
        assert not milvus.is_up


def test_without_pymilvus_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_module, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'ribolex\[milvus\]'"):
        Milvus(MilvusAddress("http://h:19530"), tmp_path)
