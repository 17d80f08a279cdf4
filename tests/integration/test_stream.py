"""EncodeStream's options: answers as they are ready, and answers in parts."""

import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, failure_of

from ribolex.client import Client
from ribolex.server.convert import parts
from ribolex.server.engine.encoding import EncodeTask
from ribolex.v1 import codes_pb2 as codes
from ribolex.v1 import encoder_pb2 as pb

BOTH = (codes.LEVEL_NUCLEOTIDE, codes.LEVEL_SEQUENCE)
SEQUENCES = ["ACGUACGUAC" * 9, "GG", "?", "GGGAAACCCA" * 7, "U"]


def asked(*sequences: str, **options: Any) -> pb.EncodeStreamRequest:
    request = pb.EncodeRequest(
        sequences=sequences, options=pb.EncodeOptions(levels=BOTH)
    )
    return pb.EncodeStreamRequest(request=request, **options)


@pytest.fixture
def slow_server(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Computes one sequence a batch, and one that begins with C slowly."""
    run = EncodeTask.run

    def slow(self: EncodeTask, *args: Any) -> Any:
        if self.text.startswith("C"):
            time.sleep(0.3)
        return run(self, *args)

    monkeypatch.setattr(EncodeTask, "run", slow)
    with own_server(batch_tokens=1) as address:
        yield address


@pytest.mark.parametrize("as_ready", [False, True])
def test_an_answer_overtakes_if_its_request_says_so(
    slow_server: str, as_ready: bool
) -> None:
    """The long one waits in a line of its own, behind the shorter ones."""
    stubs = connect(slow_server)
    requests = [
        asked("CC" * 40, "CCA" * 20, request_id="slow", as_ready=as_ready),
        asked("AAA", request_id="fast", as_ready=as_ready),
    ]
    answers = list(stubs.encoder.EncodeStream(iter(requests)))
    order = [("slow", 0), ("fast", 1)]
    found = [(answer.request_id, answer.index) for answer in answers]
    assert found == (order[::-1] if as_ready else order)
    stubs.channel.close()


def test_an_error_does_not_overtake(slow_server: str) -> None:
    stubs = connect(slow_server)
    bad = pb.EncodeStreamRequest(as_ready=True)
    answers = stubs.encoder.EncodeStream(iter([asked("CC" * 40, as_ready=True), bad]))
    assert next(answers).index == 0
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert failure_of(caught.value).fields == ["sequences"]
    stubs.channel.close()


def test_parts_of_an_answer_make_the_whole(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 1000)
    with own_server() as address:
        stubs = connect(address)
        whole, *in_parts = stubs.encoder.EncodeStream(
            iter([asked(*SEQUENCES), asked(*SEQUENCES, in_parts=True)])
        )
        stubs.channel.close()
        with Client(address) as client:
            (found,) = client.encode_stream(
                SEQUENCES, level="both", on_rejection="skip"
            )
            expected = client.encode(SEQUENCES, level="both", on_rejection="skip")
    assert len(in_parts) > 4
    assert [part.continues for part in in_parts] == [True] * (len(in_parts) - 1) + [
        False
    ]
    assert {part.index for part in in_parts} == {1}
    assert max(part.ByteSize() for part in in_parts) < 1200
    results = [one for part in in_parts for one in part.response.results]
    firsts = [one for one in results if not one.encoded.first_row]
    for first, one in zip(firsts, whole.response.results, strict=True):
        assert first.encoded.sequence_code == one.encoded.sequence_code
        assert first.rejection == one.rejection
    assert found.n_nucleotides.tolist() == [90, 2, 0, 70, 1]
    for place in range(len(SEQUENCES)):
        mine, other = found.nucleotides(place), expected.nucleotides(place)
        assert mine.indices.tolist() == other.indices.tolist()
        np.testing.assert_allclose(mine.values, other.values, atol=1e-5)


def test_codes_larger_than_a_message_come_in_parts(own_server: OwnServer) -> None:
    """160 x 200 nucleotides at 6 features: 1.2 MiB, where a message may have one."""
    random = np.random.default_rng(1)
    sequences = ["".join(random.choice(list("ACGU"), 200)) for _ in range(160)]
    with own_server(max_sequences=256) as address:
        stubs = connect(address)
        with pytest.raises(grpc.RpcError) as caught:
            stubs.encoder.Encode(asked(*sequences).request)
        assert "answer in parts" in failure_of(caught.value).message
        stubs.channel.close()
        with Client(address) as client:
            (found,) = client.encode_stream(sequences, level="nucleotide")
    assert len(found) == 160
    assert found.nucleotide_codes is not None
    assert found.nucleotide_codes.shape == (160 * 200, 96)
    assert np.diff(found.nucleotide_codes.indptr).min() >= 1


def test_a_stream_waits_for_room_and_one_too_large_is_refused(
    own_server: OwnServer,
) -> None:
    """16 x 200 nucleotides at 6 features are held with 175 KiB, of 1 MiB."""
    sequences = ["ACGU" * 50] * 16
    with own_server(max_embedding_mib=1, max_sequences=256) as address:
        stubs = connect(address)
        many = [asked(*sequences, in_parts=True) for _ in range(20)]
        streams = [stubs.encoder.EncodeStream(iter(many)) for _ in range(2)]
        for stream in streams:
            last = [one.index for one in stream if not one.continues]
            assert last == list(range(20))
        too_large = asked(*(sequences * 7), in_parts=True)
        with pytest.raises(grpc.RpcError) as caught:
            list(stubs.encoder.EncodeStream(iter([too_large])))
        assert failure_of(caught.value).fields == ["sequences"]
        # All of it was given back.
        assert len(list(stubs.encoder.EncodeStream(iter(many)))) == 20
        stubs.channel.close()


@pytest.mark.parametrize("level", ["sequence", "nucleotide"])
def test_halves_are_as_near_as_promised(stubs: Stubs, level: Any) -> None:
    """Same features; values within 1 in 2,048; at most two thirds of the bytes."""
    number = codes.Level.Value(f"LEVEL_{level.upper()}")
    sizes = []
    for value_type in (codes.VALUE_TYPE_FLOAT32, codes.VALUE_TYPE_FLOAT16):
        options = pb.EncodeOptions(levels=[number], value_type=value_type)
        answer = stubs.encoder.Encode(
            pb.EncodeRequest(sequences=["ACGUACGUAC" * 9], options=options)
        )
        encoded = answer.results[0].encoded
        message = encoded.nucleotide_codes or encoded.sequence_code
        if level == "sequence":
            message = encoded.sequence_code
        assert message.index_type == codes.INDEX_TYPE_UINT16
        assert message.value_type == value_type
        sizes.append(len(message.values) + len(message.indices))
    assert sizes[1] * 3 == sizes[0] * 2
    address = stubs.channel._channel.target().decode()  # type: ignore[attr-defined]
    with Client(address) as client:
        full = client.encode(["ACGUACGUAC" * 9], level=level)
        half = client.encode(["ACGUACGUAC" * 9], level=level, half=True)
    one = full.sequence_codes or full.nucleotide_codes
    other = half.sequence_codes or half.nucleotide_codes
    assert one is not None
    assert other is not None
    assert other.values.dtype == np.float32
    assert one.indices.tolist() == other.indices.tolist()
    np.testing.assert_allclose(other.values, one.values, rtol=2**-11 * 1.02, atol=1e-6)
