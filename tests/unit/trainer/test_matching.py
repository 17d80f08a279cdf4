"""Features are paired as the exact assignment pairs them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from ribolex.trainer.matching import keep_largest, match, nearest_directions


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
def test_matching_is_as_good_as_the_dense_hungarian(seed: int, n: int, m: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.random((n, m)) * (random.random((n, m)) < 0.6)
    least = 0.3
    found = match(sparse.csr_array(scores), least)
    partners = found[found >= 0]
    assert len(set(partners.tolist())) == len(partners)
    rows = np.flatnonzero(found >= 0)
    assert (scores[rows, partners] > least).all()
    gains = np.maximum(scores - least, 0)
    best = gains[linear_sum_assignment(gains, maximize=True)].sum()
    assert gains[rows, partners].sum() == pytest.approx(best)


def test_nothing_in_common_makes_no_pair() -> None:
    assert match(sparse.csr_array((3, 2)), 0.1).tolist() == [-1, -1, -1]


def test_nearest_directions_are_those_of_all_cosines() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 8, generator=generator) for n in (30, 20))
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2).numpy()
    found = nearest_directions(a, b, 3).toarray()
    kept = found > 0
    np.testing.assert_allclose(found[kept], cosines[kept], atol=1e-6)
    best = np.sort(np.maximum(cosines, 0), axis=1)[:, -3:]
    np.testing.assert_allclose(np.sort(found, axis=1)[:, -3:], best, atol=1e-6)


def test_largest_of_every_row_are_kept() -> None:
    scores = sparse.csr_array(np.array([[1, 3, 2], [0, 0, 5], [0, 0, 0.0]]))
    assert keep_largest(scores, 2).toarray().tolist() == [
        [0, 3, 2],
        [0, 0, 5],
        [0, 0, 0],
    ]
