"""The server as a process: starts, says where it is, survives, drains, ends."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, eventually, failure_of
from tests.integration.test_collections import random_rnas

from ribolex.errors import NotReadyError
from ribolex.lm import LanguageModel, load_lm
from ribolex.server.app import SERVICES, serve
from ribolex.server.engine.encoding import EncodeTask
from ribolex.server.settings import ServerSettings
from ribolex.v1 import collection_pb2 as pb
from ribolex.v1 import encoder_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Process(NamedTuple):
    """A server in a process of its own."""

    popen: subprocess.Popen[str]
    address: str


@contextmanager
def process(settings: Mapping[str, Any], data: Path) -> Iterator[Process]:
    """Runs `ribolex serve` until the block ends; waits for its address file."""
    file = data.with_name(f"address-{time.monotonic_ns()}")
    flags = {**settings, "data": data, "address_file": file, "threads": 1}
    command = [sys.executable, "-c", "from ribolex.client.cli import main; main()"]
    command.append("serve")
    for name, value in flags.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(2400):
            if file.exists() or popen.poll() is not None:
                break
            time.sleep(0.05)
        yield Process(popen, file.read_text().strip())
    finally:
        popen.kill()
        popen.communicate(timeout=10)


def upsert(stubs: Stubs, name: str, rnas: list[pb.RnaRecord]) -> pb.UpsertRnasResponse:
    request = pb.UpsertRnasRequest(collection=name, rnas=rnas)
    return stubs.collections.UpsertRnas(iter([request]))


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(
    tmp_path: Path, tiny_settings: dict[str, Any]
) -> None:
    """Killed between and during upserts; all that was answered is there and found."""
    rnas = random_rnas(60)
    acknowledged: list[pb.RnaRecord] = []
    with process(tiny_settings, tmp_path / "data") as server:
        stubs = connect(server.address)
        stubs.collections.CreateCollection(pb.CreateCollectionRequest(name="kept"))
        upsert(stubs, "kept", rnas[:40])
        upsert(stubs, "kept", rnas[20:40])
        acknowledged += rnas[:40]

        def keep_writing() -> None:
            try:
                for rna in random_rnas(5000, seed=1):
                    rna.name = f"late {rna.name} {len(acknowledged)}"
                    upsert(stubs, "kept", [rna])
                    acknowledged.append(rna)
            except grpc.RpcError:
                return

        writer = threading.Thread(target=keep_writing)
        writer.start()
        while len(acknowledged) < 60:
            time.sleep(0.01)
        server.popen.send_signal(signal.SIGKILL)
        assert server.popen.wait(timeout=10) == -signal.SIGKILL
        writer.join(timeout=20)
        stubs.channel.close()
    with process(tiny_settings, tmp_path / "data") as server:
        stubs = connect(server.address)
        facts = stubs.collections.GetCollection(pb.GetCollectionRequest(name="kept"))
        # One more may have been on disk when the answer was cut off.
        n_extra = facts.collection.n_rnas - len(acknowledged)
        assert n_extra in (0, 1)
        for rna in acknowledged[::7] + acknowledged[-3:]:
            found = stubs.collections.GetRna(
                pb.GetRnaRequest(collection="kept", name=rna.name)
            )
            assert found.rna == rna
            hits = stubs.collections.SearchSimilar(
                pb.SearchSimilarRequest(
                    collection="kept", sequence=rna.sequence, top_k=1
                )
            ).hits
            assert hits[0].score == pytest.approx(1, abs=1e-5)
        stubs.channel.close()
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(timeout=20) == 0
        output = server.popen.stdout
        assert output is not None
        assert output.read() == f"Ribolex is ready at {server.address}\n"


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float) -> threading.Event:
    """Makes every batch take longer; gives an event that is set by the first."""
    begun = threading.Event()

    run = EncodeTask.run

    def encode(*args: Any) -> Any:
        begun.set()
        time.sleep(seconds)
        return run(*args)

    monkeypatch.setattr(EncodeTask, "run", encode)
    return begun


ENCODE = encoder_pb2.EncodeRequest(sequences=["ACGU"])


def test_a_call_in_flight_is_finished_before_the_end(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with own_server() as address:
            begun = slow_down(monkeypatch, 0.5)  # not what is computed at the start
            stubs = connect(address)
            call = pool.submit(stubs.encoder.Encode, ENCODE)
            assert begun.wait(timeout=10)
        # The server has ended by now.
        assert call.result(timeout=20).results
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(ENCODE)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        stubs.channel.close()


def test_an_open_stream_is_told_to_come_back_and_loses_nothing(
    own_server: OwnServer, tmp_path: Path
) -> None:
    sent, ended = threading.Event(), threading.Event()

    def batches() -> Iterator[pb.UpsertRnasRequest]:
        yield pb.UpsertRnasRequest(collection="c", rnas=random_rnas(10))
        sent.set()
        ended.wait(timeout=30)

    with ThreadPoolExecutor(1) as pool:
        with own_server(drain_s=40.0) as address:
            stubs = connect(address)
            stubs.collections.CreateCollection(pb.CreateCollectionRequest(name="c"))
            call = pool.submit(stubs.collections.UpsertRnas, batches())
            assert sent.wait(timeout=10)
            while not stubs.collections.GetCollection(
                pb.GetCollectionRequest(name="c")
            ).collection.n_rnas:
                time.sleep(0.01)
            begun_s = time.monotonic()
        assert time.monotonic() - begun_s < 35  # of the 40 s that a drain may take
        error = call.exception(timeout=20)
        ended.set()
        assert isinstance(error, grpc.RpcError)
        failure = failure_of(error)
        assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "NOT_READY")
        assert failure.retry_s
        stubs.channel.close()
    with own_server() as address:
        stubs = connect(address)
        facts = stubs.collections.GetCollection(pb.GetCollectionRequest(name="c"))
        assert facts.collection.n_rnas == 10
        stubs.channel.close()


def test_a_full_queue_refuses_calls_and_slows_streams(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = slow_down(monkeypatch, 0.1)
    settings = {"max_queue_tokens": 30, "batch_tokens": 24}
    with ThreadPoolExecutor(8) as pool, own_server(**settings) as address:
        stubs = connect(address)
        requests = [
            encoder_pb2.EncodeRequest(sequences=["A" * n + "C" * (20 - n)])
            for n in range(12)
        ]
        calls = [pool.submit(stubs.encoder.Encode, one) for one in requests[:6]]
        assert begun.wait(timeout=10)
        stream = stubs.encoder.EncodeStream(
            encoder_pb2.EncodeStreamRequest(request_id=str(i), request=one)
            for i, one in enumerate(requests[6:])
        )
        assert [answer.request_id for answer in stream] == list("012345")
        errors = [call.exception() for call in calls]
        failures = [failure_of(e) for e in errors if isinstance(e, grpc.RpcError)]
        assert failures
        assert {failure.code.name for failure in failures} == {"RESOURCE_EXHAUSTED"}
        assert {failure.reason for failure in failures} == {"OVERLOADED"}
        assert all(failure.retry_s for failure in failures)
        assert "tokens would wait, expected at most 30" in failures[0].message
        assert None in errors
        stubs.channel.close()


def test_a_fault_of_ours_is_internal_and_logged(
    own_server: OwnServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    with own_server() as address:
        monkeypatch.setattr(EncodeTask, "run", fail)
        stubs = connect(address)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(ENCODE)
        failure = failure_of(caught.value)
        assert (failure.code.name, failure.message) == ("INTERNAL", "internal error")
        told = [vars(one).get("ribolex_fields", {}) for one in caplog.records]
        assert any("fail" in each.get("traceback", "") for each in told)
        assert "secret" not in caplog.text
        stubs.channel.close()


def test_a_dead_engine_is_told_by_health_and_by_every_call(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        """What no `except Exception` sees."""

    def die(*_: object) -> None:
        raise Death

    monkeypatch.setattr("threading.excepthook", lambda _: None)
    with own_server() as address:
        monkeypatch.setattr(EncodeTask, "run", die)
        stubs = connect(address)
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                stubs.encoder.Encode(ENCODE)
            assert failure_of(caught.value).reason == "NOT_READY"
        eventually(lambda: health(stubs, "") == NOT_SERVING)
        assert {health(stubs, name) for name in ("", *SERVICES)} == {NOT_SERVING}
        stubs.channel.close()


def health(stubs: Stubs, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
    stub = health_pb2_grpc.HealthStub(stubs.channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service)).status


def test_health_is_told_for_each_service(stubs: Stubs) -> None:
    assert len(SERVICES) == 3
    assert {health(stubs, name) for name in ("", *SERVICES)} == {SERVING}


def test_nothing_is_served_before_all_is_loaded(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port answers while the model loads: not healthy, and UNAVAILABLE."""
    seen: list[Any] = []

    def look_and_load(*args: Any, **options: Any) -> Any:
        stubs = connect(f"127.0.0.1:{port}")
        seen.extend(health(stubs, name) for name in ("", *SERVICES))
        try:
            stubs.encoder.Encode(ENCODE)
        except grpc.RpcError as error:
            seen.append(failure_of(error))
        stubs.channel.close()
        return load_lm(*args, **options)

    port = _free_port()
    monkeypatch.setattr("ribolex.server.loading.load_lm", look_and_load)
    with own_server(port=port) as address:
        assert address == f"127.0.0.1:{port}"
        *states, failure = seen
        assert set(states) == {NOT_SERVING}
        assert (failure.code.name, failure.reason) == ("UNAVAILABLE", "NOT_READY")
        stubs = connect(address)
        assert health(stubs, "") == SERVING
        stubs.channel.close()


def test_the_model_computes_in_the_precision_asked_for(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[LanguageModel] = []

    def keep(*args: Any, **options: Any) -> LanguageModel:
        loaded.append(load_lm(*args, **options))
        return loaded[-1]

    monkeypatch.setattr("ribolex.server.loading.load_lm", keep)
    with own_server(precision="bfloat16") as address:
        stubs = connect(address)
        assert len(stubs.encoder.Encode(ENCODE).results) == len(ENCODE.sequences)
        stubs.channel.close()
    assert loaded[0].dtype == torch.bfloat16


async def test_a_stop_while_loading_ends_without_serving(
    tiny_settings: dict[str, Any], tmp_path: Path
) -> None:
    stop, told = asyncio.Event(), list[str]()
    stop.set()
    file = tmp_path / "address"
    settings = ServerSettings(**tiny_settings, data=tmp_path, address_file=file)
    await serve(settings, stop, told.append)
    assert told == []
    assert not file.exists()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_reflection_tells_the_services(stubs: Stubs) -> None:
    database = ProtoReflectionDescriptorDatabase(stubs.channel)
    assert set(SERVICES) <= set(database.get_services())
    file = database.FindFileContainingSymbol("ribolex.v1.EncoderService")
    assert file.name == "ribolex/v1/encoder.proto"


def test_a_data_folder_has_one_server(own_server: OwnServer, tmp_path: Path) -> None:
    with own_server(), pytest.raises(NotReadyError, match="another server uses"):
        own_server().__enter__()


def test_a_port_has_one_server(own_server: OwnServer, tmp_path: Path) -> None:
    with own_server() as address:
        port = int(address.rpartition(":")[2])
        other = own_server(port=port, data=tmp_path / "other")
        with pytest.raises(OSError, match="cannot listen on"), other:
            pass


def test_a_damaged_collection_does_not_stop_the_others(
    own_server: OwnServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with own_server() as address:
        stubs = connect(address)
        for name in ("good", "bad"):
            stubs.collections.CreateCollection(pb.CreateCollectionRequest(name=name))
            upsert(stubs, name, random_rnas(3))
        stubs.channel.close()
    folder = tmp_path / "data" / "bad"
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(os.urandom(5000))
    with own_server() as address:
        stubs = connect(address)
        listed = stubs.collections.ListCollections(pb.ListCollectionsRequest())
        assert [each.name for each in listed.collections] == ["good"]
        with pytest.raises(grpc.RpcError) as caught:
            stubs.collections.GetCollection(pb.GetCollectionRequest(name="bad"))
        assert failure_of(caught.value).code is grpc.StatusCode.DATA_LOSS
        assert "collection bad cannot be opened" in caplog.text
        stubs.collections.DeleteCollection(pb.DeleteCollectionRequest(name="bad"))
        assert not folder.exists()
        stubs.channel.close()


def test_bad_settings_are_told_in_words(tiny_settings: dict[str, Any]) -> None:
    command = [sys.executable, "-c", "from ribolex.client.cli import main; main()"]
    done = subprocess.run(
        [*command, "serve", "--port", "seven", "--max-sequences", "0"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 2
    first, second = sorted(done.stderr.splitlines())
    assert first.startswith("ribolex serve: --max-sequences: Input should be greater")
    assert second.startswith("ribolex serve: --port: Input should be a valid integer")
