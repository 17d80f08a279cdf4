"""Search in one collection: exact scores, honest explanations, the truth on disk."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from tests.unit.server.conftest import MakeCollection, RandomCodes, encoded

from ribolex.dictionary import Codes, Dictionary, pool, weigh
from ribolex.errors import (
    IncompatibleDictionaryError,
    InvalidRequestError,
    NotReadyError,
    RnaNotFoundError,
)
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.hits import Firing, Hit
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.records import PooledCode
from ribolex.server.index.schema import RECORDS
from ribolex.server.index.search import Query, Search

MEASURES = [
    SearchMeasure(),
    SearchMeasure(pooling="mean", damping="sqrt", idf_power=0.5, likeness="cosine"),
    SearchMeasure(pooling="count", keep_strongest=2, damping="none"),
]
OLD = SearchMeasure("max", idf_power=0.5, likeness="cosine")
"""What collections were made with before there was another likeness."""


def find(
    collection: Collection, query: Query, limit: int, max_shared: int
) -> list[Hit]:
    return collection.search(query, Search(limit, max_shared)).hits


def query_of(collection: Collection, codes: Codes, fvu: float) -> Query:
    return collection.query_of("A" * len(codes), codes, fvu)


def dense(codes: Codes, measure: SearchMeasure, dictionary: Dictionary) -> np.ndarray:
    """The search vector, the simple way."""
    vector = np.zeros(codes.n_features)
    idf = dictionary.features.idf**measure.idf_power
    code = weigh(pool(codes, measure.pooling), idf, measure.damping)
    vector[code.indices] = code.values
    return vector


def likeness(kind: str, one: np.ndarray, other: np.ndarray) -> float:
    if kind == "cosine":
        return float(one @ other)
    larger = np.maximum(one, other).sum()
    return float(np.minimum(one, other).sum() / larger) if larger else 0.0


@pytest.mark.parametrize("measure", [SearchMeasure(), OLD], ids=["now", "before"])
def test_hits_are_the_exact_nearest(
    make_collection: MakeCollection,
    random_codes: RandomCodes,
    dictionary: Dictionary,
    measure: SearchMeasure,
) -> None:
    collection = make_collection(measure)
    rnas = {f"rna{i:03}": random_codes(3 + i % 9) for i in range(400)}
    collection.upsert([encoded(name, codes) for name, codes in rnas.items()])
    rows = [dense(codes, measure, dictionary) for codes in rnas.values()]
    for name in list(rnas)[:20]:
        query = dense(rnas[name], measure, dictionary)
        scores = np.array([likeness(measure.likeness, query, row) for row in rows])
        order = [i for i in np.argsort(-scores) if list(rnas)[i] != name][:10]
        hits = find(collection, collection.query_like(name), 10, 3)
        assert [hit.score for hit in hits] == pytest.approx(scores[order], abs=1e-6)
        assert {hit.rna.name for hit in hits} == {list(rnas)[i] for i in order}


@pytest.mark.parametrize("measure", MEASURES, ids=["max", "mean", "count"])
@pytest.mark.parametrize("max_shared", [0, 2, 1000])
def test_contributions_sum_to_the_score(
    make_collection: MakeCollection,
    random_codes: RandomCodes,
    measure: SearchMeasure,
    max_shared: int,
) -> None:
    collection = make_collection(measure)
    collection.upsert([encoded(f"r{i}", random_codes(8)) for i in range(30)])
    query = query_of(collection, random_codes(8), 0.5)
    hits = find(collection, query, 30, max_shared)
    assert hits
    for hit in hits:
        parts = [each.contribution for each in hit.shared]
        assert sum(parts) + hit.other_contribution == pytest.approx(hit.score, abs=1e-6)
        assert parts == sorted(parts, reverse=True)
        assert min(parts, default=1) > 0
        assert len(parts) == min(max_shared, hit.n_shared)
        assert 0 < hit.score <= 1


def test_positions_are_where_a_feature_fires(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> None:
    collection = make_collection()
    mine, theirs = random_codes(9), random_codes(12)
    collection.upsert([encoded("theirs", theirs)])
    (hit,) = find(collection, query_of(collection, mine, 0), 1, 99)
    for each in hit.shared:
        for codes, positions in (
            (mine, each.query_positions),
            (theirs, each.target_positions),
        ):
            rows = [
                i for i in range(len(codes)) if each.feature in codes.row(i).indices
            ]
            assert positions.tolist() == rows


def test_a_pooled_code_finds_what_its_sequence_finds(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> None:
    collection = make_collection()
    collection.upsert([encoded(f"r{i}", random_codes(8)) for i in range(30)])
    codes = random_codes(8)
    features, values = pool(codes, "count")
    by_code = collection.query_of_code(PooledCode(features, values, values))
    by_sequence = query_of(collection, codes, 0.5)
    with_it, without = (
        find(collection, query, 5, 3) for query in (by_sequence, by_code)
    )
    assert [hit.score for hit in without] == [hit.score for hit in with_it]
    assert all(not len(each.query_positions) for hit in without for each in hit.shared)


def test_a_code_that_holds_no_counts_is_refused(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> None:
    features, values = pool(random_codes(8), "max")
    code = PooledCode(features, values, values)
    with pytest.raises(InvalidRequestError, match="no counts"):
        make_collection().query_of_code(code)
    assert make_collection(OLD, "old").query_of_code(code).pooled is code


def test_a_collection_keeps_the_measure_of_its_day(
    tmp_path: Path,
    make_collection: MakeCollection,
    random_codes: RandomCodes,
    dictionary: Dictionary,
) -> None:
    """Facts on disk without a likeness are of a collection compared by cosine."""
    collection = make_collection(OLD)
    collection.upsert([encoded(f"r{i}", random_codes(8)) for i in range(30)])
    before = find(collection, collection.query_like("r3"), 10, 0)
    facts = collection.facts.to_json()
    del facts["measure"]["likeness"]
    collection.close()
    with sqlite3.connect(tmp_path / "c" / RECORDS) as file:
        file.execute("UPDATE facts SET json = ?", (json.dumps(facts),))
    again = Collection(tmp_path / "c")
    again.load(dictionary)
    assert again.facts.measure == OLD
    after = find(again, again.query_like("r3"), 10, 0)
    assert [hit.rna for hit in after] == [hit.rna for hit in before]
    again.close()


def test_equal_scores_come_by_name_and_the_query_is_no_hit(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> None:
    collection = make_collection()
    codes = random_codes(5)
    collection.upsert([encoded(name, codes) for name in ("b", "d", "a", "c")])
    hits = find(collection, collection.query_like("b"), 2, 0)
    assert [hit.rna.name for hit in hits] == ["a", "c"]
    assert hits[0].score == pytest.approx(1, abs=1e-6)


def test_what_shares_nothing_is_no_hit(make_collection: MakeCollection) -> None:
    collection = make_collection()
    one, other = (
        Codes.from_topk(np.array([[f]]), np.array([[1.0]], np.float32), 96)
        for f in (3, 4)
    )
    collection.upsert([encoded("one", one)])
    assert find(collection, query_of(collection, other, 0), 5, 5) == []
    nothing = Codes.from_topk(np.array([[0]]), np.zeros((1, 1), np.float32), 96)
    assert find(collection, query_of(collection, nothing, 0), 5, 5) == []


def test_an_update_replaces_what_is_found(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> None:
    collection = make_collection()
    old, new = random_codes(5), random_codes(5)
    collection.upsert([encoded("rna", old), encoded("rest", random_codes(4))])
    collection.upsert([encoded("rna", new, family="new")])
    (hit, *_) = find(collection, query_of(collection, new, 0), 2, 0)
    assert (hit.rna.name, hit.rna.metadata) == ("rna", {"family": "new"})
    assert hit.score == pytest.approx(1, abs=1e-6)
    best = find(collection, query_of(collection, old, 0), 1, 0)
    assert best[0].score < 0.999


def test_opening_again_finds_the_same(
    tmp_path: Path,
    make_collection: MakeCollection,
    random_codes: RandomCodes,
    dictionary: Dictionary,
) -> None:
    collection = make_collection(MEASURES[2])
    collection.upsert([encoded(f"r{i}", random_codes(8)) for i in range(30)])
    collection.upsert([encoded(f"r{i}", random_codes(8)) for i in range(5)])
    query = query_of(collection, random_codes(8), 0.5)
    before = find(collection, query, 10, 0)
    collection.close()
    again = Collection(tmp_path / "c")
    with pytest.raises(NotReadyError):
        find(again, query, 10, 0)
    again.load(dictionary)
    assert again.facts.measure == MEASURES[2]
    after = find(again, query, 10, 0)
    assert [hit.rna for hit in after] == [hit.rna for hit in before]
    scores = [hit.score for hit in before]
    assert [hit.score for hit in after] == pytest.approx(scores, abs=1e-6)
    again.close()


def test_another_dictionary_is_refused(
    tmp_path: Path, dictionary: Dictionary, tiny_registry: Path
) -> None:
    from ribolex.registry import FolderRegistry

    Collection.create(tmp_path, Facts.of("c", dictionary, SearchMeasure()))
    collection = Collection(tmp_path)
    with pytest.raises(IncompatibleDictionaryError, match="content_id"):
        collection.load(FolderRegistry(tiny_registry).get("tiny@2"))
    collection.close()


def test_the_strongest_examples_of_a_feature_come_first(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> None:
    collection = make_collection(SearchMeasure(pooling="mean"))
    rnas = {f"r{i}": random_codes(8) for i in range(20)}
    collection.upsert([encoded(name, codes) for name, codes in rnas.items()])
    feature = 90
    peaks = {
        name: float(codes.values[codes.indices == feature].max(initial=0))
        for name, codes in rnas.items()
    }
    expected = sorted((p for p in peaks.values() if p), reverse=True)[:4]
    examples = collection.examples(feature, 4)
    assert [each.max_activation for each in examples] == expected
    for each in examples:
        codes = rnas[each.rna.name]
        assert peaks[each.rna.name] == each.max_activation
        assert (
            each.positions.tolist() == Firing(codes).of(np.array([feature]))[0].tolist()
        )


def test_a_name_that_is_not_there(make_collection: MakeCollection) -> None:
    collection = make_collection()
    with pytest.raises(RnaNotFoundError):
        collection.get("nobody")
    with pytest.raises(RnaNotFoundError):
        collection.query_like("nobody")


def test_memory_is_changed_only_after_the_disk(
    make_collection: MakeCollection,
    random_codes: RandomCodes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collection = make_collection()
    codes = random_codes(5)

    def refuse(_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(collection._records, "write", refuse)
    with pytest.raises(sqlite3.OperationalError):
        collection.upsert([encoded("rna", codes)])
    assert find(collection, query_of(collection, codes, 0), 1, 0) == []
