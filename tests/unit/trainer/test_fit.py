"""Fits repeat, find planted features, and hold what they promise of the weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float16

from ribolex.trainer.evaluate import evaluate
from ribolex.trainer.fit import (
    FitPlan,
    FitProgress,
    fit,
    geometric_median,
    measure_moments,
)

D_IN, N_TRUE = 16, 24


def silent(_: FitProgress) -> None:
    pass


def plant(n_rows: int, seed: int) -> Float16[np.ndarray, "row d_in"]:
    """Gives rows that are sums of 2 of 24 directions, shifted and scaled."""
    directions = np.random.default_rng(99).normal(size=(N_TRUE, D_IN))
    generator = np.random.default_rng(seed)
    chosen = generator.random((n_rows, N_TRUE)).argsort(1)[:, :2]
    weights = generator.random((n_rows, 2)) + 0.5
    rows = (weights[:, :, None] * directions[chosen]).sum(1)
    scaled = rows * np.linspace(0.1, 3, D_IN) + 5
    return np.asarray(scaled, np.float16)


PLAN = FitPlan(n_features=32, k=2, n_rows=20_000, batch_rows=100, learning_rate=1e-2)


def test_planted_features_are_found_in_held_out_rows() -> None:
    rows, held_out = plant(4000, 0), plant(1000, 1)
    seen: list[FitProgress] = []
    fitted = evaluate(fit(rows, PLAN, seen.append).sae, held_out)
    untrained = evaluate(fit(rows, replace(PLAN, n_rows=100), silent).sae, held_out)
    assert fitted.fvu < 0.25 < untrained.fvu
    assert seen[-1].step == seen[-1].n_steps == 200


def test_the_same_seed_gives_the_same_autoencoder() -> None:
    rows, plan = plant(2000, 0), FitPlan(32, 2, 8000, 200)
    one, two = fit(rows, plan, silent).sae, fit(rows, plan, silent).sae
    other = fit(rows, FitPlan(32, 2, 8000, 200, seed=1), silent).sae
    assert torch.equal(one.W_enc, two.W_enc)
    assert torch.equal(one.b_dec, two.b_dec)
    assert not torch.equal(one.W_enc, other.W_enc)


def test_decoder_rows_have_length_1_before_folding() -> None:
    fitted = fit(plant(2000, 0), FitPlan(32, 2, 4000, 200), silent)
    lengths = (fitted.sae.W_dec / fitted.moments.sigma).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(32))


def test_frozen_decoder_stays_as_drawn() -> None:
    rows = plant(2000, 0)
    plans = [FitPlan(32, 2, n, 200, frozen_decoder=True) for n in (200, 4000)]
    short, long = (fit(rows, plan, silent).sae for plan in plans)
    torch.testing.assert_close(short.W_dec, long.W_dec)
    assert not torch.equal(short.W_enc, long.W_enc)


def test_moments_are_those_of_numpy() -> None:
    rows = plant(3000, 0)
    rows[:, 3] = 2.5
    moments = measure_moments(rows)
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(0), rtol=1e-6)
    sigma = exact.std(0)
    sigma[3] = 1.0  # a dimension that never moves is left as it is
    np.testing.assert_allclose(moments.sigma, sigma, rtol=1e-6)


def test_geometric_median_is_not_moved_by_outliers() -> None:
    x = torch.randn(2001, 4, generator=torch.Generator().manual_seed(0))
    x[:100] += 1000
    assert geometric_median(x).norm() < 0.3
    assert x.mean(0).norm() > 90


def test_rate_is_the_rule_unless_given() -> None:
    assert FitPlan(2**14, 2, 10).peak_rate == pytest.approx(4.4e-4)
    assert FitPlan(2**12, 2, 10).peak_rate == pytest.approx(8.8e-4)
    assert FitPlan(2**12, 2, 10, learning_rate=1e-3).peak_rate == 1e-3
