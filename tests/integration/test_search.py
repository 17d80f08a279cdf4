"""Searches over a real socket: filters, pages, streams, and callers that leave."""

import threading
import time
import uuid
from collections.abc import Iterator

import grpc
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, failure_of
from tests.integration.test_collections import random_rnas, refused, upsert

from ribolex import client as rc
from ribolex.client import AsyncClient, Client
from ribolex.server.index.collection import Collection
from ribolex.v1 import codes_pb2
from ribolex.v1 import collection_pb2 as pb

KINDS = ("Gene;tRNA", "Gene;rRNA", "Cis-reg;riboswitch")


@pytest.fixture(scope="module")
def name(running_server: str) -> Iterator[str]:
    """A collection of 40 RNAs of three types."""
    stubs, name = connect(running_server), f"s-{uuid.uuid4().hex}"
    with stubs.channel:
        stubs.collections.CreateCollection(pb.CreateCollectionRequest(name=name))
        rnas = random_rnas(40)
        for i, rna in enumerate(rnas):
            rna.metadata["type"] = KINDS[i % 3]
            rna.metadata["year"] = str(1990 + i)
        upsert(stubs, name, rnas)
        yield name
        stubs.collections.DeleteCollection(pb.DeleteCollectionRequest(name=name))


@pytest.fixture
def client(running_server: str) -> Iterator[Client]:
    with Client(running_server, timeout_s=30) as client:
        yield client


def _is_no_trna(rna: rc.Rna) -> bool:
    return rna.metadata["type"] != KINDS[0]


def test_only_what_fulfils_the_conditions_is_searched(
    client: Client, name: str
) -> None:
    everything = client.search(name, rna="rna00", top_k=100)
    assert (everything.n_rnas, everything.n_searched) == (40, 40)
    for where, holds in (
        ({"type": "tRNA"}, lambda rna: rna.metadata["type"] == KINDS[0]),
        (
            {"type": ["rRNA", "riboswitch"]},
            lambda rna: rna.metadata["type"] != KINDS[0],
        ),
        ({"type": rc.NoneOf(["Gene"])}, lambda rna: rna.metadata["type"] == KINDS[2]),
        ({"length": rc.Between(20, 30)}, lambda rna: 20 <= len(rna.sequence) <= 30),
        (
            [("year", rc.Between(2000)), ("year", rc.Between(None, 2005))],
            lambda rna: 2000 <= int(rna.metadata["year"]) <= 2005,
        ),
        ({"type": "x"}, lambda rna: False),
    ):
        found = client.search(name, rna="rna00", top_k=100, where=where)
        expected = [hit.rna.name for hit in everything if holds(hit.rna)]
        assert [hit.rna.name for hit in found] == expected
        assert found.n_searched - len(expected) in (0, 1)  # the query itself


def test_pages_together_are_the_whole_answer(
    client: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ribolex.client.search._PAGE_SIZE", 7)
    whole = client.search(name, rna="rna03", top_k=30)
    pages = list(client.search_pages(name, rna="rna03", top_k=30))
    assert pages == list(whole)


def test_a_page_goes_on_where_the_last_one_ended_whatever_was_stored(
    stubs: Stubs, name: str
) -> None:
    request = pb.SearchSimilarRequest(
        collection=name, rna="rna04", top_k=20, page_size=5
    )
    first = stubs.collections.SearchSimilar(request)
    assert (len(first.hits), bool(first.next_page_token)) == (5, True)
    twin = pb.RnaRecord(name="twin", sequence=first.hits[0].rna.sequence)
    upsert(stubs, name, [twin])
    request.page_token = first.next_page_token
    names = {hit.rna.name for hit in stubs.collections.SearchSimilar(request).hits}
    stubs.collections.DeleteRnas(pb.DeleteRnasRequest(collection=name, names=["twin"]))
    assert names.isdisjoint({"twin", *(hit.rna.name for hit in first.hits)})


@pytest.mark.parametrize("token", ["x", "W10=", "é", "WyJhIiwgImIiLCAiYyIsIDFd"])
def test_what_is_no_token_is_refused(stubs: Stubs, name: str, token: str) -> None:
    request = pb.SearchSimilarRequest(collection=name, rna="rna00", page_token=token)
    failure = refused(stubs.collections.SearchSimilar, request)
    assert (failure.code.name, failure.fields) == ("INVALID_ARGUMENT", ["page_token"])


def test_a_token_of_another_search_is_refused(stubs: Stubs, name: str) -> None:
    request = pb.SearchSimilarRequest(collection=name, rna="rna00", page_size=1)
    request.page_token = stubs.collections.SearchSimilar(request).next_page_token
    request.rna = "rna01"
    failure = refused(stubs.collections.SearchSimilar, request)
    assert "another search" in failure.message


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"sensitivity": 9}, "sensitivity"),
        ({"max_e_value": 0.0}, "max_e_value"),
        ({"max_e_value": float("nan")}, "max_e_value"),
        ({"max_e_value": 1.0, "sensitivity": 1}, "max_e_value"),
        ({"page_size": 1001}, "page_size"),
        ({"where": [pb.Condition()]}, "where[0].key"),
        ({"where": [pb.Condition(key="a")]}, "where[0]"),
        ({"where": [pb.Condition(key="a", any_of=pb.Values())]}, "where[0].any_of"),
        (
            {"where": [pb.Condition(key="a", range=pb.Range(min=2, max=1))]},
            "where[0].range",
        ),
        ({"where": [pb.Condition(key="a")] * 65}, "where"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(
    stubs: Stubs, name: str, options: dict[str, object], field: str
) -> None:
    request = pb.SearchSimilarRequest(collection=name, rna="rna00", **options)  # type: ignore[arg-type]
    failure = refused(stubs.collections.SearchSimilar, request)
    assert (failure.code.name, failure.fields) == ("INVALID_ARGUMENT", [field])


def test_without_an_alignment_model_only_fast_searches_are_made(
    stubs: Stubs, client: Client, name: str
) -> None:
    assert client.search(name, rna="rna00").sensitivity == "fast"
    for options in ({"sensitivity": 2}, {"sensitivity": 3}, {"max_e_value": 1.0}):
        request = pb.SearchSimilarRequest(collection=name, rna="rna00", **options)
        failure = refused(stubs.collections.SearchSimilar, request)
        assert failure.code.name == "FAILED_PRECONDITION"
        assert "alignment model is missing" in failure.message
    with pytest.raises(rc.IncompatibleDictionaryError, match="alignment model"):
        client.align("ACGU", "ACGU")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.AlignRequest(), "query"),
        (pb.AlignRequest(query_sequence="A"), "target"),
        (pb.AlignRequest(query_sequence="A", target_rna="b"), "collection"),
        (
            pb.AlignRequest(
                query_sequence="A",
                target_sequence="A",
                collection="c",
                dictionary=codes_pb2.DictionaryRef(),
            ),
            "dictionary",
        ),
    ],
)
def test_an_alignment_of_nothing_is_refused(
    stubs: Stubs, request_: pb.AlignRequest, field: str
) -> None:
    failure = refused(stubs.collections.Align, request_)
    assert (failure.code.name, failure.fields) == ("INVALID_ARGUMENT", [field])


def test_a_stream_gives_what_single_searches_give(client: Client, name: str) -> None:
    queries = [rna.sequence for rna in random_rnas(12, seed=5)]
    single = [client.search(name, sequence=one, top_k=3) for one in queries]
    many = list(client.search_stream(name, iter(queries), top_k=3))
    assert [each.hits for each in many] == [each.hits for each in single]


async def test_a_stream_can_be_awaited(running_server: str, name: str) -> None:
    async with AsyncClient(running_server, timeout_s=30) as client:
        stream = client.search_stream(name, ["ACGUACGUAC", "GGGAAACCC"], top_k=1)
        found = [each async for each in stream]
        pages = [hit async for hit in client.search_pages(name, rna="rna00", top_k=3)]
    assert [len(each) for each in found] == [1, 1]
    assert len(pages) == 3


def test_a_fault_in_one_query_rejects_that_query_only(
    client: Client, stubs: Stubs, name: str
) -> None:
    sequences = ["ACGU", "", "AXGU", "GGGAAACCC"]
    found = list(client.search_stream(name, sequences, on_rejection="skip"))
    assert [each.rejection is None for each in found] == [True, False, False, True]
    assert "'X' at position 2" in (found[2].rejection or found).message  # type: ignore[union-attr]
    with pytest.raises(rc.RejectedError):
        list(client.search_stream(name, sequences))
    nobody = pb.SearchSimilarRequest(collection=name, rna="nobody")
    stream = iter([pb.SearchSimilarStreamRequest(request=nobody)])
    (answer,) = stubs.collections.SearchSimilarStream(stream)
    assert answer.rejection.reason == 4


def test_what_is_no_fault_of_a_query_ends_the_stream_in_its_turn(
    stubs: Stubs, name: str
) -> None:
    requests = [
        pb.SearchSimilarRequest(collection=name, rna="rna00", top_k=1),
        pb.SearchSimilarRequest(collection="nowhere", rna="rna00"),
        pb.SearchSimilarRequest(collection=name, rna="rna00"),
    ]
    stream = (pb.SearchSimilarStreamRequest(request=one) for one in requests)
    answers = stubs.collections.SearchSimilarStream(stream)
    assert next(answers).response.hits
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert failure_of(caught.value).reason == "COLLECTION_NOT_FOUND"


@pytest.fixture
def slow(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """A server whose searches never end by themselves; says when one has ended.

    `begun` is set while one works.
    """
    begun, ended = threading.Event(), threading.Event()
    search = Collection.search

    def endless(self: Collection, query: object, how: object) -> object:
        try:
            while how.limit == 9:  # type: ignore[attr-defined]
                begun.set()
                time.sleep(0.01)
                how.check()  # type: ignore[attr-defined]
        except TimeoutError:
            ended.set()
            raise
        return search(self, query, how)  # type: ignore[arg-type]

    monkeypatch.setattr(Collection, "search", endless)
    with own_server() as address:
        stubs = connect(address)
        with stubs.channel:
            stubs.collections.CreateCollection(pb.CreateCollectionRequest(name="c"))
            upsert(stubs, "c", random_rnas(3))
        yield address, begun, ended


def test_a_search_ends_with_its_deadline(
    slow: tuple[str, threading.Event, threading.Event],
) -> None:
    address, _, ended = slow
    stubs = connect(address)
    request = pb.SearchSimilarRequest(collection="c", rna="rna00", top_k=9)
    with stubs.channel, pytest.raises(grpc.RpcError) as caught:
        stubs.collections.SearchSimilar(request, timeout=1.0)
    assert failure_of(caught.value).code.name == "DEADLINE_EXCEEDED"
    assert ended.wait(10)


def test_a_search_ends_when_its_caller_leaves(
    slow: tuple[str, threading.Event, threading.Event],
) -> None:
    address, begun, ended = slow
    stubs = connect(address)
    request = pb.SearchSimilarRequest(collection="c", rna="rna00", top_k=9)
    with stubs.channel:
        call = stubs.collections.SearchSimilar.future(request)
        assert begun.wait(10)
        assert not ended.is_set()
        call.cancel()
        assert ended.wait(10)
        request.top_k = 2
        # Whoever comes next is served.
        assert len(stubs.collections.SearchSimilar(request, timeout=20).hits) == 2


def test_a_fast_search_can_be_exact(client: Client, name: str) -> None:
    whole = client.search(name, rna="rna00", sensitivity="fast", exact=True, top_k=39)
    assert len(whole) == 39
    with pytest.raises(
        rc.InvalidRequestError, match="exact: true, expected SENSITIVITY_F"
    ):
        client.search(name, rna="rna00", sensitivity="exhaustive", exact=True)
