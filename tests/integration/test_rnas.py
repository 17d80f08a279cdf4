"""Stored RNAs listed and deleted: over gRPC, with both clients, from the shell."""

import asyncio
import io
import json
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import Stubs
from tests.integration.test_cli import Run, name, run
from tests.integration.test_collections import random_rnas, refused

from ribolex.client import AsyncClient, Between, Client, InvalidRequestError
from ribolex.client.tables import read_rnas
from ribolex.v1 import collection_pb2 as pb

__all__ = ["name", "run"]  # fixtures


def test_pages_of_a_list_make_up_the_list(stubs: Stubs, name: str) -> None:
    service, rnas = stubs.collections, random_rnas(10)
    service.UpsertRnas(iter([pb.UpsertRnasRequest(collection=name, rnas=rnas)]))
    request = pb.ListRnasRequest(collection=name, page_size=4)
    pages: list[list[str]] = []
    while not pages or request.page_token:
        answer = service.ListRnas(request)
        assert answer.n_rnas == 13
        pages.append([rna.name for rna in answer.rnas])
        request.page_token = answer.next_page_token
    assert [len(page) for page in pages] == [4, 4, 4, 1]
    expected = sorted([*"abc", *(rna.name for rna in rnas)])
    assert sum(pages, []) == expected
    listed = service.ListRnas(pb.ListRnasRequest(collection=name)).rnas
    assert {rna.name: rna for rna in listed}["rna03"] == rnas[3]


def test_what_is_deleted_is_gone_for_all(
    running_server: str, stubs: Stubs, name: str
) -> None:
    with Client(running_server, timeout_s=30) as client:
        assert client.delete_rnas(name, ["b", "nobody"]) == 1
        assert [rna.name for rna in client.list_rnas(name)] == ["a", "c"]
        hits = client.search(name, sequence="GGGAAACCC")
        assert "b" not in [hit.rna.name for hit in hits]
        assert client.get_collection(name).n_rnas == 2
        assert client.delete_rnas(name, where={"length": Between(50, None)}) == 1
        assert [rna.name for rna in client.list_rnas(name)] == ["c"]
        assert [*client.list_rnas(name, where={"length": Between(5, None)})] == []
        with pytest.raises(InvalidRequestError, match="expected a list"):
            client.delete_rnas(name, "c")


def test_the_asynchronous_client_lists_and_deletes(
    running_server: str, name: str
) -> None:
    async def use() -> list[str]:
        async with AsyncClient(running_server, timeout_s=30) as client:
            assert await client.delete_rnas(name, ["a"]) == 1
            return [rna.name async for rna in client.list_rnas(name)]

    assert asyncio.run(use()) == ["b", "c"]


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.DeleteRnasRequest(), ["names"]),
        (
            pb.DeleteRnasRequest(
                names=["a"],
                where=[pb.Condition(key="k", any_of=pb.Values(values=["v"]))],
            ),
            ["names"],
        ),
        (pb.DeleteRnasRequest(names=["a"] * 10_001), ["names"]),
        (pb.DeleteRnasRequest(where=[pb.Condition(key="k")]), ["where[0]"]),
        (pb.ListRnasRequest(page_size=1001), ["page_size"]),
        (pb.ListRnasRequest(where=[pb.Condition()]), ["where[0].key"]),
    ],
)
def test_what_says_not_which_rnas_deletes_none(
    stubs: Stubs,
    name: str,
    request_: pb.DeleteRnasRequest | pb.ListRnasRequest,
    fields: list[str],
) -> None:
    request_.collection = name
    service = stubs.collections
    is_list = isinstance(request_, pb.ListRnasRequest)
    failure = refused(service.ListRnas if is_list else service.DeleteRnas, request_)
    assert (failure.code.name, failure.fields) == ("INVALID_ARGUMENT", fields)
    assert service.ListRnas(pb.ListRnasRequest(collection=name)).n_rnas == 3


def test_the_shell_lists_a_table_that_add_reads(
    run: Run, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "name\tsequence\tstructure\tkind\nx\tGGGAAACCC\t(((...)))\tp\ny\tAC\t\t\n"
    Path("more.tsv").write_text(table)
    assert run("add", "more.tsv", "-c", name) == 0
    capsys.readouterr()
    assert run("rnas", "list", "-c", name, "--column", "kind") == 0
    Path("all.tsv").write_text(capsys.readouterr().out)
    listed = {rna.name: rna for rna in read_rnas(Path("all.tsv"))}
    assert sorted(listed) == [*"abcxy"]
    assert listed["x"] == next(read_rnas(Path("more.tsv")))
    assert run("rnas", "list", "-c", name, "--where", "kind=p", "--json") == 0
    (one,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (one["name"], one["metadata"]) == ("x", {"kind": "p"})
    # What is wrong with the question comes in place of the table.
    assert run("rnas", "list", "-c", name, "--where", "kin=p") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "no RNA of the collection has 'kin'" in told.err


def test_the_shell_deletes(
    run: Run,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capsys.readouterr()
    assert run("rnas", "delete", "-c", name, "a", "zz", "a") == 0
    assert capsys.readouterr().out == f"{name}: 1 deleted, 1 not there; 2 RNAs left\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO("b\n"))
    assert run("rnas", "delete", "-c", name, "-") == 0
    assert run("rnas", "delete", "-c", name, "--where", "length<=9") == 0
    assert capsys.readouterr().out.endswith(f"{name}: 1 deleted; 0 RNAs left\n")
    assert run("rnas", "delete", "-c", name) == 2


def test_a_folder_is_listed_and_deleted_from_without_a_server(
    run: Run,
    tmp_path: Path,
    tiny_model: Path,
    tiny_registry: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = ["-c", "mine", "--local", "--data", str(tmp_path / "data")]
    place += ["--model", str(tiny_model), "--registry", str(tiny_registry)]
    assert run("add", "rnas.fasta", "--dictionary", "tiny", *place) == 0
    assert run("rnas", "delete", "b", *place) == 0
    capsys.readouterr()
    assert run("rnas", "list", *place) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["name", "a", "c"]
