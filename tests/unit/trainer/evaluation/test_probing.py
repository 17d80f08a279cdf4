"""Probes find what is there, on families that they were not fitted on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from ribolex.trainer.evaluation.probing import (
    Task,
    count_pairs,
    probe,
    regress,
)
from ribolex.trainer.pretraining.probes import auroc


def make_task(n: int = 600, n_kin: int = 12, seed: int = 0) -> tuple[Task, np.ndarray]:
    """A label that features 3 and 7 tell together, among 20."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(2 * n, 20)).astype(np.float32) * np.logspace(-2, 2, 20)
    z = x[:, 3] / x[:, 3].std() + x[:, 7] / x[:, 7].std()
    y = (z + random.normal(size=2 * n) > 0)[:, None]
    kin = random.integers(0, n_kin, n)
    return Task("paired", ["S stem"], y[:n], y[n:], kin), x.astype(np.float32)


def test_probe_takes_the_features_that_tell_whatever_their_scale() -> None:
    task, x = make_task()
    one, two = probe(task, x[:600], x[600:], [1, 2])
    assert 0.7 < one.score.auroc < two.score.auroc
    assert two.score.auroc > 0.88
    assert two.score.low < two.score.auroc < two.score.high
    assert two.score.by_label == {"S stem": two.score.auroc}


def test_sparse_and_dense_features_give_the_same_scores() -> None:
    task, x = make_task()
    x = np.maximum(x, 0)
    dense = probe(task, x[:600], x[600:], [1, 5])
    fitted, scored = (sparse.csr_array(part) for part in (x[:600], x[600:]))
    thin = probe(task, fitted, scored, [1, 5])
    for ours, theirs in zip(thin, dense, strict=True):
        assert ours.score.auroc == pytest.approx(theirs.score.auroc, abs=1e-4)


def test_noise_is_told_to_be_noise() -> None:
    task, x = make_task()
    shuffled = np.random.default_rng(1).permutation(x)
    (found,) = probe(task, x[:600], shuffled[600:], [5])
    assert found.score.low < 0.5 < found.score.high


def test_interval_widens_where_few_clans_decide() -> None:
    """The label's feature turns its sign from clan to clan of one half."""
    task, x = make_task(n_kin=6)
    turned = x[600:].copy()
    turned[task.kin == 0] *= -1
    (steady,) = probe(task, x[:600], x[600:], [2])
    (torn,) = probe(task, x[:600], turned, [2])
    assert torn.score.high - torn.score.low > 2 * (steady.score.high - steady.score.low)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_pairs_of_all_clans_together_are_the_auroc(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 6, n) / 3
    is_positive = random.random(n) < 0.5
    is_positive[:2] = True, False
    kin = random.integers(0, 4, n)
    right, every = count_pairs(scores, is_positive, kin, 4)
    assert right.sum() / every.sum() == pytest.approx(auroc(scores, is_positive))
    mine = kin == kin[0]
    if 0 < is_positive[mine].sum() < mine.sum():
        own = right[kin[0], kin[0]] / every[kin[0], kin[0]]
        assert own == pytest.approx(auroc(scores[mine], is_positive[mine]))


def test_regression_has_no_slope_left_to_go_down() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)) * [1, 5, 0.2]
    y = random.random(400) < 1 / (1 + np.exp(2 * x[:, 0] - 3))
    weights = regress(x, y)
    z = weights[0] + x @ weights[1:]
    residual = 1 / (1 + np.exp(-z)) - y
    assert abs(residual.mean()) < 1e-3
    slopes = x.T @ residual / len(y) + 1e-3 * weights[1:]
    assert np.abs(slopes).max() < 1e-2
    assert weights[1] == pytest.approx(-2, abs=0.7)


def test_regression_of_what_is_told_apart_wholly_ends() -> None:
    x = np.arange(20.0)[:, None]
    weights = regress(x, x[:, 0] > 9)
    assert np.isfinite(weights).all()
    assert weights[1] > 0
