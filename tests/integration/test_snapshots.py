"""Collections saved and restored: over gRPC, with both clients, from the shell."""

import asyncio
import json
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import Failure, Stubs, failure_of
from tests.integration.test_cli import Run, name, run
from tests.integration.test_collections import random_rnas

from ribolex.client import (
    AsyncClient,
    Client,
    CollectionExistsError,
    CorruptArtefactError,
    CorruptInputError,
    IncompatibleDictionaryError,
    InvalidRequestError,
    Rna,
)
from ribolex.v1 import collection_pb2 as pb

__all__ = ["name", "run"]  # fixtures


def rnas(n: int, seed: int = 0) -> list[Rna]:
    return [
        Rna(f"{one.name}-{seed}", one.sequence, None, dict(one.metadata))
        for one in random_rnas(n, seed)
    ]


def refusal(stubs: Stubs, content: bytes, name: str = "") -> Failure:
    def messages() -> Iterator[pb.RestoreRequest]:
        yield pb.RestoreRequest(name=name, chunk=content[:1000])
        yield pb.RestoreRequest(chunk=content[1000:])

    with pytest.raises(grpc.RpcError) as caught:
        stubs.collections.Restore(messages())
    return failure_of(caught.value)


def told_again(content: bytes, **changes: object) -> bytes:
    """Gives a snapshot whose last line says something else, with the right digest."""
    records, _, line = content.rstrip(b"\n").rpartition(b"\n")
    fields = json.loads(line.rpartition(b" ")[0]) | changes
    whole = records + b"\n" + json.dumps(fields).encode() + b" "
    return whole + sha256(whole).hexdigest().encode() + b"\n"


def test_a_collection_is_restored_while_it_is_written_to(
    running_server: str, name: str, tmp_path: Path
) -> None:
    file, acknowledged = tmp_path / "saved", list[str]()
    begun, stop = threading.Event(), threading.Event()

    def write_on() -> None:
        with Client(running_server, timeout_s=30) as client:
            for seed in range(1, 1000):
                if stop.is_set():
                    return
                some = rnas(5, seed)
                client.upsert(name, some)
                acknowledged.extend(rna.name for rna in some)
                begun.set()

    with Client(running_server, timeout_s=60) as client:
        client.upsert(name, rnas(40))
        writer = threading.Thread(target=write_on)
        writer.start()
        begun.wait(30)
        before = set(acknowledged)
        n_bytes: list[int] = []
        told = client.snapshot(name, file, on_progress=n_bytes.append)
        stop.set()
        writer.join()
        assert sum(n_bytes) == told.size_bytes == file.stat().st_size
        new = client.restore(file, name=f"{name}-new")
        assert (new.n_rnas, str(new.dictionary)) == (told.n_rnas, "tiny@1")
        there = {rna.name for rna in client.list_rnas(new.name)}
        assert before <= there
        # Changes are there whole: five RNAs each.
        assert (len(there) - 43) % 5 == 0
        # Back to what the snapshot holds: both find the same.
        late = [n for n in acknowledged if n not in there]
        client.delete_rnas(name, late)
        for query in rnas(5):
            hits = [
                client.search(each, sequence=query.sequence, top_k=20)
                for each in (name, new.name)
            ]
            pairs = [[(hit.rna.name, hit.score) for hit in found] for found in hits]
            assert pairs[0] == pairs[1]
            assert pairs[0]
        with pytest.raises(CollectionExistsError):
            client.restore(file)
        client.delete_collection(new.name)


def test_what_cannot_be_restored_leaves_nothing(
    running_server: str, stubs: Stubs, name: str, tmp_path: Path
) -> None:
    file = tmp_path / "saved"
    with Client(running_server, timeout_s=60) as client:
        client.snapshot(name, file)
        content = file.read_bytes()
        changed = bytearray(content)
        changed[3000] ^= 4
        table = [
            (bytes(changed), "x", "DATA_LOSS", ""),
            (content[:-100], "x", "INVALID_ARGUMENT", ""),
            (b"what is this", "x", "INVALID_ARGUMENT", ""),
            (b"", "x", "INVALID_ARGUMENT", ""),
            (content, "a/b", "INVALID_ARGUMENT", "name"),
            (content, name, "ALREADY_EXISTS", ""),
            (content, "", "ALREADY_EXISTS", ""),
        ]
        for sent, new, code, field in table:
            failure = refusal(stubs, sent, new)
            assert failure.code.name == code, failure.message
            assert failure.fields == ([field] if field else [])
        with pytest.raises(grpc.RpcError) as caught:
            stubs.collections.Restore(iter(()))
        assert failure_of(caught.value).fields == ["chunk"]
        assert {one.name for one in client.list_collections()}.isdisjoint({"x", "a/b"})
        file.write_bytes(changed)
        with pytest.raises(CorruptArtefactError):
            client.restore(file, name="x")
        file.write_bytes(b"")
        with pytest.raises(InvalidRequestError):
            client.restore(file, name="x")


def test_an_unknown_dictionary_is_told_by_name(
    own_server: OwnServer, tmp_path: Path, running_server: str, name: str
) -> None:
    file = tmp_path / "saved"
    with Client(running_server, timeout_s=60) as client:
        client.snapshot(name, file)
    with own_server() as address, Client(address, timeout_s=60) as client:
        other = tmp_path / "other"
        # Both the table and the last line name a version that is not there.
        content = file.read_bytes().replace(b'"version": 1', b'"version": 7')
        content = told_again(content, dictionary="tiny@7")
        other.write_bytes(content)
        with pytest.raises(IncompatibleDictionaryError, match="'tiny@7'.* unknown"):
            client.restore(other)
        assert list(client.list_collections()) == []
        assert client.restore(file, name="mine").n_rnas == 3
    assert {p.name for p in (tmp_path / "data").iterdir()} == {".lock", "mine"}


def test_the_asynchronous_client_saves_and_restores(
    running_server: str, name: str, tmp_path: Path
) -> None:
    async def use() -> int:
        async with AsyncClient(running_server, timeout_s=60) as client:
            told = await client.snapshot(name, tmp_path / "saved")
            new = await client.restore(tmp_path / "saved", name=f"{name}-new")
            await client.delete_collection(new.name)
            assert new.n_rnas == told.n_rnas
            return new.n_rnas

    assert asyncio.run(use()) == 3


def test_the_shell_saves_and_restores(
    run: Run,
    name: str,
    tmp_path: Path,
    tiny_model: Path,
    tiny_registry: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert run("collections", "snapshot", name, "-o", "saved") == 0
    assert capsys.readouterr().out.startswith(f"{name}: 3 RNAs under tiny@1, ")
    assert run("collections", "snapshot", "nobody", "-o", "none") == 1
    assert not Path("none").exists()
    capsys.readouterr()
    assert run("collections", "snapshot", name, "-o", "nowhere/saved") == 1
    told = capsys.readouterr().err
    assert told == "ribolex: nowhere/saved: No such file or directory\n"
    place = ["--local", "--data", str(tmp_path / "data")]
    place += ["--model", str(tiny_model), "--registry", str(tiny_registry)]
    place += ["--name", "mine"]
    capsys.readouterr()
    assert run("collections", "restore", "saved", *place) == 0
    assert capsys.readouterr().out == "mine: 3 RNAs under tiny@1\n"
    Path("saved").write_bytes(Path("saved").read_bytes()[:-9])
    assert run("collections", "restore", "saved", "--name", "other") == 1
    assert "saved: " in capsys.readouterr().err


def test_a_local_file_is_described_only_if_it_is_whole(tmp_path: Path) -> None:
    from ribolex.client.snapshots import describe_snapshot

    path = tmp_path / "x"
    for content in (b"", b"\n", b"{} 00\n", b"[]", b'{"dictionary": 1} 0\n'):
        path.write_bytes(content)
        with pytest.raises(CorruptInputError):
            describe_snapshot(path)
