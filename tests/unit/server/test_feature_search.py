"""Feature queries in a collection, beside the simple way to answer them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.server.conftest import MakeCollection, RandomCodes, encoded

from ribolex.dictionary import Codes, Dictionary
from ribolex.server.index import feature_search
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.feature_query import (
    All,
    Chain,
    Edge,
    Fires,
    Not,
    Place,
    Query,
    Reach,
    Some,
    parse,
)
from ribolex.server.index.feature_search import FeatureScan, FeatureSearch
from ribolex.server.index.marking import Peaks, bounds
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import AnyOf, Between

Firings = dict[tuple[int, int], float]
"""Value by feature and nucleotide."""


class Answer(NamedTuple):
    """What holds of one RNA: whether, and which firings have part in it."""

    holds: bool
    places: set[tuple[int, int]]


def firings(codes: Codes) -> Firings:
    rows = codes.rows_of_entries()
    entries = zip(codes.indices, rows, codes.values, strict=True)
    return {(int(f), int(row)): float(value) for f, row, value in entries}


def slowly(query: Query, codes: Codes) -> Answer:
    """The simple twin: sets of nucleotides, every pair of them looked at."""
    if isinstance(query, Not):
        return Answer(not slowly(query.part, codes).holds, set())
    if isinstance(query, Chain):
        return slow_chain(query, codes)
    parts = [slowly(part, codes) for part in query.parts]
    holds = (all if isinstance(query, All) else any)(part.holds for part in parts)
    return Answer(holds, set().union(*(p.places for p in parts)) if holds else set())


def slow_chain(chain: Chain, codes: Codes) -> Answer:
    places = [nucleotides(place, codes) for place in chain.places]
    reaches = chain.reaches
    if reaches and reaches[-1].is_negated:
        unwanted = places.pop()
        places[-1] = {
            a for a in places[-1] if not any(near(a, b, reaches[-1]) for b in unwanted)
        }
        reaches = reaches[:-1]
    ways: set[tuple[int, ...]] = {(a,) for a in places[0]}
    for place, reach in zip(places[1:], reaches, strict=True):
        ways = {(*way, b) for way in ways for b in place if near(way[-1], b, reach)}
    found = {
        (one.feature, at)
        for way in ways
        for at, place in zip(way, chain.places, strict=False)
        for one in place
        if isinstance(one, Fires) and at in nucleotides((one,), codes)
    }
    return Answer(bool(ways), found)


def near(a: int, b: int, reach: Reach) -> bool:
    return reach.low <= b - a <= reach.high


def nucleotides(place: Place, codes: Codes) -> set[int]:
    out = set()
    for one in place:
        if isinstance(one, Edge):
            out.add(0 if one.side == "start" else len(codes) - 1)
            continue
        for (feature, at), value in firings(codes).items():
            passes = value > one.threshold or (
                one.is_reached and value == one.threshold
            )
            if feature == one.feature and passes:
                out.add(at)
    return out


def search(collection: Collection, asked: FeatureSearch) -> FeatureScan:
    scan = FeatureScan(asked)
    while not collection.step(scan):
        pass
    return scan


def ask(text: str, limit: int = 1000) -> FeatureSearch:
    return FeatureSearch(parse(text), limit, 10**9, is_counting=True)


FEATURES = st.integers(90, 95)  # the common ones of random_codes
THRESHOLDS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5])
LEAVES = st.builds(Fires, FEATURES, THRESHOLDS, st.booleans())
PLACES = st.lists(
    LEAVES | st.sampled_from([Edge("start"), Edge("end")]), min_size=1, max_size=2
).map(tuple)
REACHES = st.builds(
    lambda kind, n: {
        "of": Reach(-n, n),
        "before": Reach(1, n),
        "after": Reach(-n, -1),
        "far": Reach(1, 2**31 - 1),
    }[kind],
    st.sampled_from(["of", "before", "after", "far"]),
    st.integers(0, 6),
)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    reaches: list[Reach] = draw(st.lists(REACHES, max_size=2))
    places = [draw(PLACES) for _ in range(len(reaches) + 1)]
    is_negated: bool = draw(st.booleans())
    if reaches and is_negated:
        reaches[-1] = replace(reaches[-1], is_negated=True)
    return Chain(tuple(places), tuple(reaches))


QUERIES = st.recursive(
    chains(),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.tuples(inner, inner))
        | st.builds(Some, st.tuples(inner, inner))
    ),
    max_leaves=4,
)
VALUES = np.array([0, 0, 0.25, 0.5, 1.0, 1.5, 2.0], np.float32)


def random_rnas(seed: int, n_rnas: int) -> dict[str, Codes]:
    random = np.random.default_rng(seed)
    rnas = {}
    for i in range(n_rnas):
        dense = np.zeros((int(random.integers(1, 12)), 96), np.float32)
        dense[:, 90:] = random.choice(VALUES, (len(dense), 6)) * (
            random.random((len(dense), 6)) < 0.3
        )
        order = np.broadcast_to(np.arange(96), dense.shape)
        rnas[f"r{i:02}"] = Codes.from_topk(order, dense, 96)
    return rnas


@pytest.fixture(scope="module")
def collections(
    tmp_path_factory: pytest.TempPathFactory, dictionary: Dictionary
) -> list[tuple[Collection, dict[str, Codes]]]:
    """Gives collections whose vectors have all features, and one whose have not."""
    out = []
    measures = [SearchMeasure(), SearchMeasure(keep_strongest=1)]
    for seed, measure in enumerate(measures):
        folder = tmp_path_factory.mktemp("collection")
        Collection.create(folder, Facts.of("c", dictionary, measure))
        collection = Collection(folder)
        collection.load(dictionary)
        rnas = random_rnas(seed, 24)
        collection.upsert([encoded(name, codes) for name, codes in rnas.items()])
        out.append((collection, rnas))
    return out


@settings(deadline=None, max_examples=100)
@given(
    query=QUERIES,
    limit=st.integers(1, 50),
    max_size=st.sampled_from([1, 60, 10**6]),
    which=st.integers(0, 1),
)
def test_pages_are_what_the_simple_way_finds(
    collections: list[tuple[Collection, dict[str, Codes]]],
    query: Query,
    limit: int,
    max_size: int,
    which: int,
) -> None:
    collection, rnas = collections[which]
    answers = {name: slowly(query, codes) for name, codes in rnas.items()}
    expected = {name: one.places for name, one in answers.items() if one.holds}
    found: dict[str, set[tuple[int, int]]] = {}
    asked = FeatureSearch(query, limit, max_size, is_counting=True)
    while True:
        scan = search(collection, asked)
        assert scan.n_matching == len(expected)
        assert len(scan.matches) <= limit
        for rna, stretches in scan.matches:
            values = firings(rnas[rna.name])
            places = {
                (feature, at)
                for feature, start, stop, _ in stretches
                for at in range(start, stop)
            }
            assert sum(one.stop - one.start for one in stretches) == len(places)
            for feature, start, stop, peak in stretches:
                assert peak == max(values[feature, at] for at in range(start, stop))
                assert not places & {(feature, start - 1), (feature, stop)}
            found[rna.name] = places
        if not scan.has_more:
            break
        asked = replace(asked, after=scan.matches[-1].rna.name)
    assert list(found.items()) == sorted(expected.items())


@settings(deadline=None, max_examples=40)
@given(query=QUERIES, is_complete=st.booleans(), seed=st.integers(0, 9))
def test_peaks_never_tell_too_much(query: Query, is_complete: bool, seed: int) -> None:
    rnas = list(random_rnas(seed, 12).values())
    values = np.array(
        [
            [max((v for (f, _), v in firings(one).items() if f == i), default=0)
             for one in rnas]
            for i in range(96)
        ],
        np.float32,
    )  # fmt: skip
    if not is_complete:
        values[:, ::2] = 0
    told = bounds(query, Peaks(dict(enumerate(values)), len(rnas), is_complete))
    holds = np.array([slowly(query, codes).holds for codes in rnas])
    assert not (holds & ~told.maybe).any()
    assert not (told.surely & ~holds).any()


def test_blocks_make_no_difference(
    make_collection: MakeCollection,
    random_codes: RandomCodes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collection = make_collection()
    collection.upsert([encoded(f"r{i:02}", random_codes(30)) for i in range(40)])
    asked = ask("95>1 within 3 of 94, not 93>2 before 92 after 91")
    whole = search(collection, asked)
    assert 0 < len(whole.matches) < 40
    monkeypatch.setattr(feature_search, "_FIRST_RNAS", 1)
    monkeypatch.setattr(feature_search, "_BLOCK_RNAS", 3)
    monkeypatch.setattr(feature_search, "_BLOCK_SLOTS", 50)
    parts = search(collection, asked)
    assert parts.matches == whole.matches
    assert parts.n_matching == whole.n_matching == len(whole.matches)


def test_only_what_the_conditions_let_through_is_searched(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> None:
    collection = make_collection()
    rnas = [encoded(f"r{i:02}", random_codes(20 + i)) for i in range(20)]
    labelled = [
        one._replace(rna=replace(one.rna, metadata={"type": "ab"[i % 2]}))
        for i, one in enumerate(rnas)
    ]
    collection.upsert(labelled)
    where = (AnyOf("type", frozenset("a")), Between("length", 25, 35))
    scan = search(collection, replace(ask("95 or not 95"), where=where))
    names = [rna.name for rna, _ in scan.matches]
    assert names == ["r06", "r08", "r10", "r12", "r14"]
    assert (scan.n_searched, scan.n_matching) == (5, 5)
    assert scan.n_read <= 5


def test_what_is_changed_between_blocks_is_seen_by_the_next(
    make_collection: MakeCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_search, "_FIRST_RNAS", 4)
    monkeypatch.setattr(feature_search, "_BLOCK_RNAS", 4)
    fires, silent = (
        Codes(
            np.array([0, 1]), np.array([f], np.uint32), np.ones(1, np.float32), 96
        )
        for f in (5, 6)
    )  # fmt: skip
    collection = make_collection()
    collection.upsert([encoded(f"r{i:02}", fires) for i in range(12)])
    scan = FeatureScan(ask("5"))
    assert not collection.step(scan)
    collection.delete(["r04", "r00"])
    collection.upsert([encoded("r05", silent), encoded("r05b", fires)])
    while not collection.step(scan):
        pass
    names = [rna.name for rna, _ in scan.matches]
    assert names == [f"r{i:02}" for i in range(4)] + ["r05b"] + [
        f"r{i:02}" for i in range(6, 12)
    ]


def test_a_search_finds_the_same_after_a_restart(
    make_collection: MakeCollection,
    random_codes: RandomCodes,
    dictionary: Dictionary,
    tmp_path: Path,
) -> None:
    collection = make_collection()
    collection.upsert([encoded(f"r{i:02}", random_codes(30)) for i in range(20)])
    collection.delete(["r03"])
    asked = ask("95>1 before 94")
    before = search(collection, asked).matches
    collection.close()
    again = Collection(tmp_path / "c")
    again.load(dictionary)
    assert search(again, asked).matches == before
    again.close()


def names_of(scan: FeatureScan) -> Sequence[str]:
    return [rna.name for rna, _ in scan.matches]


def test_rare_features_are_found_without_reading_the_others(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> None:
    collection = make_collection()
    rare = Codes(
        np.array([0, 1, 1, 2]),
        np.array([0, 1], np.uint32),
        np.array([2.5, 1], np.float32),
        96,
    )
    common = [encoded(f"r{i:02}", random_codes(30)) for i in range(60)]
    collection.upsert([*common, encoded("rare", rare)])
    scan = search(collection, ask("0>2 within 2 before 1"))
    assert names_of(scan) == ["rare"]
    assert [tuple(one) for one in scan.matches[0].stretches] == [
        (0, 0, 1, 2.5),
        (1, 2, 3, 1.0),
    ]
    assert scan.n_read < 20
