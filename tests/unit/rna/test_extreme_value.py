"""Extreme-value statistics: fits find what made the scores; E-values count."""

import math
from collections.abc import Sequence

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


def test_generous_scorings_give_longer_pairs_more_and_wider_spread_scores() -> None:
    generator = np.random.default_rng(0)
    truth = ExtremeValue(0.3, -2.0, 1.0, 1.0, 40.0, 0.7, 5.0)

    def drawn(m: np.ndarray, n: np.ndarray) -> np.ndarray:
        h = m * n / (m + n) / 100
        middle = truth.location + np.log(m) + np.log(n) + 40 * h
        noise = generator.gumbel(truth.mode, 1 / truth.rate, len(h))
        return np.asarray(middle + h**0.7 * noise)

    m, n = lengths(60_000, generator), lengths(60_000, generator)
    found = fit(drawn(m, n), m, n)
    assert found.growth == pytest.approx(0.7, abs=0.05)
    for low, high in ((40, 100), (300, 500)):
        m, n = generator.integers(low, high, (2, 40_000))
        scores = drawn(m, n)
        for p in (0.1, 0.001):
            share = (found.p_value(scores, m, n) < p).mean()
            assert share == pytest.approx(p, rel=0.5)


def test_calibration_pairs_every_query_with_every_target() -> None:
    generator = np.random.default_rng(0)
    queries, targets = (["A" * n for n in lengths(150, generator)] for _ in range(2))

    def score(ours: Sequence[str], theirs: Sequence[str]) -> np.ndarray:
        m, n = (np.array([len(x) for x in group]) for group in (ours, theirs))
        return draw(m[:, None] + 0 * n, n, generator)

    found = calibrate(score, queries, targets)
    assert found.rate == pytest.approx(TRUTH.rate, rel=0.15)


def test_what_is_longer_than_its_parts_has_more_tries() -> None:
    log = float(TRUTH.log_p_value(60.0, 1024, 4096))
    longer = float(TRUTH.log_p_value(60.0, 2048, 40960))
    assert longer - log == pytest.approx(math.log(20), rel=1e-3)


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
    higher = score + math.log(2) / TRUTH.rate
    one_more = TRUTH.bits(higher, 100, 1) - TRUTH.bits(score, 100, 1)
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
