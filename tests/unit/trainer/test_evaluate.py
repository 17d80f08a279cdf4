"""Measures on held-out rows are what their names say."""

import numpy as np
import pytest
import torch

from ribolex.dictionary import Sae
from ribolex.trainer.evaluate import evaluate, fit_subspace, subspace_fvu


def test_measures_of_a_known_autoencoder() -> None:
    # Features: +x, +y, one that never fires, and one that fires on everything.
    w_enc = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    b_enc = torch.tensor([0.0, 0.0, -1.0, 0.5])
    w_dec = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    sae = Sae(w_enc, b_enc, w_dec, torch.zeros(2), 2)
    rows = np.array([[1, 0], [0, 2], [-1, 0], [0, -2]] * 5, np.float16)
    found = evaluate(sae, rows)
    assert found.fvu == pytest.approx((0 + 0 + 1 + 4) / (1 + 4 + 1 + 4))
    assert found.l0 == pytest.approx(1.5)
    assert found.l0_histogram.tolist() == [0, 10, 10]
    assert found.dead_fraction == 0.25
    assert found.dense_fraction == 0.75
    assert found.n_nucleotides == 20
    assert found.cut_fraction == 0.0


def test_target_and_what_the_limit_cuts() -> None:
    # Both features fire where both numbers are above 1; one is let through.
    eye, one = torch.eye(2), torch.ones(2)
    sae = Sae(eye, torch.zeros(2), eye, torch.zeros(2), 1, threshold=one)
    rows = np.array([[2, 3], [2, 0], [0, 0.5], [3, 2]], np.float16)
    rebuilt = np.array([[0, 3], [2, 0], [0, 0], [3, 0]], np.float16)
    found = evaluate(sae, rows, rebuilt)
    assert found.fvu == 0.0
    assert found.l0 == 0.75
    assert found.cut_fraction == pytest.approx(2 / 5)
    assert evaluate(sae, rows).fvu > 0


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
