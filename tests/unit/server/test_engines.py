"""What a collection finds is the same whichever engine keeps its codes.

Run for the indexes of this process and, over the wire, for a Milvus Lite.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import random_alignment
from tests.milvus import MilvusLite
from tests.small_blocks import shrink_blocks
from tests.unit.server.conftest import RandomCodes

from ribolex.dictionary import Codes, Dictionary
from ribolex.rna import Rna
from ribolex.server.index import (
    milvus_index,
    pooled,
    stored_relatives,
)
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.feature_query import parse
from ribolex.server.index.feature_search import FeatureScan, FeatureSearch
from ribolex.server.index.hits import Hit
from ribolex.server.index.intake import Encoded
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import AnyOf, Between, Condition, NoneOf
from ribolex.server.index.milvus import Milvus, MilvusAddress
from ribolex.server.index.search import Search, Sensitivity
from ribolex.server.index.upkeep import RelativesOptions

pytestmark = pytest.mark.timeout(300)  # the first calls compile

COSINE = SearchMeasure("max", idf_power=0.5, likeness="cosine")
HOSTILE = "\"'] or id >= 0 or array_contains_any(tags, [0]) \\ ; \u202e \U0001f9ec {x}"


@dataclass
class Engine:
    """One way to keep codes, in a folder that is its own."""

    root: Path
    dictionary: Dictionary
    options: RelativesOptions

    @contextmanager
    def opened(
        self,
        name: str = "c",
        measure: SearchMeasure = SearchMeasure(),  # noqa: B008
    ) -> Iterator[Collection]:
        folder = self.root / name
        if not folder.exists():
            folder.mkdir()
            Collection.create(folder, Facts.of(name, self.dictionary, measure))
        with closing(Collection(folder, self.options)) as collection:
            collection.load(self.dictionary)
            collection.lead()
            yield collection


@pytest.fixture
def aligning(dictionary: Dictionary) -> Dictionary:
    return replace(dictionary, alignment=random_alignment(1))


@pytest.fixture
def embedded(tmp_path: Path, aligning: Dictionary) -> Engine:
    root = tmp_path / "embedded"
    root.mkdir()
    return Engine(root, aligning, RelativesOptions())


@pytest.fixture
def remote(
    tmp_path: Path, aligning: Dictionary, milvus_lite: MilvusLite
) -> Iterator[Engine]:
    root = tmp_path / "remote"
    root.mkdir()
    milvus = Milvus(MilvusAddress.parse(milvus_lite.url), root)
    with closing(milvus):
        yield Engine(root, aligning, RelativesOptions(milvus=milvus))


@pytest.fixture(params=["embedded", "milvus"])
def engine(request: pytest.FixtureRequest) -> Engine:
    name = "embedded" if request.param == "embedded" else "remote"
    found: Engine = request.getfixturevalue(name)
    return found


@pytest.fixture
def make(random_codes: RandomCodes) -> Callable[..., list[Encoded]]:
    """Gives a function that makes RNAs of some names; each call makes others."""
    random = np.random.default_rng(3)

    def make(*names: str, **metadata: str) -> list[Encoded]:
        out = []
        for name in names:
            n = int(random.integers(12, 40))
            sequence = "".join(random.choice(list("ACGU"), n))
            rna = Rna(name, sequence, None, metadata)
            out.append(Encoded(rna, random_codes(n), 0.5))
        return out

    return make


Make = Callable[..., list[Encoded]]


def dense(codes: Codes, measure: SearchMeasure, dictionary: Dictionary) -> np.ndarray:
    vector = np.zeros(codes.n_features)
    weighed = measure.weigh(measure.pool(codes), dictionary.features.idf)
    vector[weighed.features] = weighed.weights
    return vector


def likeness(kind: str, one: np.ndarray, other: np.ndarray) -> float:
    """The simple twin of what every engine computes."""
    if kind == "cosine":
        return float(one @ other)
    larger = np.maximum(one, other).sum()
    return float(np.minimum(one, other).sum() / larger) if larger else 0.0


def names_of(hits: Sequence[Hit]) -> list[str]:
    return [hit.rna.name for hit in hits]


def find(
    collection: Collection,
    like: str,
    where: tuple[Condition, ...] = (),
    sensitivity: Sensitivity = "fast",
    limit: int = 10,
    *,
    exact: bool = False,
) -> list[Hit]:
    search = Search(limit, 5, sensitivity, where=where, exact=exact)
    return collection.search(collection.query_like(like), search).hits


@pytest.mark.parametrize(
    "measure", [SearchMeasure(), COSINE], ids=["jaccard", "cosine"]
)
@pytest.mark.parametrize("exact", [False, True])
def test_the_nearest_are_those_of_all_compared(
    engine: Engine, make: Make, measure: SearchMeasure, exact: bool
) -> None:
    rnas = {one.rna.name: one for one in make(*(f"r{i:02}" for i in range(60)))}
    with engine.opened(measure=measure) as collection:
        collection.upsert(list(rnas.values()))
        vectors = {
            name: dense(one.codes, measure, engine.dictionary)
            for name, one in rnas.items()
        }
        for name in list(rnas)[:4]:
            scores = {
                other: likeness(measure.likeness, vectors[name], vectors[other])
                for other in rnas.keys() - {name}
            }
            best = sorted(scores, key=lambda other: (-scores[other], other))[:10]
            hits = find(collection, name, exact=exact)
            assert [hit.score for hit in hits] == pytest.approx(
                [scores[other] for other in best], abs=1e-6
            )
            for hit in hits:
                assert hit.score == pytest.approx(scores[hit.rna.name], abs=1e-6)
                parts = sum(one.contribution for one in hit.shared)
                whole = parts + hit.other_contribution
                assert whole == pytest.approx(hit.score, abs=1e-6)


def test_candidates_are_asked_for_until_no_better_one_comes(
    engine: Engine, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_index, "_FIRST_CANDIDATES", 4)
    monkeypatch.setattr(milvus_index, "_CANDIDATES_PER_HIT", 1)
    monkeypatch.setattr(milvus_index, "_COMPARED", 7)
    with engine.opened() as collection:
        collection.upsert(make(*(f"r{i:02}" for i in range(60))))
        for name in ("r00", "r30"):
            first = names_of(find(collection, name, limit=2))
            assert first == names_of(find(collection, name, limit=2, exact=True))


def test_one_rna_under_many_names_is_no_fault(
    engine: Engine, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_blocks(monkeypatch.setattr, rows=64, first_fit=40)
    monkeypatch.setattr(pooled, "_ALL", 10)
    monkeypatch.setattr(pooled, "_FIRST_SIFTED", 16)
    monkeypatch.setattr(milvus_index, "_FIRST_CANDIDATES", 16)
    rnas = [
        replace_name(one, f"{one.rna.name}{i}")
        for one in make("a", "b")
        for i in range(90)
    ]
    with engine.opened() as collection:
        collection.upsert([*rnas, *make(*(f"r{i}" for i in range(30)))])
        for name in ("a45", "b89"):
            hits = find(collection, name, limit=3)
            assert [hit.score for hit in hits] == pytest.approx([1, 1, 1], abs=1e-6)
            assert {hit.rna.name[0] for hit in hits} == {name[0]}
            assert name not in names_of(hits)
        assert len(find(collection, "r7", limit=3)) == 3


def test_what_is_put_replaced_or_removed_is_seen_at_once(
    engine: Engine, make: Make
) -> None:
    with engine.opened() as collection:
        collection.upsert(make("a", "b", "c"))
        (twin,) = make("twin")
        collection.upsert([twin, replace_name(twin, "b")])
        assert find(collection, "twin")[0].rna.name == "b"
        assert find(collection, "twin")[0].score == pytest.approx(1, abs=1e-6)
        assert collection.delete(["b", "nobody"]) == 1
        assert set(names_of(find(collection, "twin"))) <= {"a", "c"}
        collection.upsert(make("b"))
        assert find(collection, "twin")[0].score < 0.99


def replace_name(one: Encoded, name: str, **metadata: str) -> Encoded:
    known = {**one.rna.metadata, **metadata}
    return one._replace(rna=replace(one.rna, name=name, metadata=known))


def test_an_rna_without_features_is_stored_and_no_hit(
    engine: Engine, make: Make
) -> None:
    nothing = Codes.from_topk(
        np.zeros((5, 1), np.int64), np.zeros((5, 1), np.float32), 96
    )
    with engine.opened() as collection:
        empty = Encoded(Rna("empty", "ACGUA"), nothing, 1.0)
        collection.upsert([*make("a", "b"), empty])
        assert "empty" not in names_of(find(collection, "a"))
        assert find(collection, "empty") == []
        assert find(collection, "empty", exact=True) == []
    with engine.opened() as collection:
        assert collection.has("empty")
        assert names_of(find(collection, "a")) == ["b"]


def test_opened_again_it_finds_the_same(engine: Engine, make: Make) -> None:
    with engine.opened() as collection:
        collection.upsert(make(*"abcdefgh"))
        collection.delete(["h"])
        before = find(collection, "a")
    with engine.opened() as collection:
        after = find(collection, "a")
    assert [(h.rna, h.score) for h in after] == [(h.rna, h.score) for h in before]


CONDITIONS: list[tuple[Condition, ...]] = [
    (AnyOf("type", frozenset({"Gene"})),),
    (AnyOf("type", frozenset({"Gene;tRNA", "x"})),),
    (AnyOf("type", frozenset()),),
    (NoneOf("type", frozenset({"tRNA"})),),
    (NoneOf("type", frozenset()),),
    (Between("year", 1999, float("inf")),),
    (Between("year", float("-inf"), 1e308), NoneOf("type", frozenset({"Gene"}))),
    (Between("length", 20, 30.5),),
    (Between("length", -5, 19.9), AnyOf("type", frozenset({"Gene", "Cis-reg"}))),
    (AnyOf("length", frozenset({"20", "21", "22", "23"})),),
    (AnyOf(HOSTILE, frozenset({HOSTILE})),),
    (NoneOf(HOSTILE, frozenset({HOSTILE, "\x00"})),),
    (AnyOf("parts", frozenset({"4999"})),),
    (NoneOf("parts", frozenset({"4999"})),),
    (AnyOf("year", frozenset(str(y) for y in range(3000))),),
]


def label(number: int) -> dict[str, str]:
    found = [
        {"type": "Gene;tRNA", "year": "1998"},
        {"type": "Cis-reg", "year": "2001.5"},
        {"type": "Gene", "year": "1e999"},
        {HOSTILE: HOSTILE, "year": "-1e999"},
        {"parts": ";".join(map(str, range(5000))), "year": "soon"},
        {},
    ]
    return found[number % len(found)]


def test_conditions_hold_inside_of_a_search(engine: Engine, make: Make) -> None:
    with engine.opened() as collection:
        for i in range(6):
            names = [f"r{n:02}" for n in range(i, 24, 6)]
            collection.upsert(make(*names, **label(i)))
        for where in CONDITIONS:
            listed = collection.list_rnas(where, "", 999, 10**9).rnas
            wanted = {rna.name for rna in listed} - {"r00"}
            assert set(names_of(find(collection, "r00", where, limit=99))) == wanted
        for where in CONDITIONS[:2]:
            hits = find(collection, "r00", where, "exhaustive", 99)
            assert all(where[0].accepts(hit.rna.metadata.get("type")) for hit in hits)
            assert hits


@pytest.mark.parametrize("sensitivity", ["sensitive", "exhaustive"])
def test_alignments_are_those_of_the_embedded_index(
    embedded: Engine,
    remote: Engine,
    make: Make,
    sensitivity: Sensitivity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored_relatives, "_SLOTS", 100)
    monkeypatch.setattr(stored_relatives, "_IDS", 3)
    rnas = make(*(f"r{i:02}" for i in range(24)), type="x")
    # Two that have a long part in common with the first.
    for name, part in (("left", slice(0, 11)), ("right", slice(3, None))):
        rna, codes, fvu = rnas[0]
        start, stop, _ = part.indices(len(codes))
        cut = replace(rna, name=name, sequence=rna.sequence[part])
        rnas.append(Encoded(cut, codes.slice(start, stop), fvu))
    told = []
    for engine in (embedded, remote):
        with engine.opened() as collection:
            collection.upsert(rnas)
            where: list[tuple[Condition, ...]]
            where = [(), (AnyOf("type", frozenset({"x"})),)]
            told.append(
                [
                    hit
                    for name in ("r00", "r07")
                    for one in where
                    for hit in find(collection, name, one, sensitivity, 6)
                ]
            )
    here, there = told
    assert len(here) > 12
    assert {"left", "right"} <= set(names_of(here[:6]))
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.rna == ours.rna
        assert theirs.score == pytest.approx(ours.score, abs=1e-5)
        assert ours.judged is not None
        assert theirs.judged is not None
        # Vectors have 8 bits, and a scale that they share with their neighbours.
        e_value = theirs.judged.e_value
        assert np.log(e_value) == pytest.approx(np.log(ours.judged.e_value), abs=0.01)
        assert replace(theirs.judged, e_value=0) == replace(ours.judged, e_value=0)


def test_features_are_found_and_have_examples(engine: Engine, make: Make) -> None:
    rnas = make(*(f"r{i:02}" for i in range(30)))
    with engine.opened() as collection:
        collection.upsert(rnas)
        feature = 90
        peaks = {
            one.rna.name: float(
                one.codes.values[one.codes.indices == feature].max(initial=0)
            )
            for one in rnas
        }
        scan = FeatureScan(
            FeatureSearch(parse(f"{feature}>1"), 99, 10**9, is_counting=True)
        )
        while not collection.step(scan):
            pass
        expected = sorted(name for name, peak in peaks.items() if peak >= 1)
        assert [match.rna.name for match in scan.matches] == expected
        assert expected
        best = sorted((p for p in peaks.values() if p), reverse=True)[:4]
        examples = collection.examples(feature, 4)
        assert [each.max_activation for each in examples] == pytest.approx(best)
