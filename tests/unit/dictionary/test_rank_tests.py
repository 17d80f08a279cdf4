"""Dealing units: against all deals there are, and what units tell of their RNAs."""

from itertools import combinations

import numpy as np
import pytest

from ribolex.dictionary.groups import mid_ranks
from ribolex.dictionary.rank_tests import Units, rank_p_values


def p_values(table: np.ndarray, units: np.ndarray, n_first: int) -> np.ndarray:
    ranks = mid_ranks(table) - (len(table) + 1) / 2
    return rank_p_values(ranks, Units.of(units, n_first))


@pytest.mark.parametrize("size", [1, 4])
def test_p_is_that_of_all_deals(size: int) -> None:
    """Twice the smaller tail, of units of one size, in a skewed law."""
    random = np.random.default_rng(size)
    units = np.repeat(np.arange(18), size)
    table = np.exp(2 * random.normal(size=(18, 40)))[units]
    table[random.random(table.shape) < 0.3] = 0
    table[: 4 * size, :10] += 8
    got = p_values(table, units, 4 * size)
    ranks = mid_ranks(table).reshape(18, size, 40).mean(1)
    sums = np.array([ranks[list(own)].sum(0) for own in combinations(range(18), 4)])
    above = (sums >= sums[0] - 1e-9).mean(0)
    below = (sums <= sums[0] + 1e-9).mean(0)
    exact = np.minimum(2 * np.minimum(above, below), 1)
    np.testing.assert_allclose(got[exact > 0.02], exact[exact > 0.02], atol=0.07)
    assert (got > 0.7 * exact).all()  # rather too large than too small
    assert (got < 5 * exact).all()
    assert (exact < 0.02).sum() > 2


def test_rnas_that_are_all_alike_are_one() -> None:
    random = np.random.default_rng(0)
    one = random.random((30, 20))
    copies = np.repeat(np.arange(30), 5)
    np.testing.assert_allclose(
        p_values(one[copies], copies, 40), p_values(one, np.arange(30), 8), rtol=1e-6
    )


def test_order_and_numbers_of_units_do_not_matter() -> None:
    random = np.random.default_rng(1)
    table = random.random((60, 20))
    units = np.concatenate([np.arange(25) // 3, 100 + np.arange(35) // 2])
    order = np.concatenate([random.permutation(25), 25 + random.permutation(35)])
    np.testing.assert_allclose(
        p_values(table[order], (200 - units)[order], 25),
        p_values(table, units, 25),
        rtol=1e-9,
    )


def test_swapping_groups_gives_the_same_p() -> None:
    random = np.random.default_rng(2)
    table = random.exponential(1, (60, 20)) * (random.random((60, 20)) < 0.3)
    units = np.concatenate([np.arange(12) // 4, 50 + np.arange(48)])
    swapped = np.roll(np.arange(60), -12)
    np.testing.assert_allclose(
        p_values(table[swapped], units[swapped], 48), p_values(table, units, 12)
    )
