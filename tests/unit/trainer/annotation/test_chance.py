"""Tables of tests against scipy, one by one."""

import numpy as np
import pytest
from scipy import stats

from ribolex.dictionary.false_discovery import benjamini_hochberg
from ribolex.trainer.annotation.chance import hypergeometric_tail


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


def test_false_discovery_rates_are_scipys_with_silent_tests_counted() -> None:
    p_values = np.random.default_rng(0).random(50) ** 3
    padded = np.concatenate([p_values, np.ones(150)])
    np.testing.assert_allclose(
        benjamini_hochberg(p_values, 200), stats.false_discovery_control(padded)[:50]
    )
    assert len(benjamini_hochberg(np.empty(0), 10)) == 0
