"""Tables of tests against scipy, one by one."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from ribolex.dictionary.false_discovery import benjamini_hochberg
from ribolex.trainer.annotation.chance import (
    drawn_moments,
    hypergeometric_tail,
    moment_tail,
)


def test_hypergeometric_tail_is_fishers_exact_test() -> None:
    generator = np.random.default_rng(0)
    total = 3000
    labelled, drawn = generator.integers(1, 900, (2, 400))
    hits = stats.hypergeom.rvs(total, labelled, drawn, random_state=1)
    hits += generator.integers(0, 30, 400)
    hits = np.minimum(hits, np.minimum(labelled, drawn))
    got = hypergeometric_tail(hits, drawn, labelled, total)
    expected = stats.hypergeom.sf(hits - 1, total, labelled, drawn)
    above = hits * total > drawn * labelled
    np.testing.assert_allclose(got[above], expected[above], rtol=1e-7)
    assert (got[~above] == 1).all()


def test_nothing_can_be_more_certain_than_all_hits() -> None:
    got = hypergeometric_tail(np.array([5]), np.array([5]), np.array([5]), 20)
    assert got[0] == pytest.approx(1 / 15504)


def test_tail_of_three_moments_is_that_of_a_poisson_sum() -> None:
    """A Poisson law has its mean as variance and third moment."""
    hits, mean = np.array([8.0, 15.0, 30.0, 140.0]), np.array([3.0, 10.0, 12.0, 100.0])
    got = moment_tail(hits, np.stack([mean] * 3, axis=-1))
    expected = stats.poisson.sf(hits - 1, mean)
    np.testing.assert_allclose(got, expected, rtol=0.4)
    assert (got > expected).all()  # rather too large than too small


def test_tail_without_variance_is_sure_and_bounded() -> None:
    moments = np.array([[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
    got = moment_tail(np.array([9.0, 5.0]), moments, np.array([1e-3, 1e-3]))
    np.testing.assert_allclose(got, [1e-3, 1.0])


def test_moments_of_members_drawn_are_those_of_all_draws() -> None:
    values = np.random.default_rng(0).random((7, 2)) ** 3
    for n_drawn in (1, 3, 6):
        draws = np.array(
            [values[list(c)].sum(0) for c in combinations(range(7), n_drawn)]
        )
        got = drawn_moments(values, np.array([n_drawn]))[:, 0]
        off = draws - draws.mean(0)
        expected = np.stack([draws.mean(0), (off**2).mean(0), (off**3).mean(0)], axis=1)
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_false_discovery_rates_are_scipys_with_silent_tests_counted() -> None:
    p_values = np.random.default_rng(0).random(50) ** 3
    padded = np.concatenate([p_values, np.ones(150)])
    np.testing.assert_allclose(
        benjamini_hochberg(p_values, 200), stats.false_discovery_control(padded)[:50]
    )
    assert len(benjamini_hochberg(np.empty(0), 10)) == 0
