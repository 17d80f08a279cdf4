"""Feature queries over a real socket: with both clients, and from the shell."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, eventually
from tests.integration.test_cli import Run, run
from tests.integration.test_collections import random_rnas, refused, upsert

from ribolex import client as rc
from ribolex.client import AsyncClient, Client
from ribolex.server.index.feature_search import FeatureScan
from ribolex.v1 import codes_pb2
from ribolex.v1 import collection_pb2 as pb

__all__ = ["run"]  # a fixture


@pytest.fixture(scope="module")
def name(running_server: str) -> Iterator[str]:
    """A collection of 40 RNAs."""
    stubs, name = connect(running_server), f"q-{uuid.uuid4().hex}"
    with stubs.channel:
        stubs.collections.CreateCollection(pb.CreateCollectionRequest(name=name))
        upsert(stubs, name, random_rnas(40))
        yield name
        stubs.collections.DeleteCollection(pb.DeleteCollectionRequest(name=name))


@pytest.fixture
def client(running_server: str) -> Iterator[Client]:
    with Client(running_server, timeout_s=30) as client:
        yield client


@pytest.fixture
def feature(client: Client, name: str) -> int:
    """A feature that fires in some RNAs of the collection and not in others."""
    n_rnas = {
        feature: len(list(client.search_features_pages(name, f"{feature}")))
        for feature in range(0, 96, 4)
    }
    return next(feature for feature, n in n_rnas.items() if 5 < n < 35)


def firings(client: Client, name: str, feature: int) -> dict[str, dict[int, float]]:
    """Returns where a feature fires, as the stored codes say."""
    found: dict[str, dict[int, float]] = {}
    for rna in client.list_rnas(name):
        codes = client.get_rna(name, rna.name, level="nucleotide").nucleotide_codes
        assert codes is not None
        matrix = codes.toscipy().toarray()[:, feature]
        own = {i: float(value) for i, value in enumerate(matrix) if value > 0}
        if own:
            found[rna.name] = own
    return found


def test_a_feature_is_found_wherever_the_stored_codes_have_it(
    client: Client, name: str, feature: int
) -> None:
    expected = firings(client, name, feature)
    found = client.search_features(name, f"f{feature}", count=True)
    assert (found.n_matching, found.n_rnas, found.n_searched) == (len(expected), 40, 40)
    assert [one.rna.name for one in found] == sorted(expected)
    for match in found:
        values = expected[match.rna.name]
        places = [i for one in match.stretches for i in range(one.start, one.stop)]
        assert places == sorted(values)
        for one in match.stretches:
            peak = max(values[i] for i in range(one.start, one.stop))
            assert one.max_activation == pytest.approx(peak)
    strong = sorted(max(values.values()) for values in expected.values())[2]
    kept = client.search_features(name, f"{feature}>{strong}", count=True)
    assert kept.n_matching == len(expected) - 3
    (told,) = found.features
    assert (told.id, told.label) == (feature, f"feature {feature} of seed 0")
    assert str(found.dictionary) == "tiny@1"


def test_pages_make_up_the_answer(client: Client, name: str, feature: int) -> None:
    query = f"{feature} or not {feature} within 5 of start"
    whole = client.search_features(name, query, page_size=1000)
    assert not whole.next_page_token
    pages: list[rc.FeatureMatches] = []
    token = ""
    while not pages or token:
        page = client.search_features(name, query, page_size=7, page_token=token)
        pages.append(page)
        token = page.next_page_token
    assert [len(page) for page in pages[:-1]] == [7] * (len(pages) - 1)
    assert sum((page.matches for page in pages), ()) == whole.matches
    assert tuple(client.search_features_pages(name, query)) == whole.matches


def test_changes_are_seen_at_once(client: Client) -> None:
    name = f"q-{uuid.uuid4().hex}"
    client.create_collection(name)
    client.upsert(name, [rc.Rna("a", "GGGAAACCC"), rc.Rna("b", "GGGAAACCC")])
    (query, *_) = (
        f"{i}" for i in range(96) if len(client.search_features(name, f"{i}"))
    )
    assert [one.rna.name for one in client.search_features(name, query)] == ["a", "b"]
    client.delete_rnas(name, ["a"])
    assert [one.rna.name for one in client.search_features(name, query)] == ["b"]
    client.upsert(name, [rc.Rna("0", "GGGAAACCC")])
    found = client.search_features(name, query, where={"length": rc.Between(9, 9)})
    assert [one.rna.name for one in found] == ["0", "b"]
    client.delete_collection(name)


def test_the_asynchronous_client_asks_the_same(
    running_server: str, client: Client, name: str, feature: int
) -> None:
    async def use() -> tuple[rc.FeatureMatches, list[rc.FeatureMatch]]:
        async with AsyncClient(running_server, timeout_s=30) as client:
            page = await client.search_features(name, f"{feature}")
            rest = client.search_features_pages(name, f"{feature}")
            return page, [one async for one in rest]

    page, matches = asyncio.run(use())
    assert page.matches == tuple(matches)
    assert page.matches == client.search_features(name, f"{feature}").matches


@pytest.mark.parametrize(
    ("request_", "code", "fields"),
    [
        (pb.SearchFeaturesRequest(), "INVALID_ARGUMENT", ["query[0]"]),
        (
            pb.SearchFeaturesRequest(query="5 withn 3"),
            "INVALID_ARGUMENT",
            ["query[2]"],
        ),
        (pb.SearchFeaturesRequest(query="1" * 4097), "INVALID_ARGUMENT", ["query"]),
        (pb.SearchFeaturesRequest(query="95, 96"), "NOT_FOUND", []),
        (
            pb.SearchFeaturesRequest(query="5", page_size=1001),
            "INVALID_ARGUMENT",
            ["page_size"],
        ),
        (
            pb.SearchFeaturesRequest(query="5", page_token="what?"),
            "INVALID_ARGUMENT",
            ["page_token"],
        ),
        (
            pb.SearchFeaturesRequest(query="5", where=[pb.Condition(key="k")]),
            "INVALID_ARGUMENT",
            ["where[0]"],
        ),
        (
            pb.SearchFeaturesRequest(
                query="5", dictionary=codes_pb2.DictionaryRef(name="tiny", version=2)
            ),
            "FAILED_PRECONDITION",
            [],
        ),
        (
            pb.SearchFeaturesRequest(
                query="5", dictionary=codes_pb2.DictionaryRef(name="none")
            ),
            "NOT_FOUND",
            [],
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(
    stubs: Stubs,
    name: str,
    request_: pb.SearchFeaturesRequest,
    code: str,
    fields: list[str],
) -> None:
    request_.collection = name
    failure = refused(stubs.collections.SearchFeatures, request_)
    assert (failure.code.name, failure.fields) == (code, fields)


def test_a_page_of_another_search_is_refused(
    stubs: Stubs, client: Client, name: str
) -> None:
    token = client.search_features(name, "5 or not 5", page_size=3).next_page_token
    for asked in ("5 or not 6", "5  or not 5"):
        request = pb.SearchFeaturesRequest(
            collection=name, query=asked, page_token=token
        )
        failure = refused(stubs.collections.SearchFeatures, request)
        assert failure.fields == ["page_token"]
    nobody = pb.SearchFeaturesRequest(collection="nobody", query="5")
    assert refused(stubs.collections.SearchFeatures, nobody).code.name == "NOT_FOUND"


def test_who_waits_no_longer_is_not_worked_for(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []

    def endless(scan: FeatureScan, source: object) -> bool:
        steps.append(scan)
        return False

    monkeypatch.setattr(FeatureScan, "step", endless)
    with own_server() as address:
        stubs = connect(address)
        with stubs.channel:
            create = pb.CreateCollectionRequest(name="mine")
            stubs.collections.CreateCollection(create)
            asked = pb.SearchFeaturesRequest(collection="mine", query="5")
            with pytest.raises(grpc.RpcError) as caught:
                stubs.collections.SearchFeatures(asked, timeout=0.5)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            known = set(map(id, steps))
            call = stubs.collections.SearchFeatures.future(asked)
            eventually(lambda: not known.issuperset(map(id, steps)))
            call.cancel()
            # Others are answered meanwhile, and the scan has come to its end.
            listed = pb.ListRnasRequest(collection="mine")
            assert stubs.collections.ListRnas(listed, timeout=10).n_rnas == 0
            n_steps = len(steps)
            for _ in range(5):
                stubs.collections.ListRnas(listed, timeout=10)
            assert len(steps) <= n_steps + 1


def test_the_shell_prints_what_is_found_and_where(
    run: Run,
    client: Client,
    name: str,
    feature: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    expected = client.search_features(name, f"{feature}", count=True)
    assert run("feature", "find", f"{feature}", "-c", name, "--limit", "3") == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert f"{expected.n_matching} among 40 RNAs match, by tiny@1" in out
    assert f"... {(expected.n_matching or 0) - 3} more" in out
    first = expected.matches[0]
    assert f"{first.rna.name}  {len(first.rna.sequence)} nt" in out
    one = first.stretches[0]
    assert f"at {one.start + 1}" in out
    assert run("feature", "find", f"{feature}", "-c", name, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["rna"]["name"] for line in lines] == [m.rna.name for m in expected]
    assert lines[0]["stretches"][0]["start"] == one.start


def test_the_shell_points_at_the_character(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("feature", "find", "5 before 7 wihtin 3 of 9", "-c", name) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("ribolex: query, character 12: 'wihtin' found, expected")
    assert said[1:] == ["  5 before 7 wihtin 3 of 9", "             ^"]
    assert run("feature", "find", "5, 4096", "-c", name) == 1
    assert "feature 4096" in capsys.readouterr().err
    assert run("feature", "find", "5", "-c", name, "--where", "x") == 1
    assert "'x' is no condition" in capsys.readouterr().err


def test_files_have_every_place_as_their_programs_count(
    run: Run, client: Client, name: str, feature: int
) -> None:
    expected = [
        (match.rna, one)
        for match in client.search_features_pages(name, f"{feature}")
        for one in match.stretches
    ]
    for file in ("x.bed", "x.gff3", "x.txt"):
        assert run("feature", "find", f"{feature}", "-c", name, "-o", file) == 0
    bed = [row(line) for line in lines_of("x.bed")]
    assert [(r[0], int(r[1]), int(r[2]), r[3]) for r in bed] == [
        (rna.name, one.start, one.stop, f"f{feature}") for rna, one in expected
    ]
    assert all(0 <= int(r[4]) <= 1000 and r[5] == "+" for r in bed)
    gff = [row(line) for line in lines_of("x.gff3")]
    assert [(r[0], int(r[3]) - 1, int(r[4])) for r in gff] == [
        (rna.name, one.start, one.stop) for rna, one in expected
    ]
    assert Path("x.gff3").read_text().startswith("##gff-version 3\n")
    header, *rows = map(row, lines_of("x.txt"))
    assert header[:4] == ["rna", "feature", "start", "end"]
    assert [r[5] for r in rows] == [
        rna.sequence[one.start : one.stop] for rna, one in expected
    ]


def row(line: str) -> list[str]:
    return line.split("\t")


def lines_of(file: str) -> list[str]:
    lines = Path(file).read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_a_folder_without_the_collection_needs_no_server(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("feature", "find", "5", "-c", "mine", "--local", "--data", "data")
    assert run(*asked) == 1
    assert "no collection 'mine' in data" in capsys.readouterr().err
