"""ScanVariants over a real socket: what variants change, against one at a time."""

import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import Stubs, connect, eventually, failure_of

from ribolex.client import AsyncClient, Client, RejectedError, VariantScan
from ribolex.dictionary import Codes, Dictionary
from ribolex.lm import LanguageModel
from ribolex.rna import VOCABULARY
from ribolex.server.engine.scoring import ScoreTask
from ribolex.v1 import codes_pb2, variants_pb2

RNA = "GGGAAACCCUAGNCA"
MIXED = ["1G>A", "2_4del", "0_1insAUU", "15_16insC", "4A>G;9C>U", "5_6delinsGGG"]
COLUMNS = [VOCABULARY.index(letter) for letter in "ACGT"]


@pytest.fixture
def client(running_server: str) -> Iterator[Client]:
    with Client(running_server) as found:
        yield found


def log_likelihoods(
    lm: LanguageModel, text: str, masked: list[int] | None = None
) -> np.ndarray:
    (logits,) = lm.logits([text], None if masked is None else [masked])
    own = logits[:, COLUMNS].astype(np.float64)
    out: np.ndarray = own - np.log(np.exp(own).sum(1, keepdims=True))
    return out


def pseudo(lm: LanguageModel, text: str) -> float:
    table = log_likelihoods(lm, text)
    letters = ["ACGU".find(letter) for letter in text]
    return float(sum(table[i, at] for i, at in enumerate(letters) if at >= 0))


def dense(codes: Codes | Any) -> np.ndarray:
    out = np.zeros((len(codes), codes.n_features))
    rows = np.repeat(np.arange(len(codes)), np.diff(codes.indptr))
    out[rows, codes.indices] = codes.values
    return out


def test_a_scan_is_what_one_variant_at_a_time_gives(
    client: Client, lm: LanguageModel
) -> None:
    scan = client.scan(
        RNA, variants=MIXED, reach=2, max_features=96, with_position_changes=True
    )
    assert scan.sequence == RNA
    assert scan.log_likelihood == pytest.approx(pseudo(lm, RNA), abs=1e-3)
    assert [one.changes for one in scan] == MIXED
    whole = client.encode([RNA], level="nucleotide").nucleotide_codes
    assert whole is not None
    assert scan.code_sum == pytest.approx(whole.values.sum(), rel=1e-4)
    alternatives = {
        "1G>A": ("AGGAAACCCUAGNCA", list(range(15))),
        "2_4del": ("GAACCCUAGNCA", [0, *range(4, 15)]),
        "0_1insAUU": ("AUU" + RNA, [0, 0, 0, *range(15)]),
        "15_16insC": (RNA + "C", [*range(15), 14]),
        "4A>G;9C>U": ("GGGGAACCUUAGNCA", list(range(15))),
        "5_6delinsGGG": ("GGGAGGGCCCUAGNCA", [0, 1, 2, 3, 4, 5, 5, *range(6, 15)]),
    }
    for one in scan:
        text, anchors = alternatives[one.changes]
        found = client.encode([text], level="nucleotide").nucleotide_codes
        assert found is not None
        expected = -dense(whole)
        np.add.at(expected, anchors, dense(found))
        got = np.zeros_like(expected)
        for each in one.features:
            got[list(each.positions), each.feature] = each.changes
        np.testing.assert_allclose(got, expected, atol=2e-3)
        near = [i for i in range(15) if min(abs(i - p) for p in one.positions) <= 2]
        for rows, sums in (
            (expected, (one.gained, one.lost)),
            (expected[near], (one.near_gained, one.near_lost)),
        ):
            totals = (np.maximum(rows, 0).sum(), np.maximum(-rows, 0).sum())
            assert sums == pytest.approx(totals, abs=2e-2)
        assert one.position_changes is not None
        np.testing.assert_allclose(
            one.position_changes, np.abs(expected).sum(1), atol=1e-2
        )
        sizes = [each.gained + each.lost for each in one.features]
        assert sizes == sorted(sizes, reverse=True)
        ratio = pseudo(lm, text) - pseudo(lm, RNA)
        assert one.log_likelihood_ratio == pytest.approx(ratio, abs=2e-3)


def test_masked_marginals_hide_all_that_differs_at_once(
    client: Client, lm: LanguageModel
) -> None:
    scan = client.scan(
        RNA, variants=["1G>A", "4A>G;9C>U", "2del", "13N>A", "4_5delinsAC"]
    )
    table = log_likelihoods(lm, RNA, [3, 8])
    expected = table[3, 2] - table[3, 0] + table[8, 3] - table[8, 1]
    assert scan.variants[1].masked_marginal == pytest.approx(expected, abs=1e-4)
    alone = log_likelihoods(lm, RNA, [0])[0]
    assert scan.variants[0].masked_marginal == pytest.approx(
        alone[0] - alone[2], abs=1e-4
    )
    assert scan.variants[2].masked_marginal is None
    assert scan.variants[3].masked_marginal is None
    # Of a longer stretch only what differs is hidden.
    half = log_likelihoods(lm, RNA, [4])[4]
    assert scan.variants[4].masked_marginal == pytest.approx(
        half[1] - half[0], abs=1e-4
    )


def test_saturation_is_every_substitution_in_order(client: Client) -> None:
    heard: list[int] = []
    scan = client.scan(RNA * 3, saturate=True, on_progress=heard.append)
    assert len(scan) == 3 * (3 * 14 + 4) == sum(heard)
    assert [one.index for one in scan] == list(range(len(scan)))
    assert np.isfinite(scan.grid("change")).sum() == len(scan)
    part = client.scan(RNA * 3, saturate=(2, 4))
    assert [one.changes for one in part] == [
        "3G>A", "3G>C", "3G>U", "4A>C", "4A>G", "4A>U",
    ]  # fmt: skip
    whole = {one.changes: one for one in scan}
    for one in part:
        same = whole[one.changes]
        assert one.masked_marginal == pytest.approx(same.masked_marginal, abs=1e-4)
        assert one.gained == pytest.approx(same.gained, rel=1e-3)


def test_alternative_sequences_are_compared_letter_by_letter(client: Client) -> None:
    scan = client.scan(RNA, alternatives=["gggaaaccctagnca", RNA[1:], "A" + RNA[1:]])
    assert [one.changes for one in scan] == ["=", "3del", "1G>A"]
    same = scan.variants[0]
    assert (same.gained, same.lost, same.features) == (0, 0, ())
    assert same.log_likelihood_ratio == pytest.approx(0, abs=1e-4)
    assert same.masked_marginal is None


def test_a_variant_at_fault_fails_alone(client: Client) -> None:
    asked = ["1G>A", "1A>G", "99del", "2G>C"]
    scan = client.scan(RNA, variants=asked, on_rejection="skip")
    assert [one.index for one in scan] == [0, 3]
    assert [one.index for one in scan.rejections] == [1, 2]
    assert "the reference has G" in scan.rejections[0].message
    with pytest.raises(RejectedError, match=r"variants\[1\]"):
        client.scan(RNA, variants=asked)
    long = client.scan(RNA, alternatives=["A" * 201, "X"], on_rejection="skip")
    assert [one.reason for one in long.rejections] == [
        "sequence_too_long", "invalid_sequence",
    ]  # fmt: skip


async def test_the_asynchronous_client_gets_the_same(
    running_server: str, client: Client
) -> None:
    async with AsyncClient(running_server) as other:
        scan: VariantScan = await other.scan(RNA, variants=MIXED)
    assert [one.changes for one in scan] == MIXED
    expected = client.scan(RNA, variants=MIXED)
    assert [one.features for one in scan] == [one.features for one in expected]


def test_a_scan_beyond_the_limit_says_so(own_server: OwnServer) -> None:
    with own_server(max_scan_tokens=2000) as address, Client(address) as client:
        assert len(client.scan("ACGU" * 5, saturate=True)) == 60
        with pytest.raises(Exception, match=r"expected at most 2000.*max-scan-tokens"):
            client.scan("ACGU" * 50, saturate=True)


def test_a_caller_who_leaves_stops_the_scan(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, n_runs = ScoreTask.run, []

    def slow(self: ScoreTask, *given: Any) -> Any:
        n_runs.append(1)
        time.sleep(0.02)
        return run(self, *given)

    monkeypatch.setattr(ScoreTask, "run", slow)
    with own_server(batch_tokens=64) as address:
        stubs = connect(address)
        with stubs.channel:
            request = variants_pb2.ScanVariantsRequest(
                sequence="ACGU" * 25, saturation=variants_pb2.Saturation()
            )
            call = stubs.encoder.ScanVariants(request)
            next(iter(call))
            call.cancel()
            n_before = len(n_runs)
            time.sleep(0.3)
            assert len(n_runs) < n_before + 40 < 300
            # The lane is empty again: others are answered.
            eventually(lambda: _is_answered(stubs))
            with pytest.raises(grpc.RpcError) as caught:
                list(stubs.encoder.ScanVariants(request, timeout=0.2))
            assert failure_of(caught.value).code.name == "DEADLINE_EXCEEDED"


def _is_answered(stubs: Stubs) -> bool:
    request = variants_pb2.ScanVariantsRequest(sequence="ACGU", variants=["1A>G"])
    return len(list(stubs.encoder.ScanVariants(request, timeout=10))) == 2


def test_answers_of_any_size_come_in_messages_that_fit(stubs: Stubs) -> None:
    request = variants_pb2.ScanVariantsRequest(
        sequence="ACGU" * 50,
        saturation=variants_pb2.Saturation(stop=60),
        max_features=96,
        with_position_changes=True,
    )
    messages = list(stubs.encoder.ScanVariants(request))
    results = [one for message in messages for one in message.results]
    assert [one.index for one in results] == list(range(180))
    assert max(message.ByteSize() for message in messages) < 1 << 20
    assert sum(message.ByteSize() for message in messages) > 1 << 20
    assert messages[0].HasField("header")
    assert not any(message.HasField("header") for message in messages[1:])


def test_dictionary_and_k_are_as_asked(client: Client, dictionary: Dictionary) -> None:
    one = client.scan(RNA, variants=["1G>A"], dictionary="tiny@2", k=2, max_features=0)
    assert str(one.dictionary) == "tiny@2"
    assert one.variants[0].features == ()
    assert one.code_sum < client.scan(RNA, variants=["1G>A"]).code_sum
    name = dictionary.features.label[5]
    named = client.scan(RNA, saturate=True, max_features=96)
    labels = {each.label for v in named for each in v.features if each.feature == 5}
    assert labels in ({name}, set())


def test_refusals_of_a_whole_scan(stubs: Stubs) -> None:
    def code_of(**fields: Any) -> str:
        request = variants_pb2.ScanVariantsRequest(**fields)
        with pytest.raises(grpc.RpcError) as caught:
            list(stubs.encoder.ScanVariants(request))
        return failure_of(caught.value).code.name

    variant = {"sequence": RNA, "variants": ["1G>A"]}
    assert (
        code_of(**variant, dictionary=codes_pb2.DictionaryRef(name="no")) == "NOT_FOUND"
    )
    other = codes_pb2.DictionaryRef(name="other")
    assert code_of(**variant, dictionary=other) == "FAILED_PRECONDITION"
    assert code_of(sequence="A" * 201, variants=["1A>G"]) == "INVALID_ARGUMENT"
