"""The client and a real server: what one asks, the other answers."""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from ribolex import client as rc
from ribolex.client import Client, Rna

TRNA = "GGGCCCAUAGCUCAGUGGUAGAGUGCCUCCUUUGCAAGGAGGAUGCCCUGGGUUCGAAUCCCAGUGGGUCCA"
SEQUENCES = [TRNA, "acgtacgt", "G", "GGGAAACCC"]


@pytest.fixture
def client(running_server: str) -> Iterator[Client]:
    with Client(running_server, timeout_s=30) as client:
        yield client


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """Gives a collection of the test's own with four RNAs."""
    name = f"client-{uuid.uuid4().hex}"
    client.create_collection(name)
    rnas = [
        Rna(f"rna{place}", letters, None, {"family": "some"})
        for place, letters in enumerate(SEQUENCES)
    ]
    client.upsert(name, rnas)
    yield name
    client.delete_collection(name)


def _dense(codes: rc.SparseCodes | None) -> np.ndarray[tuple[int, int], np.dtype]:
    assert codes is not None
    dense: np.ndarray[tuple[int, int], np.dtype] = codes.toscipy().toarray()
    return dense


def test_health_is_told_for_the_whole_and_for_a_service(running_server: str) -> None:
    with Client(running_server) as client:
        assert client.is_serving()
        assert client.is_serving("ribolex.v1.EncoderService")
        with pytest.raises(rc.NotFoundError):
            client.is_serving("ribolex.v1.NoService")


def test_batch_is_encoded_at_both_levels(client: Client) -> None:
    encoded = client.encode(SEQUENCES, level="both")
    assert encoded.n_nucleotides.tolist() == [len(letters) for letters in SEQUENCES]
    assert str(encoded.dictionary) == "tiny@1"
    assert encoded.rejections == ()
    assert np.isfinite(encoded.fvu).all()
    for place in range(len(SEQUENCES)):
        largest = _dense(encoded.nucleotides(place)).max(axis=0)
        np.testing.assert_array_equal(_dense(encoded.sequence_codes)[place], largest)


@pytest.mark.parametrize("level", ["sequence", "nucleotide"])
def test_level_says_which_codes_come(client: Client, level: rc.records.Level) -> None:
    encoded = client.encode(SEQUENCES, level=level)
    assert (encoded.sequence_codes is None) == (level == "nucleotide")
    assert (encoded.nucleotide_codes is None) == (level == "sequence")


def test_options_change_the_codes(client: Client) -> None:
    fewer = client.encode([TRNA], level="nucleotide", k=2).nucleotide_codes
    assert fewer is not None
    assert np.diff(fewer.indptr).max() <= 2
    counts = client.encode([TRNA], pooling="count").sequence_codes
    assert counts is not None
    assert set(counts.values % 1) == {0.0}
    other = client.encode([TRNA], dictionary="tiny@2")
    assert str(other.dictionary) == "tiny@2"


def test_gaps_are_taken_out_if_asked(client: Client) -> None:
    degapped = client.encode(["GGG-AAA.CCC"], degap=True)
    assert degapped.n_nucleotides.tolist() == [9]


def test_stream_gives_the_same_codes_in_order(client: Client) -> None:
    sequences = [("ACGU" * 12)[: 3 + place % 40] for place in range(70)]
    batches = list(client.encode_stream(iter(sequences), batch=16, n_ahead=2))
    assert [len(batch) for batch in batches] == [16, 16, 16, 16, 6]
    streamed = np.concatenate([_dense(batch.sequence_codes) for batch in batches])
    at_once = client.encode(sequences[16:32])
    np.testing.assert_allclose(
        streamed[16:32], _dense(at_once.sequence_codes), rtol=1e-5, atol=1e-6
    )


def test_refused_sequence_is_an_error_or_an_empty_row(client: Client) -> None:
    with pytest.raises(rc.RejectedError, match=r"sequences\[1\]: 'X' at pos"):
        client.encode(["ACGU", "AXGU"])
    encoded = client.encode(["ACGU", "AXGU", "A" * 201], on_rejection="skip")
    assert [one.index for one in encoded.rejections] == [1, 2]
    reasons = [one.reason for one in encoded.rejections]
    assert reasons == ["invalid_sequence", "sequence_too_long"]
    assert encoded.n_nucleotides.tolist() == [4, 0, 0]
    assert np.diff(encoded.sequence_codes.indptr)[1:].tolist() == [0, 0]  # type: ignore[union-attr]
    assert np.isnan(encoded.fvu[1:]).all()


def test_refused_sequence_ends_a_stream(client: Client) -> None:
    batches = client.encode_stream(["ACGU", "ACGU", "AXGU"], batch=2)
    assert len(next(batches)) == 2
    with pytest.raises(rc.RejectedError):
        next(batches)


def test_activations_come_whole_and_pooled(client: Client) -> None:
    found = client.embed(SEQUENCES, layers=[2, 1])
    assert found.layers == (1, 2)
    assert (found.model_name, found.hook, found.pooling) == ("tiny", "normed", None)
    for place, letters in enumerate(SEQUENCES):
        assert found.of(place, 1).shape == (len(letters), 32)
    pooled = client.embed(SEQUENCES, pooling="mean", half=True)
    assert pooled.activations.dtype == np.float16
    means = [found.of(place, 2).mean(axis=0) for place in range(len(SEQUENCES))]
    np.testing.assert_allclose(pooled.activations[:, 0], means, atol=2e-3)


def test_embed_stream_gives_batches_in_order(client: Client) -> None:
    sequences = ["ACGU" * (n % 7 + 1) for n in range(40)]
    batches = list(client.embed_stream(sequences, batch=16))
    lengths = np.concatenate([batch.n_nucleotides for batch in batches])
    assert lengths.tolist() == [len(sequence) for sequence in sequences]
    assert [len(batch) for batch in batches] == [16, 16, 8]
    alone = client.embed([sequences[33]])
    np.testing.assert_allclose(batches[2].of(1), alone.of(0), atol=1e-5)


def test_refused_sequence_has_no_rows(client: Client) -> None:
    with pytest.raises(rc.RejectedError, match=r"sequences\[1\]: 'X' at pos"):
        client.embed(["ACGU", "AXGU"])
    found = client.embed(["ACGU", "AXGU", "GG"], on_rejection="skip")
    assert found.row_offsets.tolist() == [0, 4, 4, 6]
    assert [one.index for one in found.rejections] == [1]


def test_collection_is_made_listed_and_deleted(client: Client) -> None:
    name = f"client-{uuid.uuid4().hex}"
    made = client.create_collection(name, dictionary="tiny@2", pooling="mean")
    assert (made.name, made.pooling, made.n_rnas) == (name, "mean", 0)
    assert str(made.dictionary) == "tiny@2"
    assert replace(client.get_collection(name), details=None) == made
    assert made in list(client.list_collections())
    with pytest.raises(rc.CollectionExistsError):
        client.create_collection(name)
    assert client.delete_collection(name) == 0
    with pytest.raises(rc.CollectionNotFoundError):
        client.get_collection(name)


def test_upsert_tells_what_became_of_each(client: Client, name: str) -> None:
    rnas = [
        Rna("rna0", "ACGU"),
        *(Rna(f"new{place}", "ACGUACGU") for place in range(20)),
        Rna("bad", "AXGU"),
    ]
    done: list[int] = []
    report = client.upsert(name, rnas, batch=15, on_progress=done.append)
    assert (report.n_inserted, report.n_updated, report.n_rejected) == (20, 1, 1)
    assert [(one.index, one.name) for one in report.rejections] == [(21, "bad")]
    assert done == [15, 7]
    assert client.get_collection(name).n_rnas == 24


def test_stored_rna_comes_back_with_its_codes(client: Client, name: str) -> None:
    stored = client.get_rna(name, "rna1", level="both")
    assert stored.rna == Rna("rna1", "ACGUACGU", None, {"family": "some"})
    assert stored.nucleotide_codes is not None
    assert stored.nucleotide_codes.shape == (8, 96)
    np.testing.assert_allclose(
        _dense(stored.sequence_code),
        _dense(client.encode(["ACGUACGU"], pooling="count").sequence_codes),
        rtol=1e-5,
    )
    assert client.get_rna(name, "rna1").sequence_code is None
    with pytest.raises(rc.RnaNotFoundError):
        client.get_rna(name, "nobody")


def test_the_three_ways_to_search_agree(client: Client, name: str) -> None:
    by_letters = client.search(name, sequence=TRNA)
    counts = client.encode([TRNA], pooling="count").sequence_codes
    by_code = client.search(name, code=counts)
    by_name = client.search(name, rna="rna0")
    assert by_letters[0].rna.name == "rna0"
    assert by_letters[0].score == pytest.approx(1.0, abs=1e-4)
    assert [hit.rna.name for hit in by_code] == [hit.rna.name for hit in by_letters]
    assert [hit.rna.name for hit in by_name] == [
        hit.rna.name for hit in by_letters if hit.rna.name != "rna0"
    ]
    assert (by_letters.n_rnas, by_code.query_fvu) == (4, None)


def test_contributions_make_the_score(client: Client, name: str) -> None:
    hits = client.search(name, sequence=TRNA, top_k=3, max_shared_features=2)
    for hit in hits:
        shared = sum(one.contribution for one in hit.shared_features)
        assert shared + hit.other_contribution == pytest.approx(hit.score, abs=1e-4)
        assert len(hit.shared_features) <= 2
        for one in hit.shared_features:
            assert one.label == f"feature {one.feature} of seed 0"
            assert max(one.query_positions) < len(TRNA)
            assert max(one.target_positions) < len(hit.rna.sequence)


def test_feature_card_shows_examples_of_a_collection(client: Client, name: str) -> None:
    feature = client.search(name, sequence=TRNA)[0].shared_features[0].feature
    card = client.feature(feature, collection=name, max_examples=2, max_nearest=3)
    assert card.feature.id == feature
    assert card.feature.evidence[0].label == "type:tRNA"
    assert "rna0" in [example.rna for example in card.examples]
    assert len(card.nearest) == 3
    assert client.feature(feature).examples[0].rna == "ex"


def test_nearest_features_of_a_feature_and_of_an_activation(client: Client) -> None:
    of_feature = client.nearest_features(feature=5, top_k=4)
    assert len(of_feature) == 4
    assert 5 not in [one.feature for one in of_feature]
    of_activation = client.nearest_features(activation=np.ones(32, np.float32))
    assert len(of_activation) == 10
    assert of_activation[0].cosine >= of_activation[-1].cosine
    with pytest.raises(rc.IncompatibleDictionaryError):
        client.nearest_features(activation=np.ones(31, np.float32))


def test_dictionaries_are_listed_with_their_measures(client: Client) -> None:
    listed = {str(one.ref): one for one in client.dictionaries()}
    assert set(listed) == {"other@1", "tiny@1", "tiny@2"}
    tiny = listed["tiny@1"]
    assert (tiny.k, tiny.d_in, tiny.n_features, tiny.layer) == (6, 32, 96, 1)
    assert (tiny.hook, tiny.level, tiny.kind) == ("normed", "nucleotide", "sae")
    assert (tiny.is_default, tiny.is_current) == (True, True)
    assert tiny.metrics["fvu"] == 0.25


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dictionary": "none"}, rc.DictionaryNotFoundError),
        ({"dictionary": "tiny@one"}, rc.InvalidRequestError),
        ({"dictionary": "other"}, rc.IncompatibleDictionaryError),
        ({"k": 7}, rc.InvalidRequestError),
        ({"k": 0}, rc.InvalidRequestError),
        ({"pooling": "sum"}, rc.InvalidRequestError),
        ({"level": "token"}, rc.InvalidRequestError),
    ],
    ids=str,
)
def test_bad_option_is_refused_alone_and_in_a_stream(
    client: Client, options: dict[str, str], error: type[rc.RibolexError]
) -> None:
    with pytest.raises(error):
        client.encode(["ACGU"], **options)  # type: ignore[arg-type]
    with pytest.raises(error):
        list(client.encode_stream(["ACGU"], **options))  # type: ignore[arg-type]


def test_field_at_fault_is_named(client: Client) -> None:
    with pytest.raises(rc.InvalidRequestError) as caught:
        client.encode(["ACGU"], k=7)
    assert [one.field for one in caught.value.violations] == ["options.k"]


def test_more_sequences_than_the_server_takes_are_refused(client: Client) -> None:
    with pytest.raises(rc.InvalidRequestError):
        client.encode(["ACGU"] * 17)
    with pytest.raises(rc.InvalidRequestError):
        client.encode([])


@pytest.mark.parametrize(
    "query",
    [{}, {"rna": "a", "sequence": "ACGU"}, {"sequence": "ACGU", "top_k": 0}],
    ids=str,
)
def test_misused_search_is_refused_before_it_is_sent(query: dict[str, str]) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(rc.InvalidRequestError):
        client.search("mine", **query)  # type: ignore[arg-type]
