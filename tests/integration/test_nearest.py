"""Near features across dictionaries, and of a stretch of an RNA, over a real socket."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.integration.conftest import Stubs
from tests.integration.test_cli import TRNA, Run, run
from tests.integration.test_collections import refused

from ribolex import client as rc
from ribolex.client import Client
from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.v1 import codes_pb2
from ribolex.v1 import dictionary_pb2 as pb

__all__ = ["run"]  # a fixture


@pytest.fixture
def client(running_server: str) -> Iterator[Client]:
    with Client(running_server, timeout_s=30) as client:
        yield client


def test_versions_are_searched_together(
    client: Client, dictionary: Dictionary, tiny_registry: Path
) -> None:
    other = FolderRegistry(tiny_registry).get("tiny@2")
    found = client.nearest_features(feature=5, among=["tiny@2", "tiny@1"], top_k=200)
    query = dictionary.sae.W_dec.numpy()[5]
    expected = {
        (ref, i): float(cosine)
        for ref, one in (("tiny@1", dictionary), ("tiny@2", other))
        for i, cosine in enumerate(one.sae.W_dec.numpy() @ query)
        if (ref, i) != ("tiny@1", 5)
    }
    got = {(str(one.dictionary), one.feature): one.cosine for one in found}
    assert got == pytest.approx(expected, abs=1e-5)
    cosines = [one.cosine for one in found]
    assert cosines == sorted(cosines, reverse=True)
    assert [str(one.dictionary) for one in found.searched] == ["tiny@1", "tiny@2"]
    for one in found.searched:
        assert (one.layer, one.n_features) == (1, 96)
        assert 0 < one.chance_median < one.chance_high < 1
    labels = {one.label for one in found if str(one.dictionary) == "tiny@2"}
    assert "feature 5 of seed 1" in labels


def test_everywhere_is_what_is_current_of_the_same_model(client: Client) -> None:
    found = client.nearest_features(feature=5, everywhere=True)
    assert [str(one.dictionary) for one in found.searched] == ["tiny@1"]
    found = client.nearest_features(feature=5, dictionary="tiny@2", everywhere=True)
    assert [str(one.dictionary) for one in found.searched] == ["tiny@1", "tiny@2"]
    assert str(found.dictionary) == "tiny@2"


def test_a_stretch_is_the_mean_of_its_activations(
    client: Client, dictionary: Dictionary, lm: LanguageModel
) -> None:
    found = client.nearest_features(sequence=TRNA, start=10, stop=25, top_k=96)
    rows = lm.activations([TRNA], [1])[0][1]
    mean = rows[10:25].mean(axis=0).astype(np.float32)
    by_vector = client.nearest_features(activation=mean, top_k=96)
    near = {one.feature: one.cosine for one in found}
    assert near == pytest.approx({o.feature: o.cosine for o in by_vector}, abs=1e-4)
    codes = client.encode([TRNA], level="nucleotide").nucleotide_codes
    assert codes is not None
    matrix = codes.toscipy().toarray()[10:25]
    firing = {one.feature: one for one in found.firing}
    assert set(firing) == set(np.flatnonzero(matrix.any(axis=0)))
    sums = matrix.sum(axis=0)
    assert [*firing] == sorted(firing, key=lambda one: (-sums[one], one))
    for feature, one in firing.items():
        assert one.n_nucleotides == np.count_nonzero(matrix[:, feature])
        assert one.max_activation == pytest.approx(matrix[:, feature].max(), rel=1e-4)
    whole = client.nearest_features(sequence=f"{TRNA[:40]}--{TRNA[40:]}", degap=True)
    assert whole.features == client.nearest_features(sequence=TRNA).features
    assert not by_vector.firing


REF = codes_pb2.DictionaryRef


@pytest.mark.parametrize(
    ("request_", "code", "fields"),
    [
        (
            pb.NearestFeaturesRequest(feature=1, among=[REF(name="other")]),
            "FAILED_PRECONDITION",
            [],
        ),
        (
            pb.NearestFeaturesRequest(feature=1, among=[REF(name="none")]),
            "NOT_FOUND",
            [],
        ),
        (
            pb.NearestFeaturesRequest(feature=1, among=[REF()] * 65),
            "INVALID_ARGUMENT",
            ["among"],
        ),
        (
            pb.NearestFeaturesRequest(feature=1, among=[REF()], everywhere=True),
            "INVALID_ARGUMENT",
            ["among"],
        ),
        (
            pb.NearestFeaturesRequest(stretch=pb.RnaStretch()),
            "INVALID_ARGUMENT",
            ["stretch.sequence"],
        ),
        (
            pb.NearestFeaturesRequest(stretch=pb.RnaStretch(sequence="ACX")),
            "INVALID_ARGUMENT",
            ["stretch.sequence"],
        ),
        (
            pb.NearestFeaturesRequest(stretch=pb.RnaStretch(sequence="ACGU", stop=5)),
            "INVALID_ARGUMENT",
            ["stretch.stop"],
        ),
        (
            pb.NearestFeaturesRequest(
                stretch=pb.RnaStretch(sequence="ACGU", start=2, stop=2)
            ),
            "INVALID_ARGUMENT",
            ["stretch.stop"],
        ),
        (
            pb.NearestFeaturesRequest(
                stretch=pb.RnaStretch(sequence="ACGU"), dictionary=REF(name="other")
            ),
            "FAILED_PRECONDITION",
            [],
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    stubs: Stubs, request_: pb.NearestFeaturesRequest, code: str, fields: list[str]
) -> None:
    failure = refused(stubs.dictionaries.NearestFeatures, request_)
    assert (failure.code.name, failure.fields) == (code, fields)


def test_the_client_refuses_what_is_no_one_query(client: Client) -> None:
    with pytest.raises(rc.InvalidRequestError, match="give one of"):
        client.nearest_features(feature=1, sequence="ACGU")
    with pytest.raises(rc.InvalidRequestError, match="3 to 2 is none"):
        client.nearest_features(sequence="ACGU", start=3, stop=2)


def test_the_shell_prints_what_is_near_and_what_chance_gives(
    run: Run,
    client: Client,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = f"n-{uuid.uuid4().hex}"
    client.create_collection(name)
    client.upsert(name, [rc.Rna("a", TRNA)])
    asked = ("feature", "nearest", "--rna", "a", "-c", name, "--at", "11-25")
    assert run(*asked, "--among", "tiny@1", "--among", "tiny@2") == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith("a 11-25 of tiny@1\n  fires there\n")
    found = client.nearest_features(
        sequence=TRNA, start=10, stop=25, among=["tiny@1", "tiny@2"]
    )
    for one in found:
        assert f"{one.cosine:+.3f}" in out
    assert f"95 % below {found.searched[1].chance_high:.3f}  in tiny@2, layer 1" in out
    assert run("feature", "nearest", "5", "--json", "--top", "3") == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["feature"] for one in told["features"]] == [
        one.feature for one in client.nearest_features(feature=5, top_k=3)
    ]
    np.save("v.npy", np.ones((1, 32)))
    assert run("feature", "nearest", "--activation", "v.npy") == 0
    np.save("v.npy", np.ones((2, 32)))
    assert run("feature", "nearest", "--activation", "v.npy") == 1
    assert run("feature", "nearest", "5", "--at", "3") == 2
    assert run("feature", "nearest", "--sequence", "ACGU", "--at", "3-1") == 2
    client.delete_collection(name)
