"""CollectionService over a real socket: stored, found, explained."""

import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress

import grpc
import numpy as np
import pytest
from tests.conftest import OwnServer
from tests.integration.conftest import (
    Failure,
    Stubs,
    connect,
    eventually,
    failure_of,
)

from ribolex.server.convert.codes import decode_codes
from ribolex.server.index.owner import Owner
from ribolex.v1 import codes_pb2 as codes
from ribolex.v1 import collection_pb2 as pb
from ribolex.v1 import encoder_pb2

BASES = np.array(list("ACGU"))


def random_rnas(n: int, seed: int = 0) -> list[pb.RnaRecord]:
    random = np.random.default_rng(seed)
    return [
        pb.RnaRecord(
            name=f"rna{i:02}",
            sequence="".join(random.choice(BASES, 10 + i % 30)),
            metadata={"family": f"f{i % 3}"},
        )
        for i in range(n)
    ]


@pytest.fixture
def name(stubs: Stubs) -> Iterator[str]:
    """An empty collection of the test's own."""
    name = f"c-{uuid.uuid4().hex}"
    stubs.collections.CreateCollection(pb.CreateCollectionRequest(name=name))
    yield name
    stubs.collections.DeleteCollection(pb.DeleteCollectionRequest(name=name))


def upsert(
    stubs: Stubs, name: str, *batches: Iterable[pb.RnaRecord]
) -> pb.UpsertRnasResponse:
    return stubs.collections.UpsertRnas(
        pb.UpsertRnasRequest(collection=name if i == 0 else "", rnas=batch)
        for i, batch in enumerate(batches)
    )


def refused(call: grpc.UnaryUnaryMultiCallable, request: object) -> Failure:  # type: ignore[type-arg]
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return failure_of(caught.value)


def empty_codes(
    n_rows: int = 1, n_features: int = 96, index_type: int = 1
) -> codes.Codes:
    return codes.Codes(
        n_rows=n_rows,
        n_features=n_features,
        indptr=b"\0" * (4 * n_rows + 4),
        index_type=codes.IndexType.ValueType(index_type),
        value_type=codes.VALUE_TYPE_FLOAT32,
    )


def test_a_collection_is_made_listed_and_deleted(stubs: Stubs, name: str) -> None:
    service = stubs.collections
    made = service.GetCollection(pb.GetCollectionRequest(name=name)).collection
    assert (made.dictionary.name, made.dictionary.version) == ("tiny", 1)
    assert (made.n_rnas, made.pooling) == (0, codes.POOLING_COUNT)
    assert made.created_at_s > 1.7e9
    listed = service.ListCollections(pb.ListCollectionsRequest()).collections
    assert made in listed
    upsert(stubs, name, random_rnas(3))
    gone = service.DeleteCollection(pb.DeleteCollectionRequest(name=name))
    assert gone.n_rnas == 3
    failure = refused(service.GetCollection, pb.GetCollectionRequest(name=name))
    assert (failure.code.name, failure.reason) == ("NOT_FOUND", "COLLECTION_NOT_FOUND")
    # A deleted name is free again, and its RNAs are gone.
    service.CreateCollection(pb.CreateCollectionRequest(name=name))
    again = service.GetCollection(pb.GetCollectionRequest(name=name)).collection
    assert again.n_rnas == 0


def test_collections_are_listed_page_by_page(stubs: Stubs) -> None:
    service = stubs.collections
    names = sorted(f"page-{uuid.uuid4().hex}" for _ in range(3))
    for each in reversed(names):
        service.CreateCollection(pb.CreateCollectionRequest(name=each))
    found, token = [], ""
    while True:
        request = pb.ListCollectionsRequest(page_size=2, page_token=token)
        page = service.ListCollections(request)
        assert len(page.collections) <= 2
        found += [each.name for each in page.collections]
        if not (token := page.next_page_token):
            break
    assert found == sorted(found)
    assert set(names) <= set(found)
    for each in names:
        service.DeleteCollection(pb.DeleteCollectionRequest(name=each))


def test_gaps_are_taken_out_on_request(stubs: Stubs, name: str) -> None:
    service = stubs.collections
    rna = pb.RnaRecord(name="a", sequence="GG-GAA.ACCC", structure="((.(....)))")
    answer = upsert(stubs, name, [rna])
    assert (answer.n_inserted, answer.n_rejected) == (0, 1)
    assert "gaps can be removed" in answer.rejections[0].rejection.message
    request = pb.UpsertRnasRequest(collection=name, rnas=[rna], degap=True)
    assert service.UpsertRnas(iter([request])).n_inserted == 1
    stored = service.GetRna(pb.GetRnaRequest(collection=name, name="a")).rna
    assert (stored.sequence, stored.structure) == ("GGGAAACCC", "(((...)))")
    query = pb.SearchSimilarRequest(collection=name, sequence="GG--GAAACC.C")
    assert refused(service.SearchSimilar, query).fields == ["sequence"]
    query.degap = True
    (hit,) = service.SearchSimilar(query).hits
    assert hit.score == pytest.approx(1.0, abs=1e-4)


@pytest.mark.slow
def test_long_rnas_are_stored_and_found(own_server: OwnServer) -> None:
    """3,000 and 70,000 nucleotides: positions beyond 65,535 must come back right."""
    random = np.random.default_rng(9)
    long = "".join(random.choice(BASES, 3000))
    longest = "".join(random.choice(BASES, 70_000))
    with own_server(max_nucleotides=70_000, max_message_mib=64) as address:
        stubs = connect(address)
        service = stubs.collections
        service.CreateCollection(pb.CreateCollectionRequest(name="long"))
        rnas = [pb.RnaRecord(name="long", sequence=long), *random_rnas(5)]
        rnas.append(pb.RnaRecord(name="longest", sequence=longest))
        answer = upsert(stubs, "long", rnas)
        assert (answer.n_inserted, answer.n_rejected) == (7, 0)
        query = pb.SearchSimilarRequest(collection="long", sequence=long, top_k=2)
        hits = service.SearchSimilar(query).hits
        assert (hits[0].rna.name, len(hits[0].rna.sequence)) == ("long", 3000)
        assert hits[0].score == pytest.approx(1.0, abs=1e-4)
        asked = pb.GetRnaRequest(
            collection="long", name="longest", levels=[codes.LEVEL_NUCLEOTIDE]
        )
        stored = service.GetRna(asked)
        rows = decode_codes(stored.nucleotide_codes, "x")
        assert len(rows) == 70_000
        query = pb.SearchSimilarRequest(collection="long", sequence=longest, top_k=1)
        (hit,) = service.SearchSimilar(query).hits
        assert hit.rna.name == "longest"
        for shared in hit.shared_features:
            fires = rows.rows_of_entries()[rows.indices == shared.feature]
            assert list(shared.target_positions) == fires.tolist()
        assert max(hit.shared_features[0].target_positions) > 65_535
        stubs.channel.close()


def test_a_name_is_taken_once(stubs: Stubs, name: str) -> None:
    failure = refused(
        stubs.collections.CreateCollection, pb.CreateCollectionRequest(name=name)
    )
    assert failure.code is grpc.StatusCode.ALREADY_EXISTS
    assert failure.reason == "COLLECTION_EXISTS"


@pytest.mark.parametrize("bad", ["", ".hidden", "a/b", "../up", "a" * 65, "ä", "a\n"])
def test_names_that_cannot_be_are_refused(stubs: Stubs, bad: str) -> None:
    failure = refused(
        stubs.collections.CreateCollection, pb.CreateCollectionRequest(name=bad)
    )
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields == ["name"]


def test_a_collection_for_another_model_is_refused(stubs: Stubs) -> None:
    request = pb.CreateCollectionRequest(
        name="x", dictionary=codes.DictionaryRef(name="other")
    )
    failure = refused(stubs.collections.CreateCollection, request)
    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_stored_rna_comes_back_with_the_codes_of_encode(
    stubs: Stubs, name: str
) -> None:
    rna = pb.RnaRecord(
        name="mine é",
        sequence="gggaaatccc",
        structure="(((....)))",
        metadata={"k": "v"},
    )
    upsert(stubs, name, [rna])
    levels = [codes.LEVEL_NUCLEOTIDE, codes.LEVEL_SEQUENCE]
    found = stubs.collections.GetRna(
        pb.GetRnaRequest(collection=name, name="mine é", levels=levels)
    )
    assert found.rna.sequence == "GGGAAAUCCC"
    assert found.rna.structure == rna.structure
    assert dict(found.rna.metadata) == {"k": "v"}
    (result,) = stubs.encoder.Encode(
        encoder_pb2.EncodeRequest(
            sequences=["GGGAAAUCCC"],
            options=encoder_pb2.EncodeOptions(
                levels=levels, pooling=codes.POOLING_COUNT
            ),
        )
    ).results
    assert found.fvu == pytest.approx(result.encoded.fvu)
    for mine, theirs in (
        (found.nucleotide_codes, result.encoded.nucleotide_codes),
        (found.sequence_code, result.encoded.sequence_code),
    ):
        assert mine.indptr == theirs.indptr
        assert mine.indices == theirs.indices
        values = decode_codes(theirs, "codes").values
        assert decode_codes(mine, "codes").values == pytest.approx(values, abs=1e-5)
    plain = stubs.collections.GetRna(pb.GetRnaRequest(collection=name, name="mine é"))
    assert not plain.HasField("nucleotide_codes")
    assert not plain.HasField("sequence_code")


def test_upserting_counts_and_replaces(stubs: Stubs, name: str) -> None:
    rnas = random_rnas(40)
    first = upsert(stubs, name, rnas[:25], [], rnas[25:])
    assert (first.n_inserted, first.n_updated, first.n_rejected) == (40, 0, 0)
    again = upsert(stubs, name, rnas)
    assert (again.n_inserted, again.n_updated) == (0, 40)
    twice = pb.RnaRecord(name="twice", sequence="ACGU")
    later = pb.RnaRecord(name="twice", sequence="GGGG")
    both = upsert(stubs, name, [twice, later])
    assert (both.n_inserted, both.n_updated) == (1, 1)
    found = stubs.collections.GetRna(pb.GetRnaRequest(collection=name, name="twice"))
    assert found.rna.sequence == "GGGG"
    facts = stubs.collections.GetCollection(pb.GetCollectionRequest(name=name))
    assert facts.collection.n_rnas == 41
    assert first.timing.compute_s > 0


def test_faulty_rnas_are_rejected_alone_and_told(stubs: Stubs, name: str) -> None:
    good = random_rnas(20)
    bad = [
        pb.RnaRecord(name="", sequence="ACGU"),
        pb.RnaRecord(name="letters", sequence="ACXU"),
        pb.RnaRecord(name="long", sequence="A" * 201),
        pb.RnaRecord(name="structure", sequence="ACGU", structure="(.)"),
        pb.RnaRecord(name="empty", sequence=""),
    ]
    answer = upsert(stubs, name, good[:3], [*good[3:], *bad], [bad[1]])
    assert (answer.n_inserted, answer.n_rejected) == (20, 6)
    assert [(each.index, each.name) for each in answer.rejections] == [
        (20, ""), (21, "letters"), (22, "long"), (23, "structure"), (24, "empty"),
        (25, "letters"),
    ]  # fmt: skip
    assert [each.rejection.field for each in answer.rejections] == [
        "rnas[17].name",
        "rnas[18].sequence",
        "rnas[19].sequence",
        "rnas[20].structure",
        "rnas[21].sequence",
        "rnas[0].sequence",
    ]
    assert [each.rejection.reason for each in answer.rejections] == [
        codes.REJECTION_REASON_INVALID_FIELD,
        codes.REJECTION_REASON_INVALID_SEQUENCE,
        codes.REJECTION_REASON_SEQUENCE_TOO_LONG,
        codes.REJECTION_REASON_INVALID_FIELD,
        codes.REJECTION_REASON_INVALID_SEQUENCE,
        codes.REJECTION_REASON_INVALID_SEQUENCE,
    ]


@pytest.mark.parametrize(
    ("collections", "code", "reason"),
    [
        ([], "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ([""], "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (["nobody"], "NOT_FOUND", "COLLECTION_NOT_FOUND"),
        (["{name}", "other"], "INVALID_ARGUMENT", "INVALID_REQUEST"),
    ],
)
def test_a_stream_must_say_where_to_store(
    stubs: Stubs, name: str, collections: list[str], code: str, reason: str
) -> None:
    requests = [
        pb.UpsertRnasRequest(collection=each.format(name=name)) for each in collections
    ]
    with pytest.raises(grpc.RpcError) as caught:
        stubs.collections.UpsertRnas(iter(requests))
    failure = failure_of(caught.value)
    assert (failure.code.name, failure.reason) == (code, reason)


def test_similar_rnas_are_found_and_the_score_is_explained(
    stubs: Stubs, name: str
) -> None:
    rnas = random_rnas(60)
    upsert(stubs, name, rnas)
    for max_shared in (None, 0, 3, 1000):
        answer = stubs.collections.SearchSimilar(
            pb.SearchSimilarRequest(
                collection=name,
                sequence=rnas[7].sequence,
                top_k=5,
                max_shared_features=max_shared,
            )
        )
        assert (answer.n_rnas, len(answer.hits)) == (60, 5)
        assert answer.HasField("query_fvu")
        best = answer.hits[0]
        assert best.rna.name == "rna07"
        assert best.rna.metadata == {"family": "f1"}
        assert best.score == pytest.approx(1, abs=1e-5)
        scores = [hit.score for hit in answer.hits]
        assert scores == sorted(scores, reverse=True)
        for hit in answer.hits:
            parts = [each.contribution for each in hit.shared_features]
            total = sum(parts) + hit.other_contribution
            assert total == pytest.approx(hit.score, abs=1e-5)
            limit = 5 if max_shared is None else max_shared
            assert len(parts) == min(limit, hit.n_shared_features)
            for each in hit.shared_features:
                assert each.label == f"feature {each.feature} of seed 0"
                assert each.query_positions
                assert each.target_positions


def test_the_three_kinds_of_query_agree(stubs: Stubs, name: str) -> None:
    rnas = random_rnas(40)
    upsert(stubs, name, rnas)
    search = stubs.collections.SearchSimilar
    by_sequence = search(
        pb.SearchSimilarRequest(collection=name, sequence=rnas[3].sequence, top_k=6)
    )
    by_name = search(pb.SearchSimilarRequest(collection=name, rna="rna03", top_k=5))
    assert [hit.rna for hit in by_name.hits] == [
        hit.rna for hit in by_sequence.hits[1:]
    ]
    stored = stubs.collections.GetRna(
        pb.GetRnaRequest(collection=name, name="rna03", levels=[codes.LEVEL_SEQUENCE])
    )
    by_code = search(
        pb.SearchSimilarRequest(collection=name, code=stored.sequence_code, top_k=6)
    )
    assert not by_code.HasField("query_fvu")
    for one, other in zip(by_code.hits, by_sequence.hits, strict=True):
        assert one.rna == other.rna
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert not any(each.query_positions for each in one.shared_features)


@pytest.mark.parametrize(
    ("query", "code", "fields"),
    [
        ({}, "INVALID_ARGUMENT", ["query"]),
        ({"sequence": "ACXU"}, "INVALID_ARGUMENT", ["sequence"]),
        ({"sequence": ""}, "INVALID_ARGUMENT", ["sequence"]),
        ({"rna": "nobody"}, "NOT_FOUND", []),
        ({"sequence": "A", "top_k": 1001}, "INVALID_ARGUMENT", ["top_k"]),
        ({"code": empty_codes(index_type=0)}, "INVALID_ARGUMENT", ["code.index_type"]),
        ({"code": empty_codes(n_rows=2)}, "INVALID_ARGUMENT", ["code"]),
        ({"code": empty_codes(n_features=9)}, "FAILED_PRECONDITION", []),
    ],
)
def test_bad_queries_are_refused(
    stubs: Stubs, name: str, query: dict[str, object], code: str, fields: list[str]
) -> None:
    request = pb.SearchSimilarRequest(collection=name, **query)  # type: ignore[arg-type]
    failure = refused(stubs.collections.SearchSimilar, request)
    assert (failure.code.name, failure.fields) == (code, fields)


def test_a_collection_that_is_not_there(stubs: Stubs) -> None:
    service = stubs.collections
    for call, request in (
        (service.GetRna, pb.GetRnaRequest(collection="nobody", name="x")),
        (
            service.SearchSimilar,
            pb.SearchSimilarRequest(collection="nobody", sequence="A"),
        ),
        (service.DeleteCollection, pb.DeleteCollectionRequest(name="nobody")),
    ):
        failure = refused(call, request)
        assert failure.reason == "COLLECTION_NOT_FOUND"
        assert failure.code is grpc.StatusCode.NOT_FOUND


def test_an_empty_collection_has_no_hits(stubs: Stubs, name: str) -> None:
    answer = stubs.collections.SearchSimilar(
        pb.SearchSimilarRequest(collection=name, sequence="ACGU")
    )
    assert (answer.n_rnas, len(answer.hits)) == (0, 0)


def test_a_name_is_free_again_though_the_deadline_passed_while_it_was_deleted(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, real = threading.Event(), Owner._shut

    def shut(owner: Owner) -> None:
        go_on.wait(20)
        real(owner)

    def is_free() -> bool:
        request = pb.CreateCollectionRequest(name="late")
        with suppress(grpc.RpcError):
            return bool(stubs.collections.CreateCollection(request))
        return False

    monkeypatch.setattr(Owner, "_shut", shut)
    assert is_free()
    request = pb.DeleteCollectionRequest(name="late")
    with pytest.raises(grpc.RpcError) as caught:
        stubs.collections.DeleteCollection(request, timeout=0.3)
    assert failure_of(caught.value).code is grpc.StatusCode.DEADLINE_EXCEEDED
    go_on.set()
    eventually(is_free)
    stubs.collections.DeleteCollection(request)
