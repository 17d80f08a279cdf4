"""Sums of drawn members against scipy's laws and against all draws there are."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from ribolex.dictionary.drawn_sums import drawn_moments, moment_tail


@pytest.mark.parametrize("skewness", [0.001, 0.1, 1.0, 6.0])
def test_tail_is_that_of_pearsons_third_type(skewness: float) -> None:
    z = np.linspace(-4, 30, 60)
    moments = np.stack([np.full(60, 2.0), np.full(60, 9.0), np.full(60, 27 * skewness)])
    got = moment_tail(2 + 3 * z, moments.T, step=0.0)
    expected = stats.pearson3.sf(z, skewness if skewness > 0.01 else 0.0)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


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
