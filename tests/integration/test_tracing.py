"""Spans: a call, what it waits for, its batch and the batch's stages; no letters."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import connect

from ribolex.errors import InvalidRequestError
from ribolex.server.engine.encoding import EncodeTask
from ribolex.server.tracing import Tracing, open_tracing
from ribolex.v1 import collection_pb2, encoder_pb2

pytest.importorskip("opentelemetry.sdk", reason="needs ribolex[otel]")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)
from opentelemetry.sdk.trace.sampling import (
    DEFAULT_OFF,
    DEFAULT_ON,
    Sampler,
)

ENCODE = "ribolex.v1.EncoderService/Encode"
MARKER = "GAUUACAGAUUACACCAUGGGAUUACA"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    """A server that is traced into memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sampler: Sampler) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        monkeypatch.setattr(
            "ribolex.server.app.open_tracing", lambda endpoint: Tracing(provider)
        )

    def spans(self) -> list[Any]:
        """Gives all spans, those of a server that has ended."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans() if span.name == name]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Traced:
    return Traced(monkeypatch, DEFAULT_ON)


def encode(*sequences: str) -> encoder_pb2.EncodeRequest:
    return encoder_pb2.EncodeRequest(sequences=sequences)


def test_a_call_is_one_tree_below_the_callers_span(
    own_server: OwnServer, traced: Traced
) -> None:
    with own_server() as address:
        stubs = connect(address)
        stubs.encoder.Encode(
            encode("ACGU", "GG"),
            metadata=(("traceparent", f"00-{TRACE}-{PARENT}-01"),),
        )
        stubs.channel.close()
    (call,), (queue,), (batch,) = map(traced.named, (ENCODE, "queue", "batch"))
    (forward,), (encoding,) = map(traced.named, ("forward", "encode"))
    assert f"{call.context.trace_id:032x}" == TRACE
    assert f"{call.parent.span_id:016x}" == PARENT
    assert {span.context.trace_id for span in traced.spans()} == {call.context.trace_id}
    assert queue.parent.span_id == batch.parent.span_id == call.context.span_id
    assert [link.context.span_id for link in batch.links] == [call.context.span_id]
    assert {forward.parent.span_id, encoding.parent.span_id} == {batch.context.span_id}
    assert queue.end_time <= batch.start_time + 1_000_000
    assert batch.start_time <= forward.start_time <= forward.end_time
    assert forward.end_time <= encoding.start_time <= encoding.end_time
    assert encoding.end_time <= batch.end_time
    assert batch.attributes["ribolex.n_tokens"] == 10
    assert call.attributes["rpc.method"] == "Encode"
    assert call.attributes["rpc.grpc.status_code"] == 0
    assert call.attributes["ribolex.n_nucleotides"] == 6


def test_a_batch_is_linked_to_all_that_it_serves(
    own_server: OwnServer, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = EncodeTask.run

    def slow(*args: Any) -> Any:
        time.sleep(0.2)
        return run(*args)

    monkeypatch.setattr(EncodeTask, "run", slow)
    with ThreadPoolExecutor(6) as pool, own_server() as address:
        stubs = connect(address)
        letters = ["A" * n for n in range(1, 7)]
        list(pool.map(lambda one: stubs.encoder.Encode(encode(one)), letters))
        stubs.channel.close()
    calls = {span.context.span_id for span in traced.named(ENCODE)}
    batches = traced.named("batch")
    assert len(calls) == 6
    assert len(batches) < 6
    linked = [link.context.span_id for batch in batches for link in batch.links]
    assert sorted(linked) == sorted(calls)
    queued = [span.parent.span_id for span in traced.named("queue")]
    assert sorted(queued) == sorted(calls)


def test_failures_searches_and_streams_are_traced_without_a_letter(
    own_server: OwnServer, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_server() as address:
        stubs = connect(address)
        stub = stubs.collections
        stub.CreateCollection(collection_pb2.CreateCollectionRequest(name="mine"))
        stub.SearchSimilar(
            collection_pb2.SearchSimilarRequest(collection="mine", sequence=MARKER)
        )
        stream = [encoder_pb2.EncodeStreamRequest(request=encode(MARKER))] * 3
        assert len(list(stubs.encoder.EncodeStream(iter(stream)))) == 3
        list(stubs.encoder.Embed(encoder_pb2.EmbedRequest(sequences=[MARKER])))

        def fail(*_: object) -> None:
            raise RuntimeError(MARKER)

        monkeypatch.setattr(EncodeTask, "run", fail)
        for one in (MARKER, MARKER + "!"):
            request = encode(one)
            request.options.k = 0 if one == MARKER else 7
            with pytest.raises(grpc.RpcError):
                stubs.encoder.Encode(request)
        stubs.channel.close()
    internal, invalid = traced.named(ENCODE)
    assert internal.attributes["rpc.grpc.status_code"] == 13
    assert internal.status.status_code.name == "ERROR"
    assert invalid.attributes["rpc.grpc.status_code"] == 3
    assert invalid.status.status_code.name == "UNSET"
    by_id = {span.context.span_id: span.name for span in traced.spans()}
    of_streams = [by_id[one.parent.span_id] for one in traced.named("queue")]
    assert "ribolex.v1.EncoderService/EncodeStream" in of_streams
    assert "ribolex.v1.CollectionService/SearchSimilar" in of_streams
    for span in traced.spans():
        assert MARKER not in span.to_json()


def test_what_is_not_sampled_is_not_made(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = Traced(monkeypatch, DEFAULT_OFF)
    with own_server() as address:
        stubs = connect(address)
        stubs.encoder.Encode(encode("ACGU"))
        sampled = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
        stubs.encoder.Encode(encode("ACGG"), metadata=sampled)
        stubs.channel.close()
    assert {f"{one.context.trace_id:032x}" for one in traced.spans()} == {TRACE}
    assert len(traced.named("batch")) == 1


def test_nothing_is_traced_unless_a_collector_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ENDPOINT", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    assert open_tracing(None) is None
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_tracing("http://127.0.0.1:1") is None
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidRequestError, match=r"ribolex\[otel\]"):
        open_tracing("http://127.0.0.1:1")


def test_a_collector_gets_the_spans(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by the standard variable, over a real socket."""
    got: list[bytes] = []

    def export(request: bytes, context: grpc.ServicerContext) -> bytes:
        got.append(request)
        return b""

    handler: Any = grpc.unary_unary_rpc_method_handler(export)
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    with ThreadPoolExecutor(1) as pool:
        collector = grpc.server(pool)
        collector.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {"Export": handler})]
        )
        port = collector.add_insecure_port("127.0.0.1:0")
        collector.start()
        url = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with own_server() as address:
            stubs = connect(address)
            stubs.encoder.Encode(encode("ACGU"))
            stubs.channel.close()
        collector.stop(None).wait()
    assert b"ribolex.v1.EncoderService/Encode" in b"".join(got)
    assert b"forward" in b"".join(got)


def test_a_collector_that_is_away_harms_nothing(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with own_server(otlp_endpoint=url) as address:
            stubs = connect(address)
            assert stubs.encoder.Encode(encode("ACGU")).results
            stubs.channel.close()
