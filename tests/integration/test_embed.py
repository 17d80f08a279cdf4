"""Embed over a real socket: the model's own activations, whatever batch and chunk."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, eventually, failure_of

from ribolex.lm import LanguageModel
from ribolex.server.convert import parts
from ribolex.v1 import codes_pb2 as codes
from ribolex.v1 import dictionary_pb2 as dictionaries
from ribolex.v1 import encoder_pb2 as pb
from ribolex.v1.encoder_pb2_grpc import EncoderServiceStub

SEQUENCES = ["GGGAAACCC", "acgtn", "A" * 200, "C", "GGGAAACCC"]
D_MODEL = 32
LETTERS = "ACGU"


@dataclass(frozen=True)
class Read:
    """An answer put together again."""

    header: pb.EmbedHeader
    rows: dict[int, np.ndarray[Any, Any]]
    rejections: dict[int, codes.Rejection]
    n_messages: int


def request(*sequences: str, **options: object) -> pb.EmbedRequest:
    return pb.EmbedRequest(sequences=sequences, **options)  # type: ignore[arg-type]


def read(answer: Iterator[pb.EmbedResponse]) -> Read:
    rows: dict[int, list[np.ndarray[Any, Any]]] = {}
    rejections, order, n_messages = {}, [], 0
    for message in answer:
        n_messages += 1
        header = message.header
        dtype = {1: "<f4", 2: "<f2"}[header.value_type]
        shape = (-1, len(header.layers), header.d_model)
        for result in message.results:
            order.append(result.index)
            if result.HasField("rejection"):
                rejections[result.index] = result.rejection
                continue
            parts = rows.setdefault(result.index, [])
            assert result.embedded.first_row == sum(map(len, parts))
            parts.append(np.frombuffer(result.embedded.values, dtype).reshape(shape))
    assert order == sorted(order)
    whole = {index: np.concatenate(parts) for index, parts in rows.items()}
    return Read(header, whole, rejections, n_messages)


def expected(lm: LanguageModel, sequence: str, layers: list[int]) -> Any:
    (states,) = lm.activations([sequence], layers)
    return np.stack([states[layer] for layer in layers], axis=1)


def test_rows_are_the_models_activations(stubs: Stubs, lm: LanguageModel) -> None:
    found = read(stubs.encoder.Embed(request(*SEQUENCES, layers=[2, 1, 2])))
    assert (found.header.model_name, found.header.model_digest) == (lm.name, lm.digest)
    assert list(found.header.layers) == [1, 2]
    assert found.header.hook == dictionaries.HOOK_NORMED
    assert found.header.level == codes.LEVEL_NUCLEOTIDE
    assert found.header.value_type == codes.VALUE_TYPE_FLOAT32
    assert sorted(found.rows) == [0, 1, 2, 3, 4]
    for index, sequence in enumerate(SEQUENCES):
        rows = expected(lm, sequence, [1, 2])
        assert found.rows[index].shape == (len(sequence), 2, D_MODEL)
        np.testing.assert_allclose(found.rows[index], rows, atol=1e-5)


def test_nothing_named_means_the_last_layer(stubs: Stubs, lm: LanguageModel) -> None:
    found = read(stubs.encoder.Embed(request("ACGU")))
    assert list(found.header.layers) == [2]
    np.testing.assert_allclose(found.rows[0], expected(lm, "ACGU", [2]), atol=1e-5)


def test_raw_hook_is_the_blocks_own_output(stubs: Stubs, lm: LanguageModel) -> None:
    asked = request("ACGUACGU", layers=[1], hook=dictionaries.HOOK_RAW)
    found = read(stubs.encoder.Embed(asked))
    (states,) = lm.activations(["ACGUACGU"], [1], "raw")
    assert found.header.hook == dictionaries.HOOK_RAW
    np.testing.assert_allclose(found.rows[0][:, 0], states[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "told", "pool"),
    [
        (codes.POOLING_UNSPECIFIED, codes.POOLING_MEAN, np.mean),
        (codes.POOLING_MEAN, codes.POOLING_MEAN, np.mean),
        (codes.POOLING_MAX, codes.POOLING_MAX, np.max),
    ],
)
def test_pooled_row_is_over_the_nucleotides_alone(
    stubs: Stubs, lm: LanguageModel, pooling: Any, told: Any, pool: Any
) -> None:
    asked = request(*SEQUENCES, level=codes.LEVEL_SEQUENCE, pooling=pooling)
    found = read(stubs.encoder.Embed(asked))
    assert (found.header.level, found.header.pooling) == (codes.LEVEL_SEQUENCE, told)
    for index, sequence in enumerate(SEQUENCES):
        rows = pool(expected(lm, sequence, [2]), axis=0, keepdims=True)
        np.testing.assert_allclose(found.rows[index], rows, atol=1e-5)


def test_float16_is_the_same_rounded(stubs: Stubs) -> None:
    full = read(stubs.encoder.Embed(request(*SEQUENCES)))
    asked = request(*SEQUENCES, value_type=codes.VALUE_TYPE_FLOAT16)
    half = read(stubs.encoder.Embed(asked))
    for index in full.rows:
        assert half.rows[index].dtype == np.float16
        np.testing.assert_allclose(half.rows[index], full.rows[index], rtol=2**-10)


def test_the_same_alone_and_among_others(stubs: Stubs) -> None:
    random = np.random.default_rng(5)
    sequences = [
        "".join(random.choice(list(LETTERS), int(n)))
        for n in random.integers(1, 200, size=16)
    ]
    together = read(stubs.encoder.Embed(request(*sequences, layers=[1, 2])))
    for index, sequence in enumerate(sequences):
        alone = read(stubs.encoder.Embed(request(sequence, layers=[1, 2])))
        np.testing.assert_allclose(alone.rows[0], together.rows[index], atol=1e-5)


def test_gaps_are_taken_out_on_request(stubs: Stubs) -> None:
    gapped = read(stubs.encoder.Embed(request("GG-GA.AA", degap=True)))
    whole = read(stubs.encoder.Embed(request("GGGAAA")))
    np.testing.assert_allclose(gapped.rows[0], whole.rows[0], atol=1e-5)


def test_a_faulty_sequence_is_rejected_alone(stubs: Stubs) -> None:
    found = read(stubs.encoder.Embed(request("ACGU", "ACXGU", "", "A" * 201, "GG")))
    assert sorted(found.rows) == [0, 4]
    assert sorted(found.rejections) == [1, 2, 3]
    assert found.rejections[1].field == "sequences[1]"
    assert "'X' at position 3" in found.rejections[1].message
    reason = codes.REJECTION_REASON_SEQUENCE_TOO_LONG
    assert found.rejections[3].reason == reason


def test_nothing_sound_is_an_answer_too(stubs: Stubs) -> None:
    found = read(stubs.encoder.Embed(request("?")))
    assert (list(found.rejections), found.header.d_model) == ([0], D_MODEL)


@pytest.mark.parametrize(
    ("bad", "field", "text"),
    [
        (request(), "sequences", "0, expected 1 to 16"),
        (request(*["A"] * 17), "sequences", "17, expected 1 to 16"),
        (request("A", layers=[3]), "layers", "3, expected 1 to 2, tiny's"),
        (request("A", layers=[1, 0]), "layers", "0, expected 1 to 2"),
        (request("A", hook=9), "hook", "9 is no hook"),
        (request("A", level=9), "level", "9 is no level"),
        (
            request("A", pooling=codes.POOLING_COUNT),
            "pooling",
            "3, expected POOL",
        ),
        (request("A", value_type=9), "value_type", "9 is no type"),
    ],
)
def test_a_bad_request_names_its_field(
    stubs: Stubs, bad: pb.EmbedRequest, field: str, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.encoder.Embed(bad))
    failure = failure_of(caught.value)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields == [field]
    assert text in failure.message


def test_a_large_answer_comes_in_chunks(own_server: OwnServer) -> None:
    """256 x 200 nucleotides x 2 layers x 32 float32: 12.5 MiB, in messages of 1."""
    random = np.random.default_rng(1)
    sequences = ["".join(random.choice(list(LETTERS), 200)) for _ in range(256)]
    with own_server(max_sequences=256) as address, connect(address).channel as channel:
        encoder = EncoderServiceStub(channel)
        found = read(encoder.Embed(request(*sequences, layers=[1, 2])))
    assert found.n_messages > 12
    assert [len(found.rows[i]) for i in range(256)] == [200] * 256


def test_one_rna_larger_than_a_message_comes_in_chunks(
    own_server: OwnServer, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 3000)
    sequences = ["ACGUACGUAC" * 9, "GG", "?", "GGGAAACCCA" * 7]
    with own_server() as address, connect(address).channel as channel:
        found = read(EncoderServiceStub(channel).Embed(request(*sequences)))
    assert found.n_messages > 4
    for index in (0, 1, 3):
        rows = expected(lm, sequences[index], [2])
        np.testing.assert_allclose(found.rows[index], rows, atol=1e-5)


def test_what_can_never_fit_is_refused_before_it_is_computed(
    own_server: OwnServer,
) -> None:
    """4,096 rows of 2 x 32 float32 are 1 MiB."""
    sequences = ["A" * 200] * 16 + ["A" * 200] * 5
    with (
        own_server(max_embedding_mib=1, max_sequences=32) as address,
        connect(address).channel as channel,
    ):
        stub = EncoderServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Embed(request(*sequences, layers=[1, 2])))
        failure = failure_of(caught.value)
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.fields == ["sequences"]
        assert "ask for float16" in failure.message
        half = request(*sequences, layers=[1, 2], value_type=2)
        assert len(read(stub.Embed(half)).rows) == 21


def test_room_is_given_back_by_who_leaves_or_fails(own_server: OwnServer) -> None:
    with (
        own_server(max_embedding_mib=1, max_sequences=32) as address,
        connect(address).channel as channel,
    ):
        stub = EncoderServiceStub(channel)
        large = request(*["ACGUA" * 40] * 20, layers=[1, 2])
        for leave, _ in itertools.product((True, False), range(3)):
            answer = stub.Embed(large, timeout=30 if leave else 0.001)
            if leave:
                next(answer)
                answer.cancel()
            else:
                with pytest.raises(grpc.RpcError):
                    list(answer)

        # Each of them holds nearly all of the room: it must be free again.
        def is_answered() -> bool:
            try:
                return len(read(stub.Embed(large, timeout=30)).rows) == 20
            except grpc.RpcError as error:
                failure = failure_of(error)
                assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert failure.retry_s
                return False

        eventually(is_answered)


def test_a_deadline_is_kept(stubs: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stubs.encoder.Embed(request(*["ACGUA" * 40] * 16), timeout=0.002))
    assert failure_of(caught.value).code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_codes_and_activations_may_be_asked_for_at_once(stubs: Stubs) -> None:
    """Their tasks never share a batch."""
    lengths = range(4, 40, 4)
    dense = [stubs.encoder.Embed(request("A" * n)) for n in lengths]
    sparse = [
        stubs.encoder.Encode.future(pb.EncodeRequest(sequences=["A" * n]))
        for n in lengths
    ]
    for n, rows, answer in zip(lengths, dense, sparse, strict=True):
        assert read(rows).rows[0].shape == (n, 1, D_MODEL)
        assert answer.result().results[0].encoded.n_nucleotides == n
