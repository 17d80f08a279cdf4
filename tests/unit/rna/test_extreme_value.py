"""Extreme-value statistics: fits find what made the scores; E-values count."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.rna.extreme_value import (
    ExtremeValue,
    Search,
    calibrate,
    count_false_hits,
    fit,
)

TRUTH = ExtremeValue(0.5, 3.0, 2.2, 2.6)


def lengths(n: int, generator: np.random.Generator) -> np.ndarray:
    return generator.integers(40, 500, n)


def draw(m: np.ndarray, n: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Scores as TRUTH says."""
    middle = TRUTH.location + TRUTH.query_slope * np.log(m)
    middle = middle + TRUTH.target_slope * np.log(n)
    return np.asarray(generator.gumbel(middle, 1 / TRUTH.rate))


def test_a_fit_finds_what_made_the_scores() -> None:
    generator = np.random.default_rng(0)
    m, n = lengths(40_000, generator), lengths(40_000, generator)
    found = fit(draw(m, n, generator), m, n)
    assert found.rate == pytest.approx(TRUTH.rate, rel=0.03)
    assert found.query_slope == pytest.approx(TRUTH.query_slope, abs=0.12)
    assert found.target_slope == pytest.approx(TRUTH.target_slope, abs=0.12)


def test_a_fit_does_not_mind_what_low_scores_look_like() -> None:
    generator = np.random.default_rng(0)
    m, n = lengths(40_000, generator), lengths(40_000, generator)
    scores = draw(m, n, generator)
    ranks = TRUTH.p_value(scores, m, n)
    scores[ranks > 0.7] -= 3
    found = fit(scores, m, n)
    assert found.rate == pytest.approx(TRUTH.rate, rel=0.06)


def test_lengths_that_never_vary_still_give_statistics() -> None:
    generator = np.random.default_rng(0)
    m, n = np.full(5000, 100), lengths(5000, generator)
    found = fit(draw(m, n, generator), m, n)
    assert found.query_slope == pytest.approx(1 / found.rate)
    p = found.p_value(draw(m, n, generator), m, n)
    assert (p < 0.1).mean() == pytest.approx(0.1, abs=0.02)


def test_e_values_count_false_hits() -> None:
    generator = np.random.default_rng(0)
    n = lengths(500, generator)
    searches = (
        Search(draw(np.array(m), n, generator), int(m), n)
        for m in lengths(2000, generator)
    )
    counts = count_false_hits(TRUTH, searches)
    assert [hits.expected for hits in counts] == pytest.approx(
        [20, 60, 200, 600, 2000, 6000, 20000]
    )
    for hits in counts:
        assert hits.ratio == pytest.approx(1, abs=4 / math.sqrt(hits.expected))


def test_queries_that_score_high_with_decoys_get_no_more_false_hits() -> None:
    generator = np.random.default_rng(0)
    extra: dict[str, float] = {}

    def score(queries: list[str], targets: list[str]) -> np.ndarray:
        for query in queries:
            extra.setdefault(query, 2.5 * generator.normal())
        m = np.array([len(x) for x in queries])[:, None]
        n = np.array([len(x) for x in targets])
        own = np.array([[extra[x]] for x in queries])
        return np.asarray(draw(m, n, generator) + own)

    texts = [
        "".join(generator.choice(list("ACGU"), n)) for n in lengths(700, generator)
    ]
    queries, targets, decoys = texts[:300], texts[300:600], texts[600:]
    found = calibrate(score, queries, targets, decoys)  # type: ignore[arg-type]
    assert found.query_spread == pytest.approx(2.5, rel=0.2)
    assert found.target_spread < 0.3
    assert found.rate == pytest.approx(TRUTH.rate, rel=0.05)
    sizes, theirs = (np.array([len(x) for x in g]) for g in (decoys, targets))
    searches = [
        Search(
            score([query], targets)[0],
            len(query),
            theirs,
            found.query_shift(score([query], decoys)[0], len(query), sizes),
        )
        for query in queries
    ]
    corrected = count_false_hits(found, searches, [1.0])[0]
    bare = count_false_hits(found, [s._replace(shift=0.0) for s in searches], [1.0])[0]
    assert corrected.ratio == pytest.approx(1, abs=0.25)
    assert bare.ratio > 1.6


@given(score=st.floats(-1e6, 1e6), m=st.integers(0, 10**6), n=st.integers(0, 10**6))
def test_extreme_scores_stay_numbers_and_in_order(score: float, m: int, n: int) -> None:
    log = float(TRUTH.log_p_value(score, m, n))
    assert math.isfinite(log)
    assert log <= 0
    assert float(TRUTH.log_p_value(score + 10, m, n)) <= log
    assert 0 <= float(TRUTH.e_value(score, m, n, 1000)) <= 1000


def test_far_tails_lose_nothing() -> None:
    z = 500.0
    score = TRUTH.location + TRUTH.query_slope * math.log(100) + z / TRUTH.rate
    assert float(TRUTH.log_p_value(score, 100, 1)) == pytest.approx(-z)
    assert float(TRUTH.e_value(score, 100, 1, 10)) == pytest.approx(10 * math.exp(-z))
    one_more = TRUTH.bits(score + math.log(2) / TRUTH.rate) - TRUTH.bits(score)
    assert one_more == pytest.approx(1)


def test_numbers_round_trip_and_bad_ones_are_refused() -> None:
    numbers = TRUTH.to_numbers()
    assert ExtremeValue.from_numbers(numbers, "statistics") == TRUTH
    for bad in (
        numbers | {"rate": math.nan},
        numbers | {"rate": 0.0},
        numbers | {"more": 1.0},
        {"rate": 1.0},
    ):
        with pytest.raises(InvalidRequestError, match="statistics"):
            ExtremeValue.from_numbers(bad, "statistics")


@pytest.mark.parametrize(
    "scores", [np.zeros(10), np.full(100, 3.0), np.full(100, math.nan)]
)
def test_scores_that_tell_nothing_are_refused(scores: np.ndarray) -> None:
    ones = np.ones(len(scores), int)
    with pytest.raises(InvalidRequestError, match="scores"):
        fit(scores, ones, ones)
