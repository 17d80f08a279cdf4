"""Measures on held-out rows are what their names say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ribolex.dictionary import Moments, Sae
from ribolex.trainer.evaluation.reconstruction import (
    fit_subspace,
    measure_reconstruction,
    neurons_fvu,
    subspace_fvu,
)


def test_measures_of_a_known_autoencoder() -> None:
    # Features: +x, +y, one that never fires, and one that fires on everything.
    w_enc = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    b_enc = torch.tensor([0.0, 0.0, -1.0, 0.5])
    w_dec = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    sae = Sae(w_enc, b_enc, w_dec, torch.zeros(2), 2)
    rows = np.array([[1, 0], [0, 2], [-1, 0], [0, -2]] * 5, np.float16)
    found = measure_reconstruction(sae, rows)
    assert found.fvu == pytest.approx((0 + 0 + 1 + 4) / (1 + 4 + 1 + 4))
    assert found.l0 == pytest.approx(1.5)
    assert found.l0_histogram == (0, 10, 10)
    assert found.dead_fraction == 0.25
    assert found.dense_fraction == 0.75
    assert found.n_nucleotides == 20


def test_components_explain_what_eigenvalues_say() -> None:
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(4000, 5)) * [5, 3, 1, 0.5, 0.1] + 7).astype(
        np.float16
    )
    subspace = fit_subspace(rows, 2)
    eigenvalues = np.linalg.eigvalsh(np.cov(rows.astype(np.float64).T))
    expected = eigenvalues[:3].sum() / eigenvalues.sum()
    assert subspace_fvu(subspace, rows) == pytest.approx(expected, rel=1e-3)
    product = subspace.directions @ subspace.directions.T
    torch.testing.assert_close(product, torch.eye(2))


def test_cap_cut_is_the_share_with_more_above_threshold_than_may_fire() -> None:
    eye = torch.eye(3)
    thresholds = torch.full((3,), 0.5)
    sae = Sae(eye, torch.zeros(3), eye, torch.zeros(3), 2, thresholds)
    rows = np.array([[1, 1, 1], [1, 1, 0.4], [0, 0, 1], [2, 0.3, 2]], np.float16)
    found = measure_reconstruction(sae, rows)
    assert found.cap_cut == 0.25
    assert found.l0_histogram == (0, 1, 3)
    assert measure_reconstruction(replace(sae, threshold=None), rows).cap_cut is None


def test_transcoder_is_measured_against_what_it_is_to_give() -> None:
    eye = torch.eye(2)
    sae = Sae(eye, torch.zeros(2), 2 * eye, torch.ones(2), 2)
    rows = np.random.default_rng(0).uniform(1, 2, (50, 2)).astype(np.float16)
    found = measure_reconstruction(sae, rows, 2 * rows + np.float16(1))
    assert found.fvu < 1e-4
    assert measure_reconstruction(sae, rows).fvu > 1


def test_neurons_keep_what_is_furthest_from_the_mean() -> None:
    moments = Moments(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 10.0]))
    rows = np.array([[3, 10], [-1, -10]], np.float16)  # 2 and 1 deviations away
    assert neurons_fvu(moments, 1, rows) == pytest.approx(200 / 208, rel=1e-3)
    assert neurons_fvu(moments, 2, rows) == 0
