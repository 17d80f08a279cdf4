"""Collections that move to another dictionary while they are read and written."""

import asyncio
import itertools
import signal
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, failure_of
from tests.integration.test_cli import Run, name, run
from tests.integration.test_lifecycle import process
from tests.integration.test_snapshots import rnas

from ribolex.client import AsyncClient, Client, DictionaryRef
from ribolex.v1 import codes_pb2
from ribolex.v1 import collection_pb2 as pb

__all__ = ["name", "run"]  # fixtures

TWO = DictionaryRef("tiny", 2)


def names(client: Client, collection: str) -> set[str]:
    return {rna.name for rna in client.list_rnas(collection)}


def same_hits(client: Client, one: str, other: str) -> None:
    for query in rnas(5):
        found = [
            client.search(each, sequence=query.sequence, top_k=10)
            for each in (one, other)
        ]
        assert found[0].dictionary == found[1].dictionary
        pairs = [[(hit.rna.name, hit.score) for hit in hits] for hits in found]
        assert pairs[0] == pairs[1]
        assert pairs[0]


def test_a_collection_moves_under_load_and_loses_nothing(
    running_server: str, name: str
) -> None:
    stop, failures = threading.Event(), list[BaseException]()
    there, gone, seen = set[str](), set[str](), set[DictionaryRef]()

    def going_on(step: Any) -> threading.Thread:
        def go() -> None:
            try:
                with Client(running_server, timeout_s=60) as client:
                    for number in itertools.count(1):
                        if stop.is_set():
                            return
                        step(client, number)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=go)
        thread.start()
        return thread

    def write(client: Client, number: int) -> None:
        some = rnas(4, number)
        client.upsert(name, some)
        there.update(rna.name for rna in some)
        client.delete_rnas(name, [some[0].name])
        there.discard(some[0].name)
        gone.add(some[0].name)

    def search(client: Client, number: int) -> None:
        hits = client.search(name, sequence=rnas(3)[number % 3].sequence, top_k=3)
        assert len(hits) == 3
        seen.add(hits.dictionary)

    with Client(running_server, timeout_s=60) as client:
        client.upsert(name, rnas(200))
        threads = [going_on(write), going_on(search), going_on(search)]
        states = list(client.reindex(name, TWO, max_share=0.9))
        for _ in range(2):  # some more of both, under the new one
            client.search(name, sequence="GGGAAACCC")
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert states[-1].state == "done"
        assert states[-1].overlap is not None
        found = client.get_collection(name)
        assert (found.dictionary, found.details is not None) == (TWO, True)
        assert found.details is not None
        assert found.details.kept == DictionaryRef("tiny", 1)
        assert found.details.kept_bytes > 0 == found.details.coming_bytes
        now = names(client, name)
        assert there <= now
        assert not gone & now
        # As if it had been made under that dictionary.
        fresh = f"{name}-fresh"
        client.create_collection(fresh, dictionary=TWO)
        client.upsert(fresh, client.list_rnas(name))
        same_hits(client, name, fresh)
        client.delete_collection(fresh)
        # Back, with what was written since; then nothing but it is left.
        client.upsert(name, [rnas(1, 999)[0]])
        last = list(client.reindex(name, "tiny@1"))[-1]
        assert last.state == "done"
        assert names(client, name) == now | {rnas(1, 999)[0].name}
        assert client.end_reindex(name).dictionary == DictionaryRef("tiny", 1)
        details = client.get_collection(name).details
        assert details is not None
        assert (details.kept, details.coming) == (None, None)
        assert (details.kept_bytes, details.coming_bytes) == (0, 0)


def test_too_little_overlap_holds_it_and_less_is_asked_for_then(
    running_server: str, name: str
) -> None:
    with Client(running_server, timeout_s=60) as client:
        client.upsert(name, rnas(40))
        held = list(client.reindex(name, TWO, min_overlap=1.0, max_share=1.0))[-1]
        assert held.state == "held"
        assert held.overlap is not None
        assert 0 < held.overlap < 1
        found = client.get_collection(name)
        assert found.dictionary == DictionaryRef("tiny", 1)
        assert found.details is not None
        assert found.details.coming == TWO
        client.upsert(name, rnas(3, 7))
        moved = list(client.reindex(name, TWO, min_overlap=held.overlap / 2))[-1]
        assert moved.state == "done"
        assert client.get_collection(name).n_rnas == 46


@pytest.mark.parametrize(
    ("fields", "code", "at"),
    [
        ({"dictionary": ("tiny", 1)}, "INVALID_ARGUMENT", ["dictionary"]),
        ({"dictionary": ("tiny", 9)}, "NOT_FOUND", []),
        ({"dictionary": ("other", 1)}, "FAILED_PRECONDITION", []),
        ({"max_share": 0.0}, "INVALID_ARGUMENT", ["max_share"]),
        ({"min_overlap": 1.1}, "INVALID_ARGUMENT", ["min_overlap"]),
        ({"collection": "nobody"}, "NOT_FOUND", []),
    ],
)
def test_what_cannot_be_is_refused(
    stubs: Stubs, name: str, fields: dict[str, Any], code: str, at: list[str]
) -> None:
    to = codes_pb2.DictionaryRef(name="tiny", version=2)
    if "dictionary" in fields:
        ref, version = fields.pop("dictionary")
        to = codes_pb2.DictionaryRef(name=ref, version=version)
    asked: dict[str, Any] = {"collection": name, "dictionary": to} | fields
    request = pb.ReindexRequest(**asked)
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.collections.Reindex(request))
    failure = failure_of(caught.value)
    assert (failure.code.name, failure.fields) == (code, at)


def test_it_can_be_ended_and_deleted_on_the_way(running_server: str, name: str) -> None:
    with Client(running_server, timeout_s=60) as client:
        client.upsert(name, rnas(150))
        slow = client.reindex(name, TWO, max_share=0.01)
        assert next(slow).state == "encoding"
        with pytest.raises(Exception, match="on its way to tiny@2|indexed under"):
            list(client.reindex(name, "tiny@1"))
        assert client.end_reindex(name).dictionary.version == 1
        with pytest.raises(Exception, match="ended"):
            list(slow)
        other = f"{name}-other"
        client.create_collection(other)
        client.upsert(other, rnas(150))
        slow = client.reindex(other, TWO, max_share=0.01)
        next(slow)
        assert client.delete_collection(other) == 150
        with pytest.raises(Exception, match="ended"):
            list(slow)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_server_killed_on_the_way_goes_on(
    tmp_path: Path, tiny_settings: dict[str, Any], own_server: OwnServer
) -> None:
    data = tmp_path / "data"
    expected = {rna.name for rna in rnas(300)}
    with process(tiny_settings, data) as server:
        client = Client(server.address, timeout_s=60)
        with client:
            client.create_collection("c")
            client.upsert("c", rnas(300))
            states = client.reindex("c", TWO, max_share=0.05)
            begun = next(one for one in states if one.n_done)
            assert begun.n_done < 300
            client.upsert("c", rnas(3, 1))
            expected |= {rna.name for rna in rnas(3, 1)}
            server.popen.send_signal(signal.SIGKILL)
            server.popen.wait(timeout=10)
    with own_server() as address, Client(address, timeout_s=60) as client:
        found = client.get_collection("c")
        assert found.dictionary == DictionaryRef("tiny", 1)
        assert found.details is not None
        assert found.details.coming == TWO
        # It goes on by itself; who asks joins it, and nothing is done twice.
        first, *_, last = client.reindex("c", TWO, max_share=1.0)
        assert first.n_done >= begun.n_done
        assert last.state == "done"
        assert names(client, "c") == expected
        client.create_collection("fresh", dictionary=TWO)
        client.upsert("fresh", client.list_rnas("c"))
        same_hits(client, "c", "fresh")


def test_the_asynchronous_client_sees_it_too(running_server: str, name: str) -> None:
    async def use() -> list[str]:
        async with AsyncClient(running_server, timeout_s=60) as client:
            states = [one.state async for one in client.reindex(name, TWO)]
            await client.end_reindex(name)
            return list(states)

    assert asyncio.run(use())[-1] == "done"


def test_the_shell_moves_a_collection(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    command = ["collections", "reindex", name, "--dictionary", "tiny@2"]
    assert run(*command) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{name}: 3 RNAs under tiny@2, overlap@10 ")
    assert run("collections", "show", name) == 0
    assert "kept" in capsys.readouterr().out
    assert run("collections", "end-reindex", name) == 0
    assert run(*command) == 1
    assert "is what" in capsys.readouterr().err


def test_who_asks_while_it_moves_is_asked_to_ask_again(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sequence encoded for the dictionary before is never compared under the next."""
    from ribolex.server.index import store

    with own_server() as address, Client(address, timeout_s=60) as client:
        client.create_collection("c")
        client.upsert("c", rnas(30))
        real, moved = store.CollectionStore.run, threading.Event()

        async def late(self: Any, name: str, job: Any, under: str = "") -> Any:
            if under and not moved.is_set():
                moved.set()

                def move() -> None:
                    with Client(address, timeout_s=60) as other:
                        list(other.reindex("c", TWO, max_share=1.0))

                await asyncio.to_thread(move)
            return await real(self, name, job, under)

        monkeypatch.setattr(store.CollectionStore, "run", late)
        hits = client.search("c", sequence="GGGAAACCCUU")
        assert moved.is_set()
        assert hits.dictionary == TWO
        assert hits
