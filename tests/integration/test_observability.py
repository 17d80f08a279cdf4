"""What a server tells of itself: metrics, probes, and a log without a sequence."""

import logging
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, eventually

from ribolex.client import AsyncClient, Client
from ribolex.server.engine.encoding import EncodeTask
from ribolex.server.logs import JsonFormatter, TextFormatter
from ribolex.v1 import collection_pb2 as collections
from ribolex.v1 import encoder_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
ENCODE = pb.EncodeRequest(sequences=["ACGU", "GGG", "X"])
ON_CUDA_ONLY = {"ribolex_device_memory_bytes"}


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(port: int) -> dict[str, float]:
    """Gives all samples, by name with labels."""
    _, text = get(port, "/metrics")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def ended_calls(found: dict[str, float]) -> dict[str, float]:
    """Gives how many calls ended, by code and method."""
    return {
        key.partition("{")[2]: n
        for key, n in found.items()
        if key.startswith("ribolex_requests_total")
    }


def use(stubs: Stubs) -> None:
    """Calls of every shape, good and bad."""
    stubs.encoder.Encode(ENCODE)
    requests = [pb.EncodeStreamRequest(request=ENCODE)] * 2
    assert len(list(stubs.encoder.EncodeStream(iter(requests)))) == 2
    list(stubs.encoder.Embed(pb.EmbedRequest(sequences=["ACGU"])))
    stubs.collections.CreateCollection(collections.CreateCollectionRequest(name="mine"))
    rnas = [collections.RnaRecord(name="one", sequence="GGAAACC")]
    upsert = collections.UpsertRnasRequest(collection="mine", rnas=rnas)
    stubs.collections.UpsertRnas(iter([upsert]))
    with pytest.raises(grpc.RpcError):
        stubs.encoder.Encode(pb.EncodeRequest())
    with pytest.raises(grpc.RpcError):
        stubs.channel.unary_unary("/ribolex.v1.EncoderService/Nothing")(b"")  # type: ignore[arg-type]
    health_pb2_grpc.HealthStub(stubs.channel).Check(health_pb2.HealthCheckRequest())


@pytest.fixture
def used(own_server: OwnServer, http_port: int) -> Iterator[dict[str, float]]:
    with own_server(http_port=http_port) as address:
        stubs = connect(address)
        use(stubs)
        stubs.channel.close()
        yield scrape(http_port)


def test_every_name_is_documented_and_every_documented_name_is_there(
    used: dict[str, float],
) -> None:
    suffix = re.compile(r"_(bucket|count|sum)$")
    names = {key.partition("{")[0] for key in used}
    told = {suffix.sub("", name) for name in names if not name.endswith("_created")}
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    written = {
        name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert told == written - ON_CUDA_ONLY
    assert all(re.fullmatch(r"(ribolex|process)_[a-z_]+", name) for name in told)


def test_calls_are_counted_by_method_and_code(used: dict[str, float]) -> None:
    calls = {key: n for key, n in used.items() if key.startswith("ribolex_requests_t")}
    encoder, collection = "ribolex.v1.EncoderService", "ribolex.v1.CollectionService"
    expected = {
        (f"{encoder}/Encode", "OK"),
        (f"{encoder}/Encode", "INVALID_ARGUMENT"),
        (f"{encoder}/EncodeStream", "OK"),
        (f"{encoder}/Embed", "OK"),
        (f"{collection}/CreateCollection", "OK"),
        (f"{collection}/UpsertRnas", "OK"),
        ("grpc.health.v1.Health/Check", "OK"),
        ("unknown", "UNIMPLEMENTED"),
    }
    assert calls == {
        f'ribolex_requests_total{{code="{code}",method="{method}"}}': 1.0
        for method, code in expected
    }
    assert used[f'ribolex_request_seconds_count{{method="{encoder}/Encode"}}'] == 2
    assert used[f'ribolex_open_requests{{method="{encoder}/EncodeStream"}}'] == 0


def test_sequences_are_counted_measured_and_refused_by_reason(
    used: dict[str, float],
) -> None:
    assert used["ribolex_received_sequences_total"] == 3 * 3 + 1 + 1
    assert used["ribolex_received_nucleotides_total"] == 3 * 8 + 4 + 7
    assert used['ribolex_rejected_sequences_total{reason="invalid_sequence"}'] == 3
    assert used['ribolex_rejected_requests_total{reason="invalid_request"}'] == 1
    assert used["ribolex_fvu_ratio_count"] == 3 * 2 + 1
    assert used["ribolex_sequence_nucleotides_sum"] == 3 * 7 + 7
    assert (used["ribolex_collections"], used["ribolex_index_codes"]) == (1, 1)
    assert used["ribolex_ready"] == 1


def test_batches_are_measured_and_who_left_is_counted(
    own_server: OwnServer, http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = EncodeTask.run

    def slow(*args: Any) -> Any:
        time.sleep(0.3)
        return run(*args)

    monkeypatch.setattr(EncodeTask, "run", slow)
    with own_server(http_port=http_port) as address:
        stubs = connect(address)
        with pytest.raises(grpc.RpcError):
            stubs.encoder.Encode(pb.EncodeRequest(sequences=["GGG"]), timeout=0.1)
        stubs.encoder.Encode(pb.EncodeRequest(sequences=["ACGU"]))
        found: dict[str, float] = {}

        def is_told() -> bool:  # what a batch took, once it has been answered
            found.update(scrape(http_port))
            n_told = found['ribolex_stage_seconds_count{stage="compute"}']
            is_whole = found["ribolex_batch_windows_count"] == n_told
            return is_whole and found["ribolex_batch_tokens_sum"] >= 4 + 2

        eventually(is_told)
        stubs.channel.close()
    reasons = ("cancelled", "expired")
    left = [found[f'ribolex_dropped_requests_total{{reason="{r}"}}'] for r in reasons]
    assert sum(left) == 1
    assert found['ribolex_queue_seconds_count{lane="interactive"}'] == 1
    assert found['ribolex_stage_seconds_sum{stage="compute"}'] >= 0.3


def test_probes_tell_alive_and_ready(own_server: OwnServer, http_port: int) -> None:
    with own_server(http_port=http_port):
        assert get(http_port, "/healthz") == (200, "alive\n")
        assert get(http_port, "/readyz") == (200, "ready\n")
        assert get(http_port, "/elsewhere")[0] == 404
        assert get(http_port, "/metrics?x=1")[0] == 200
    with pytest.raises(OSError, match="refused"):
        get(http_port, "/healthz")


MARKER = "GAUUACAGAUUACACCAUGGGAUUACA"


def plain(record: logging.LogRecord) -> str:
    """Gives all that a record holds, however it may be shown."""
    shown = logging.Formatter().format(record)
    return f"{shown} {vars(record)} {record.args!r}"


def fail(*_: object) -> None:
    raise RuntimeError(f"cannot compute {MARKER}")


def hostile(stubs: Stubs) -> Iterator[Any]:
    """Calls with the marker that end in every way; gives how each failed."""
    encoder, store = stubs.encoder, stubs.collections
    record = collections.RnaRecord(name="one", sequence=MARKER)
    bad = collections.RnaRecord(name="two", sequence=MARKER + "!")
    search = collections.SearchSimilarRequest(collection="mine", sequence=MARKER)
    long = MARKER * 10
    calls: list[Callable[[], object]] = [
        lambda: encoder.Encode(
            pb.EncodeRequest(sequences=[MARKER, MARKER + "!", long])
        ),
        lambda: encoder.Encode(pb.EncodeRequest(sequences=[long] * 17)),
        lambda: encoder.Encode(pb.EncodeRequest(sequences=[MARKER]), timeout=0.0001),
        lambda: list(encoder.Embed(pb.EmbedRequest(sequences=[MARKER, long + "!"]))),
        lambda: list(
            encoder.EncodeStream(
                pb.EncodeStreamRequest(request=pb.EncodeRequest(sequences=[one]))
                for one in (MARKER, MARKER + "?", "")
            )
        ),
        lambda: store.UpsertRnas(
            iter([collections.UpsertRnasRequest(collection="mine", rnas=[record, bad])])
        ),
        lambda: store.SearchSimilar(search),
        lambda: store.SearchSimilar(
            collections.SearchSimilarRequest(collection="mine", sequence=MARKER + "!")
        ),
        lambda: store.SearchSimilar(
            collections.SearchSimilarRequest(collection="none", sequence=MARKER)
        ),
        lambda: stubs.channel.unary_unary("/ribolex.v1.EncoderService/Encode")(
            MARKER.encode()  # type: ignore[arg-type]
        ),
    ]
    for call in calls:
        try:
            call()
        except grpc.RpcError as error:
            yield error
        else:
            yield None


def test_no_sequence_is_in_any_event(
    own_server: OwnServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with own_server() as address:
        stubs = connect(address)
        create = collections.CreateCollectionRequest(name="mine")
        stubs.collections.CreateCollection(create)
        codes = {each.code().name if each else None for each in hostile(stubs)}
        assert {None, "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"} <= codes
        monkeypatch.setattr(EncodeTask, "run", fail)
        codes = {each.code().name if each else None for each in hostile(stubs)}
        assert "INTERNAL" in codes
        stubs.channel.close()
    forms = [plain, TextFormatter().format, JsonFormatter().format]
    assert any("in fail" in form(one) for form in forms for one in caplog.records)
    assert len([one for one in caplog.records if one.getMessage() == "call"]) >= 18
    for record in caplog.records:
        for form in forms:
            assert MARKER not in form(record)


def test_what_grpc_refuses_by_itself_is_counted(
    own_server: OwnServer, http_port: int
) -> None:
    large = pb.EncodeRequest(sequences=["A" * (2 << 20)])
    with own_server(http_port=http_port) as address:
        stubs = connect(address)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(large)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        requests = [ENCODE, large]
        stream = (pb.EncodeStreamRequest(request=one) for one in requests)
        with pytest.raises(grpc.RpcError) as caught:
            list(stubs.encoder.EncodeStream(stream))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        stubs.encoder.Encode(ENCODE)
        # gRPC answers by itself, and only then tells the server, which counts.
        eventually(lambda: sum(ended_calls(scrape(http_port)).values()) == 3)
        found = scrape(http_port)
        stubs.channel.close()
    encoder = "ribolex.v1.EncoderService"
    counts = ended_calls(found)
    # Whether the stream's end or its cancellation comes first is up to gRPC.
    of_stream = (
        f'code="{code}",method="{encoder}/EncodeStream"}}'
        for code in ("CANCELLED", "OK")
    )
    assert sum(counts.pop(key, 0) for key in of_stream) == 1
    assert counts == {
        f'code="unheard",method="{encoder}/Encode"}}': 1,
        f'code="OK",method="{encoder}/Encode"}}': 1,
    }
    open_ones = [n for key, n in found.items() if "open_requests" in key]
    assert set(open_ones) == {0}


async def test_a_stream_that_was_taken_to_its_end_is_told_as_ok(
    own_server: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with own_server() as address:
        with Client(address) as client:
            assert len(list(client.encode_stream(["ACGU"] * 3, batch=1))) == 3
        async with AsyncClient(address) as other:
            async for _ in other.encode_stream(["ACGU"] * 3, batch=1):
                pass
    calls = [vars(one)["ribolex_fields"] for one in caplog.records if one.msg == "call"]
    assert [call["code"] for call in calls] == ["OK", "OK"]


def test_a_call_is_told_with_its_name_and_numbers(
    own_server: OwnServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with own_server() as address:
        stubs = connect(address)
        _, call = stubs.encoder.Encode.with_call(
            ENCODE, metadata=(("x-request-id", "mine-7"),)
        )
        assert ("x-request-id", "mine-7") in call.trailing_metadata()
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(
                pb.EncodeRequest(), metadata=(("x-request-id", "bad id"),)
            )
        failed: Any = caught.value
        given = dict(failed.trailing_metadata())["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", given)
        stubs.channel.close()
    good, bad = (
        vars(one)["ribolex_fields"]
        for one in caplog.records
        if one.getMessage() == "call"
    )
    assert good.pop("duration_s") >= 0
    assert good == {
        "request_id": "mine-7", "method": "ribolex.v1.EncoderService/Encode",
        "code": "OK", "n_messages": 1, "n_sequences": 3, "n_nucleotides": 8,
        "client": "127.0.0.1",
    }  # fmt: skip
    assert (bad["request_id"], bad["code"]) == (given, "INVALID_ARGUMENT")
