"""EncoderService over a real socket: right codes, clear refusals, ordered streams."""

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, failure_of

from ribolex.dictionary import Codes, Dictionary, pool
from ribolex.lm import LanguageModel
from ribolex.server.convert.codes import decode_codes
from ribolex.server.engine.encoding import EncodeTask, Recipe
from ribolex.server.engine.task import compute
from ribolex.v1 import codes_pb2 as codes
from ribolex.v1 import encoder_pb2 as pb
from ribolex.v1.encoder_pb2_grpc import EncoderServiceStub

BOTH = (codes.LEVEL_NUCLEOTIDE, codes.LEVEL_SEQUENCE)
SEQUENCES = ["GGGAAACCC", "acgtn", "A" * 200, "C"]


def request(*sequences: str, **options: object) -> pb.EncodeRequest:
    return pb.EncodeRequest(
        sequences=sequences,
        options=pb.EncodeOptions(**options),  # type: ignore[arg-type]
    )


def close(one: Codes, other: Codes, tolerance: float = 1e-4) -> bool:
    return bool(
        one.indptr.tolist() == other.indptr.tolist()
        and one.indices.tolist() == other.indices.tolist()
        and np.allclose(one.values, other.values, atol=tolerance)
    )


def test_codes_equal_direct_computation(
    stubs: Stubs, lm: LanguageModel, dictionary: Dictionary
) -> None:
    answer = stubs.encoder.Encode(request(*SEQUENCES, levels=BOTH))
    assert (answer.dictionary.name, answer.dictionary.version) == ("tiny", 1)
    for sequence, result in zip(SEQUENCES, answer.results, strict=True):
        text = sequence.upper().replace("T", "U")
        recipe = Recipe(dictionary.sae.k, "max")
        (expected,) = compute(lm, [EncodeTask(text, dictionary, recipe)])
        encoded = result.encoded
        assert encoded.n_nucleotides == len(sequence)
        assert encoded.fvu == pytest.approx(expected.fvu, rel=1e-3)
        found = decode_codes(encoded.nucleotide_codes, "codes")
        assert len(found) == len(sequence)
        assert close(found, expected.codes)
        features, values = decode_codes(encoded.sequence_code, "code").row(0)
        pooled = pool(expected.codes, "max")
        assert features.tolist() == pooled.indices.tolist()
        assert np.allclose(values, pooled.values, atol=1e-4)


@pytest.mark.parametrize(
    ("levels", "has"),
    [
        ((), (False, True)),
        ((codes.LEVEL_SEQUENCE,), (False, True)),
        ((codes.LEVEL_NUCLEOTIDE,), (True, False)),
        ((*BOTH, codes.LEVEL_SEQUENCE), (True, True)),
    ],
)
def test_only_the_levels_asked_for_are_sent(
    stubs: Stubs, levels: tuple[codes.Level.ValueType, ...], has: tuple[bool, bool]
) -> None:
    (result,) = stubs.encoder.Encode(request("ACGU", levels=levels)).results
    found = result.encoded
    assert (found.HasField("nucleotide_codes"), found.HasField("sequence_code")) == has


def test_options_change_what_is_answered(stubs: Stubs) -> None:
    answer = stubs.encoder.Encode(
        request(
            "GG-GAAA.CCC",
            levels=BOTH,
            pooling=codes.POOLING_COUNT,
            k=2,
            value_type=codes.VALUE_TYPE_FLOAT16,
            degap=True,
            dictionary=codes.DictionaryRef(name="tiny", version=2),
        )
    )
    assert answer.dictionary.version == 2
    (encoded,) = (result.encoded for result in answer.results)
    assert encoded.n_nucleotides == 9
    nucleotides = decode_codes(encoded.nucleotide_codes, "codes")
    assert encoded.nucleotide_codes.value_type == codes.VALUE_TYPE_FLOAT16
    assert encoded.nucleotide_codes.index_type == codes.INDEX_TYPE_UINT16
    assert np.diff(nucleotides.indptr).max() == 2
    features, values = decode_codes(encoded.sequence_code, "code").row(0)
    counted = np.bincount(nucleotides.indices)
    assert values.tolist() == counted[features].tolist()


def test_a_faulty_sequence_is_rejected_alone(stubs: Stubs) -> None:
    answer = stubs.encoder.Encode(request("ACGU", "", "ACXGU", "A-C", "A" * 201, "GG"))
    assert [result.WhichOneof("outcome") for result in answer.results] == [
        "encoded", "rejection", "rejection", "rejection", "rejection", "encoded",
    ]  # fmt: skip
    faults = [result.rejection for result in answer.results[1:5]]
    assert [fault.field for fault in faults] == [
        f"sequences[{i}]" for i in (1, 2, 3, 4)
    ]
    assert [fault.reason for fault in faults] == [
        codes.REJECTION_REASON_INVALID_SEQUENCE,
        codes.REJECTION_REASON_INVALID_SEQUENCE,
        codes.REJECTION_REASON_INVALID_SEQUENCE,
        codes.REJECTION_REASON_SEQUENCE_TOO_LONG,
    ]
    assert "'X' at position 3" in faults[1].message
    assert "201 nucleotides, expected at most 200" in faults[3].message


@pytest.mark.parametrize(
    ("bad", "code", "field", "text"),
    [
        (request(), "INVALID_ARGUMENT", "sequences", "0, expected 1 to 16"),
        (request(*["A"] * 17), "INVALID_ARGUMENT", "sequences", "17, expected 1 to 16"),
        (request("A", k=7), "INVALID_ARGUMENT", "options.k", "7, expected at most 6"),
        (
            request("A", levels=[0]),
            "INVALID_ARGUMENT",
            "options.levels",
            "0 is no",
        ),
        (
            request("A", levels=[9]),
            "INVALID_ARGUMENT",
            "options.levels",
            "9 is no",
        ),
        (request("A", pooling=9), "INVALID_ARGUMENT", "options.pooling", "9 is no"),
        (request("A", value_type=9), "INVALID_ARGUMENT", "options.value_type", "9 is"),
    ],
)
def test_a_bad_request_names_its_field(
    stubs: Stubs, bad: pb.EncodeRequest, code: str, field: str, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.encoder.Encode(bad)
    failure = failure_of(caught.value)
    assert (failure.code.name, failure.fields) == (code, [field])
    assert text in failure.message


@pytest.mark.parametrize(
    ("ref", "code", "reason"),
    [
        (codes.DictionaryRef(name="nobody"), "NOT_FOUND", "DICTIONARY_NOT_FOUND"),
        (
            codes.DictionaryRef(name="tiny", version=9),
            "NOT_FOUND",
            "DICTIONARY_NOT_FOUND",
        ),
        (
            codes.DictionaryRef(name="other"),
            "FAILED_PRECONDITION",
            "INCOMPATIBLE_DICTIONARY",
        ),
        (codes.DictionaryRef(name="../x"), "INVALID_ARGUMENT", "INVALID_REQUEST"),
    ],
)
def test_dictionaries_that_cannot_be_used(
    stubs: Stubs, ref: codes.DictionaryRef, code: str, reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.encoder.Encode(request("ACGU", dictionary=ref))
    failure = failure_of(caught.value)
    assert (failure.code.name, failure.reason) == (code, reason)


def test_messages_over_the_limit_are_refused_with_it(own_server: OwnServer) -> None:
    """An answer of 256 x 200 nucleotides x 6 features is more than 1 MiB."""
    with own_server(max_sequences=256) as address, connect(address).channel as channel:
        encoder = EncoderServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            encoder.Encode(request(*["ACGUU" * 40] * 256, levels=BOTH))
        failure = failure_of(caught.value)
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.fields == ["sequences"]
        assert f"expected at most {1 << 20}" in failure.message
        assert encoder.Encode(request(*["ACGUU" * 40] * 256)).results
        with pytest.raises(grpc.RpcError) as caught:
            encoder.Encode(request("A" * (1 << 20)))
        failure = failure_of(caught.value)
        assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(1 << 20) in failure.message


def long_rna(n_nucleotides: int, seed: int = 0) -> str:
    random = np.random.default_rng(seed)
    return "".join(random.choice(list("ACGU"), n_nucleotides))


def test_an_rna_beyond_the_context_is_encoded_whole(
    own_server: OwnServer, lm: LanguageModel, dictionary: Dictionary
) -> None:
    """Between short ones, in batches of 256 tokens: it makes one of its own."""
    text = long_rna(5000)
    recipe = Recipe(dictionary.sae.k, "max")
    (expected,) = compute(lm, [EncodeTask(text, dictionary, recipe)])
    with (
        own_server(max_nucleotides=5000, batch_tokens=256) as address,
        connect(address).channel as channel,
    ):
        encoder = EncoderServiceStub(channel)
        answer = encoder.Encode(request("ACGU", text, "GG", "A" * 5001, levels=BOTH))
        first, found, last, refused = answer.results
        assert found.encoded.n_nucleotides == 5000
        assert close(decode_codes(found.encoded.nucleotide_codes, "x"), expected.codes)
        assert found.encoded.fvu == pytest.approx(expected.fvu, rel=1e-3)
        assert (first.encoded.n_nucleotides, last.encoded.n_nucleotides) == (4, 2)
        assert "5001 nucleotides, expected at most 5000" in refused.rejection.message
        rows = [
            np.frombuffer(result.embedded.values, "<f4").reshape(-1, 32)
            for message in encoder.Embed(pb.EmbedRequest(sequences=[text], layers=[1]))
            for result in message.results
        ]
    (states,) = lm.activations([text], [1])
    np.testing.assert_allclose(np.concatenate(rows), states[1], atol=1e-5)


def test_timing_is_told(stubs: Stubs) -> None:
    timing = stubs.encoder.Encode(request("ACGU")).timing
    assert 0 < timing.compute_s < timing.total_s
    assert 0 < timing.prepare_s < timing.total_s
    assert 0 <= timing.queue_s < timing.total_s


def test_a_call_may_go_with_the_bulk_and_gets_the_same(stubs: Stubs) -> None:
    one, other = (
        stubs.encoder.Encode(pb.EncodeRequest(sequences=["ACGU"], bulk=bulk))
        for bulk in (False, True)
    )
    assert list(one.results) == list(other.results)


def test_a_call_that_can_never_fit_is_refused_for_good(own_server: OwnServer) -> None:
    with (
        own_server(max_queue_tokens=100) as address,
        connect(address).channel as channel,
    ):
        encoder = EncoderServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            encoder.Encode(request("A" * 60, "C" * 60))
        failure = failure_of(caught.value)
        assert (failure.code.name, failure.fields) == (
            "INVALID_ARGUMENT",
            ["sequences"],
        )
        assert "124 tokens, expected at most 100" in failure.message
        (result,) = encoder.Encode(request("A" * 99)).results
        assert "99 nucleotides, expected at most 98" in result.rejection.message


def marked(i: int, *sequences: str) -> pb.EncodeStreamRequest:
    return pb.EncodeStreamRequest(request_id=f"r{i}", request=request(*sequences))


def test_a_stream_answers_each_request_in_order(stubs: Stubs) -> None:
    batches = [["ACGU" * (1 + 7 * i % 40), "GG" * (i + 1)] for i in range(30)]
    answers = stubs.encoder.EncodeStream(
        marked(i, *batch) for i, batch in enumerate(batches)
    )
    for i, (batch, answer) in enumerate(zip(batches, answers, strict=True)):
        assert answer.request_id == f"r{i}"
        lengths = [result.encoded.n_nucleotides for result in answer.response.results]
        assert lengths == [len(sequence) for sequence in batch]
        for sequence, result in zip(batch, answer.response.results, strict=True):
            (alone,) = stubs.encoder.Encode(request(sequence)).results
            assert close(
                decode_codes(alone.encoded.sequence_code, "code"),
                decode_codes(result.encoded.sequence_code, "code"),
            )


def test_a_bad_request_ends_a_stream_after_the_answers_before_it(stubs: Stubs) -> None:
    answers = stubs.encoder.EncodeStream(
        iter([marked(0, "ACGU"), marked(1, "GG"), marked(2), marked(3, "CC")])
    )
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    failure = failure_of(caught.value)
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields == ["sequences"]


def test_answers_before_an_error_reach_the_caller(stubs: Stubs) -> None:
    answers = stubs.encoder.EncodeStream(iter([marked(0, "ACGU"), marked(1)]))
    assert next(answers).request_id == "r0"
    with pytest.raises(grpc.RpcError):
        next(answers)


def test_an_empty_stream_has_no_answers(stubs: Stubs) -> None:
    assert list(stubs.encoder.EncodeStream(iter([]))) == []


def test_a_caller_who_leaves_a_stream_does_no_harm(stubs: Stubs) -> None:
    def endless() -> Iterator[pb.EncodeStreamRequest]:
        i = 0
        while True:
            yield marked(i, "ACGU" * 40)
            i += 1

    answers = stubs.encoder.EncodeStream(endless())
    next(answers)
    answers.cancel()
    assert stubs.encoder.Encode(request("ACGU"), timeout=10).results


def test_a_deadline_is_kept(stubs: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.encoder.Encode(request(*["ACGUA" * 40] * 16), timeout=0.002)
    assert failure_of(caught.value).code is grpc.StatusCode.DEADLINE_EXCEEDED
