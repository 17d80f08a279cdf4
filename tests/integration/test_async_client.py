"""The asynchronous client and a real server: the same as the synchronous one."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.conftest import OwnServer

from ribolex import client as rc
from ribolex.client import AsyncClient, Client, Rna
from ribolex.server.engine.encoding import EncodeTask

SEQUENCES = ["GGGCCCAUAGCUCAGUGGUAGAGUGCC", "acgtacgt", "G", "GGGAAACCC"]


@pytest.fixture
async def client(running_server: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(running_server, timeout_s=30) as client:
        yield client


def methods(kind: type) -> dict[str, Any]:
    """Gives what is public; __aenter__ is __enter__'s twin."""
    return {
        name: found
        for name, found in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_both_clients_have_the_same_methods_and_parameters() -> None:
    one, other = methods(Client), methods(AsyncClient)
    assert set(one) == set(other)
    assert len(one) > 12
    for name, found in one.items():
        expected = inspect.signature(found).parameters.values()
        got = inspect.signature(other[name]).parameters.values()
        assert [(p.name, p.kind, p.default) for p in expected] == [
            (p.name, p.kind, p.default) for p in got
        ], name
        assert "Ask" not in str(inspect.signature(found)), name
        is_plain = isinstance(inspect.signature(found).return_annotation, str) and (
            "Iterator" not in str(inspect.signature(found).return_annotation)
        )
        if name != "__init__" and is_plain:
            assert inspect.iscoroutinefunction(other[name]), name
        assert other[name].__doc__, name


async def test_what_one_gives_the_other_gives(
    client: AsyncClient, running_server: str
) -> None:
    name = f"async-{uuid.uuid4().hex}"
    rnas = [Rna(f"rna{i}", one) for i, one in enumerate(SEQUENCES)]
    with Client(running_server) as blocking:
        made = await client.create_collection(name)
        assert made == replace(blocking.get_collection(name), details=None)
        done: list[int] = []
        report = await client.upsert(
            name, [*rnas, Rna("bad", "X")], batch=3, on_progress=done.append
        )
        assert (report.n_inserted, report.n_rejected, done) == (4, 1, [3, 2])
        assert [one.index for one in report.rejections] == [4]
        assert [one async for one in client.list_collections()] == list(
            blocking.list_collections()
        )
        assert [one async for one in client.dictionaries()] == list(
            blocking.dictionaries()
        )
        assert (await client.get_rna(name, "rna3")).rna == rnas[3]
        found = await client.search(name, sequence=SEQUENCES[0])
        assert found.hits == blocking.search(name, sequence=SEQUENCES[0]).hits
        assert await client.feature(5) == blocking.feature(5)
        near = await client.nearest_features(feature=5)
        assert near == blocking.nearest_features(feature=5)
        assert await client.delete_collection(name) == 4
        encoded = await client.encode(SEQUENCES, level="both")
        expected = blocking.encode(SEQUENCES, level="both")
        for one, other in (
            (encoded.sequence_codes, expected.sequence_codes),
            (encoded.nucleotide_codes, expected.nucleotide_codes),
        ):
            assert one is not None
            assert other is not None
            np.testing.assert_array_equal(one.indices, other.indices)
        dense = await client.embed(SEQUENCES, layers=[1, 2])
        np.testing.assert_allclose(
            dense.activations,
            blocking.embed(SEQUENCES, layers=[1, 2]).activations,
            atol=1e-5,
        )


async def test_streams_draw_from_either_kind_of_iterable(client: AsyncClient) -> None:
    sequences = [("ACGU" * 12)[: 3 + place % 40] for place in range(70)]

    async def slowly() -> AsyncIterator[str]:
        for one in sequences:
            await asyncio.sleep(0)
            yield one

    for source in (sequences, iter(sequences), slowly()):
        batches = [
            each async for each in client.encode_stream(source, batch=16, n_ahead=2)
        ]
        assert [len(batch) for batch in batches] == [16, 16, 16, 16, 6]
        assert [batch.index for batch in batches] == [0, 1, 2, 3, 4]
        lengths = np.concatenate([batch.n_nucleotides for batch in batches])
        assert lengths.tolist() == [len(one) for one in sequences]
    rows = [each async for each in client.embed_stream(slowly(), batch=16)]
    assert [len(batch) for batch in rows] == [16, 16, 16, 16, 6]


async def test_no_more_batches_are_drawn_than_may_be_under_way(
    client: AsyncClient,
) -> None:
    drawn = 0

    def letters() -> Iterator[str]:
        nonlocal drawn
        for _ in range(100):
            drawn += 1
            yield "ACGU"

    async with aclosing(  # type: ignore[type-var]
        client.encode_stream(letters(), batch=1, n_ahead=3)
    ) as batches:
        for n_taken in range(1, 6):
            await anext(batches)
            await asyncio.sleep(0.05)
            # One more is drawn to see that a batch is full.
            assert drawn <= n_taken + 3 + 1


async def test_errors_are_those_of_the_blocking_client(client: AsyncClient) -> None:
    with pytest.raises(rc.InvalidRequestError) as caught:
        await client.encode(["ACGU"], k=7)
    assert [one.field for one in caught.value.violations] == ["options.k"]
    with pytest.raises(rc.RejectedError):
        await client.encode(["ACGU", "X"])
    with pytest.raises(rc.DictionaryNotFoundError):
        async for _ in client.encode_stream(["ACGU"], dictionary="none"):
            pass
    with pytest.raises(rc.RejectedError):
        await client.embed(["X"])
    with pytest.raises(rc.InvalidRequestError):
        await client.search("mine", sequence="A", rna="b")
    async with AsyncClient("127.0.0.1:1", timeout_s=5) as nobody:
        with pytest.raises(rc.NotReadyError, match="no server answers"):
            await nobody.encode(["ACGU"])

    def broken() -> Iterator[str]:
        yield "ACGU"
        raise ValueError("the file broke off")

    with pytest.raises(ValueError, match="broke off"):
        async for _ in client.encode_stream(broken(), batch=1):
            pass


class Slow:
    """Makes batches slow, and tells which sequences were computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.computed: list[str] = []
        self.begun = threading.Event()
        run = EncodeTask.run

        def slow(task: EncodeTask, lm: Any, laid: Any, tasks: Any) -> Any:
            self.computed += [one.text for one in tasks]
            self.begun.set()
            time.sleep(seconds)
            return run(task, lm, laid, tasks)

        monkeypatch.setattr(EncodeTask, "run", slow)


async def test_cancelling_ends_the_call_on_the_server(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one behind a slow batch is cancelled, and is never computed."""
    with own_server(batch_tokens=1) as address:
        slow = Slow(monkeypatch, 0.5)
        async with AsyncClient(address) as client:
            first = asyncio.create_task(client.encode(["AAAA"]))
            await asyncio.to_thread(slow.begun.wait, 10)
            second = asyncio.create_task(client.encode(["CCCC"]))
            third = asyncio.create_task(_all(client.encode_stream(["GGGG"])))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.encode(["UUUU"]), 0.1)
            second.cancel()
            third.cancel()
            for task in (second, third):
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert len(await first) == 1
            await client.encode(["ACGU"])
    assert slow.computed == ["AAAA", "ACGU"]


async def test_an_answer_that_is_late_is_an_error(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Slow(monkeypatch, 1.0)
    with own_server() as address:
        async with AsyncClient(address, timeout_s=0.2) as client:
            with pytest.raises(rc.TimedOutError):
                await client.encode(["AAAA"])
            with pytest.raises(rc.TimedOutError, match=r"no answer within 0\.2 s"):
                await _all(client.encode_stream(["CCCC"]))


async def test_closing_fails_what_is_under_way(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, 0.5)
    with own_server() as address:
        client = AsyncClient(address)
        calls = [
            asyncio.create_task(client.encode(["AAAA"])),
            asyncio.create_task(_all(client.encode_stream(["CCCC"]))),
        ]
        await asyncio.to_thread(slow.begun.wait, 10)
        await client.close()
        for call in calls:
            with pytest.raises(rc.CancelledError):
                await call


async def _all(batches: AsyncIterator[rc.Encoded]) -> list[rc.Encoded]:
    return [batch async for batch in batches]
