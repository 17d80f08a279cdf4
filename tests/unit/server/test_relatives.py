"""Search for relatives: what it finds is what aligning everything by hand would."""

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from unittest.mock import Mock

import numpy as np
import pytest
from tests.unit.server.test_positions import Drawn, cut_out, lettered, make_model
from tests.unit.server.test_recall_sample import settle

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.traceback import trace
from ribolex.server.index.recall_sample import RecallSample
from ribolex.server.index.relatives import RelativesSearch, Sought

pytestmark = pytest.mark.timeout(300)  # the first calls compile


@pytest.fixture(scope="module")
def model() -> AlignmentModel:
    return make_model(6)


@pytest.fixture
def relatives(model: AlignmentModel) -> Iterator[RelativesSearch]:
    with closing(RelativesSearch(model)) as relatives:
        yield relatives


def put(relatives: RelativesSearch, *rnas: Drawn) -> None:
    for rna in rnas:
        sequence = "".join("ACGUN"[letter] for letter in rna.letters)
        relatives.put(rna.rna_id, rna.change, sequence, rna.codes)


def sought(rna: Drawn, excluded: int | None = None) -> Sought:
    return Sought(rna.letters, rna.codes, excluded)


def joined(*rnas: Drawn) -> Drawn:
    """One RNA of all of them."""
    return rnas[0]._replace(
        letters=np.concatenate([rna.letters for rna in rnas]),
        codes=Codes.concatenate([rna.codes for rna in rnas]),
    )


def test_exhaustive_finds_what_aligning_each_by_hand_finds(
    relatives: RelativesSearch, model: AlignmentModel
) -> None:
    rnas = [lettered(i, 20 + 7 * i, 1) for i in range(12)]
    rnas.append(joined(rnas[0], rnas[5], rnas[3])._replace(rna_id=50))
    put(relatives, *rnas)
    query = rnas[5]
    hits = relatives.search(sought(query), limit=100, exhaustive=True)
    by_hand = {
        rna.rna_id: trace(query.arrays(model), rna.arrays(model), model) for rna in rnas
    }
    assert {hit.rna_id for hit in hits} == set(by_hand)
    for hit in hits:
        expected = by_hand[hit.rna_id]
        # Stored vectors have 8 bits.
        assert hit.trace().score == pytest.approx(expected.score, rel=0.01)
        (n,) = (len(rna.letters) for rna in rnas if rna.rna_id == hit.rna_id)
        e_value = model.statistics.e_value(expected.score, len(query.letters), n, 13)
        assert np.log(hit.e_value) == pytest.approx(np.log(e_value), rel=0.02, abs=0.2)
    assert [hit.rna_id for hit in hits[:2]] == [5, 50]
    best = hits[1].trace()
    assert (best.query_start, best.query_stop) == (0, len(query.letters))
    assert best.target_start == len(rnas[0].letters)
    assert [hit.e_value for hit in hits] == sorted(hit.e_value for hit in hits)


def test_a_short_rna_is_found_in_a_long_one_with_its_place(
    relatives: RelativesSearch,
) -> None:
    planted = lettered(1, 76, 1)
    sides = lettered(2, 30_007, 2), lettered(3, 20_000, 3)
    put(relatives, joined(sides[0], planted, sides[1])._replace(rna_id=7))
    put(relatives, *(lettered(i, 90, i) for i in range(10, 60)))
    for exhaustive in (False, True):
        (hit,) = relatives.search(sought(planted), limit=1, exhaustive=exhaustive)
        found = hit.trace()
        assert hit.rna_id == 7
        assert (found.query_start, found.query_stop) == (0, 76)
        assert (found.target_start, found.target_stop) == (30_007, 30_083)


def test_a_long_query_finds_a_short_rna_in_itself(relatives: RelativesSearch) -> None:
    short = lettered(1, 90, 1)
    put(relatives, short, *(lettered(i, 90, i) for i in range(10, 40)))
    for before in (0, 900, 5_000):
        query = joined(lettered(2, before, 2), short, lettered(3, 3_000, 3))
        hit = relatives.search(sought(query), limit=5)[0]
        found = hit.trace()
        assert (hit.rna_id, found.query_start) == (1, before)
        assert found.query_stop == before + 90
        assert (found.target_start, found.target_stop) == (0, 90)


def test_an_alignment_longer_than_a_window_is_told_whole(
    relatives: RelativesSearch,
) -> None:
    long = lettered(1, 3_000, 1)
    put(relatives, long)
    (hit,) = relatives.search(sought(cut_out(long, 500, 2_400)), limit=5)
    found = hit.trace()
    assert (found.target_start, found.target_stop) == (500, 2_400)


def test_what_is_excluded_or_not_allowed_is_no_hit(relatives: RelativesSearch) -> None:
    rnas = [lettered(i, 60, 1) for i in range(20)]
    put(relatives, *rnas)
    allowed = np.zeros(10, bool)
    allowed[[2, 5, 8]] = True
    for exhaustive in (False, True):
        hits = relatives.search(
            sought(rnas[5], excluded=5), limit=9, exhaustive=exhaustive, allowed=allowed
        )
        assert {hit.rna_id for hit in hits} <= {2, 8}
        assert hits


def test_limits_on_hits(relatives: RelativesSearch) -> None:
    rnas = [lettered(i, 60, 1) for i in range(20)]
    put(relatives, *rnas)
    assert len(relatives.search(sought(rnas[5]), limit=3)) == 3
    (hit,) = relatives.search(sought(rnas[5]), limit=9, max_e_value=1e-6)
    assert hit.rna_id == 5


def test_only_what_is_shown_is_traced(
    relatives: RelativesSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnas = [lettered(i, 60, 1) for i in range(20)]
    put(relatives, *rnas)
    traced = Mock(wraps=trace)
    monkeypatch.setattr("ribolex.server.index.relatives.trace", traced)
    hits = relatives.search(sought(rnas[5]), limit=9, exhaustive=True)
    assert traced.call_count == 0
    # What changes in between changes no hit of a search that is done.
    relatives.index.remove([hits[1].rna_id])
    assert hits[1].trace().score == pytest.approx(hits[1].score, rel=0.01)
    assert traced.call_count == 1


def test_nothing_is_found_in_nothing(relatives: RelativesSearch) -> None:
    for exhaustive in (False, True):
        query = sought(lettered(5, 60, 1))
        assert relatives.search(query, limit=3, exhaustive=exhaustive) == []


def test_changes_are_seen_at_once(relatives: RelativesSearch) -> None:
    old, new = lettered(1, 70, 1), lettered(1, 70, 2, change=2)
    put(relatives, old, lettered(2, 70, 3))
    put(relatives, new)
    hits = relatives.search(sought(new), limit=1)
    assert (hits[0].rna_id, hits[0].trace().query_stop) == (1, 70)
    assert relatives.search(sought(old), limit=1, max_e_value=1e-6) == []
    relatives.index.remove([1])
    assert {hit.rna_id for hit in relatives.search(sought(new), limit=9)} <= {2}


@pytest.mark.parametrize("exhaustive", [False, True])
def test_a_search_ends_when_nobody_waits(
    relatives: RelativesSearch, exhaustive: bool
) -> None:
    put(relatives, *(lettered(i, 70, 1) for i in range(30)))
    query = sought(lettered(5, 70, 1))
    calls = ending_at(10**9)
    relatives.search(query, limit=3, exhaustive=exhaustive, check=calls)
    n_calls = calls.n  # type: ignore[attr-defined]
    assert n_calls >= 1
    for n in range(n_calls):
        with pytest.raises(TimeoutError):
            relatives.search(query, limit=3, exhaustive=exhaustive, check=ending_at(n))


def ending_at(n_calls: int) -> Callable[[], None]:
    def check() -> None:
        check.n += 1  # type: ignore[attr-defined]
        if check.n > n_calls:  # type: ignore[attr-defined]
            raise TimeoutError

    check.n = 0  # type: ignore[attr-defined]
    return check


def test_threads_find_what_one_finds(model: AlignmentModel) -> None:
    found: list[list[tuple[object, ...]]] = []
    for n_threads in (1, 3):
        with closing(RelativesSearch(model, n_threads=n_threads)) as relatives:
            put(relatives, *(lettered(i, 70, i % 5) for i in range(50)))
            for way in (False, True):
                hits = relatives.search(
                    sought(lettered(3, 70, 3)), limit=9, exhaustive=way
                )
                found.append([(*hit[:3], hit.trace()) for hit in hits])
    assert found[:2] == found[2:]


def test_some_searches_measure_the_recall_of_all(
    model: AlignmentModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ribolex.server.index.recall_sample._ENOUGH", 1)
    rnas = [lettered(i, 60, i) for i in range(30)]
    with (
        closing(RecallSample(1.0)) as sample,
        closing(RelativesSearch(model, sample=sample)) as relatives,
    ):
        put(relatives, *rnas)
        relatives.search(sought(rnas[3]), limit=1, exhaustive=True)
        settle(sample)
        assert math.isnan(sample.recall)
        relatives.search(sought(rnas[3]), limit=1)
        settle(sample)
        assert sample.recall == 1.0


def test_a_search_that_finds_little_lowers_the_recall(
    model: AlignmentModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ribolex.server.index.recall_sample._ENOUGH", 1)
    same = [lettered(1, 60, 1)._replace(rna_id=i) for i in range(4)]
    with (
        closing(RecallSample(1.0)) as sample,
        closing(RelativesSearch(model, sample=sample)) as relatives,
    ):
        put(relatives, *same)
        for name, value in (("N_CANDIDATES", 1), ("_CANDIDATES_A_HIT", 0)):
            monkeypatch.setattr(f"ribolex.server.index.relatives.{name}", value)
        relatives.search(sought(same[0]), limit=9)
        settle(sample)
        assert sample.recall == 0.25
