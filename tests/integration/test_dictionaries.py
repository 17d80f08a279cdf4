"""DictionaryService over a real socket: listed, looked into, near by direction."""

import uuid
from typing import Any

import grpc
import numpy as np
import pytest
from tests.integration.conftest import Stubs, failure_of

from ribolex.dictionary import Dictionary
from ribolex.v1 import codes_pb2, collection_pb2
from ribolex.v1 import dictionary_pb2 as pb


def test_all_versions_are_listed_newest_first(stubs: Stubs) -> None:
    found: list[pb.Dictionary] = []
    token = ""
    for _ in range(3):
        page = stubs.dictionaries.ListDictionaries(
            pb.ListDictionariesRequest(page_size=1, page_token=token)
        )
        found += page.dictionaries
        token = page.next_page_token
    assert token == ""
    refs = [(each.ref.name, each.ref.version) for each in found]
    assert refs == [("other", 1), ("tiny", 2), ("tiny", 1)]
    assert [each.is_current for each in found] == [True, False, True]
    assert [each.is_default for each in found] == [False, False, True]
    tiny = found[2]
    assert (tiny.layer, tiny.k, tiny.d_in, tiny.n_features) == (1, 6, 32, 96)
    assert (tiny.hook, tiny.kind) == (pb.HOOK_NORMED, pb.DICTIONARY_KIND_SAE)
    assert (tiny.model_name, tiny.licence) == ("tiny", "CC0-1.0")
    assert tiny.metrics == {"fvu": 0.25, "l0": 6.0}
    assert len(tiny.content_id) == len(tiny.model_digest) == 64


def test_a_feature_is_told_with_its_evidence(
    stubs: Stubs, dictionary: Dictionary
) -> None:
    found = stubs.dictionaries.GetFeature(pb.GetFeatureRequest(feature=7))
    assert found.feature.label == "feature 7 of seed 0"
    assert found.feature.idf == pytest.approx(float(dictionary.features.idf[7]))
    (evidence,) = found.feature.evidence
    assert (evidence.label, evidence.measure, evidence.effect) == (
        "type:tRNA",
        "enrichment",
        3.0,
    )
    assert (evidence.q_value, evidence.control, evidence.support) == (0.01, 1.0, 25)
    (example,) = found.examples
    assert (example.rna, list(example.positions)) == ("ex", [0, 3])
    assert len(found.nearest) == 5
    bare = stubs.dictionaries.GetFeature(
        pb.GetFeatureRequest(feature=7, max_examples=0, max_nearest=0)
    )
    assert not bare.examples
    assert not bare.nearest


def test_features_are_listed_page_by_page_in_the_order_asked_for(
    stubs: Stubs, dictionary: Dictionary
) -> None:
    found: list[int] = []
    token = ""
    for _ in range(4):
        page = stubs.dictionaries.ListFeatures(
            pb.ListFeaturesRequest(
                page_size=30, page_token=token, order=pb.FEATURE_ORDER_DENSITY
            )
        )
        assert page.n_features == 96
        found += [each.feature.id for each in page.features]
        token = page.next_page_token
    assert token == ""
    assert found == np.argsort(-dictionary.features.density, kind="stable").tolist()


def test_features_are_chosen_by_their_evidence_and_label(stubs: Stubs) -> None:
    def count(**asked: Any) -> int:
        request = pb.ListFeaturesRequest(page_size=1, **asked)
        return stubs.dictionaries.ListFeatures(request).n_features

    assert count(label="type:tRNA") == count(label="type:") == count(min_effect=3) == 96
    assert count(label="type:rRNA") == count(min_effect=3.1) == 0
    assert count(max_q_value=0.001) == 0
    assert count(text="FEATURE 7 of") == 1
    (listed,) = stubs.dictionaries.ListFeatures(
        pb.ListFeaturesRequest(text="feature 7 of")
    ).features
    assert (listed.feature.id, listed.evidence.label) == (7, "type:tRNA")
    assert not listed.feature.evidence


def test_examples_can_come_from_a_collection(stubs: Stubs) -> None:
    name = f"c-{uuid.uuid4().hex}"
    collections = stubs.collections
    collections.CreateCollection(collection_pb2.CreateCollectionRequest(name=name))
    rnas = [
        collection_pb2.RnaRecord(name=f"r{i}", sequence="ACGGU"[i:] + "GGACCAU")
        for i in range(5)
    ]
    request = collection_pb2.UpsertRnasRequest(collection=name, rnas=rnas)
    collections.UpsertRnas(iter([request]))
    hit = collections.SearchSimilar(
        collection_pb2.SearchSimilarRequest(collection=name, rna="r0", top_k=1)
    ).hits[0]
    shared = hit.shared_features[0]
    found = stubs.dictionaries.GetFeature(
        pb.GetFeatureRequest(feature=shared.feature, collection=name, max_examples=5)
    )
    positions = {each.rna: list(each.positions) for each in found.examples}
    assert positions["r0"] == list(shared.query_positions)
    assert positions[hit.rna.name] == list(shared.target_positions)
    strengths = [each.max_activation for each in found.examples]
    assert strengths == sorted(strengths, reverse=True)
    ref = codes_pb2.DictionaryRef(name="tiny", version=2)
    with pytest.raises(grpc.RpcError) as caught:
        stubs.dictionaries.GetFeature(
            pb.GetFeatureRequest(feature=1, collection=name, dictionary=ref)
        )
    failure = failure_of(caught.value)
    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION
    collections.DeleteCollection(collection_pb2.DeleteCollectionRequest(name=name))


def test_near_features_are_those_of_near_directions(
    stubs: Stubs, dictionary: Dictionary
) -> None:
    atoms = dictionary.sae.W_dec.numpy()
    cosines = atoms @ atoms[5]
    expected = [int(i) for i in np.argsort(-cosines) if i != 5][:10]
    found = stubs.dictionaries.NearestFeatures(pb.NearestFeaturesRequest(feature=5))
    assert [each.feature for each in found.features] == expected
    values = [each.cosine for each in found.features]
    assert values == pytest.approx(cosines[expected], abs=1e-5)
    activation = (3 * atoms[5] + dictionary.sae.b_dec.numpy()).astype("<f4")
    near = stubs.dictionaries.NearestFeatures(
        pb.NearestFeaturesRequest(activation=activation.tobytes(), top_k=11)
    )
    assert [each.feature for each in near.features] == [5, *expected]
    assert near.features[0].label == "feature 5 of seed 0"
    everything = stubs.dictionaries.NearestFeatures(
        pb.NearestFeaturesRequest(feature=5, top_k=1000)
    )
    assert len(everything.features) == 95


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.NearestFeaturesRequest(), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (pb.NearestFeaturesRequest(feature=96), "NOT_FOUND", "FEATURE_NOT_FOUND"),
        (
            pb.NearestFeaturesRequest(activation=b"\0" * 124),
            "FAILED_PRECONDITION",
            "INCOMPATIBLE_DICTIONARY",
        ),
        (
            pb.NearestFeaturesRequest(activation=b"\xff" * 128),
            "INVALID_ARGUMENT",
            "INVALID_REQUEST",
        ),
        (
            pb.NearestFeaturesRequest(feature=1, top_k=1001),
            "INVALID_ARGUMENT",
            "INVALID_REQUEST",
        ),
    ],
)
def test_what_cannot_be_near_is_refused(
    stubs: Stubs, request_: pb.NearestFeaturesRequest, code: str, reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.dictionaries.NearestFeatures(request_)
    failure = failure_of(caught.value)
    assert (failure.code.name, failure.reason) == (code, reason)


def test_a_feature_that_is_not_there(stubs: Stubs) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stubs.dictionaries.GetFeature(pb.GetFeatureRequest(feature=96))
    failure = failure_of(caught.value)
    assert failure.code is grpc.StatusCode.NOT_FOUND
    assert "expected 0 to 95" in failure.message
