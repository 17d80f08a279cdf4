"""Features are found again under other numbers, and not where they are not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.dictionary import Codes, Sae
from ribolex.trainer.lineage import Lineage, match_features
from ribolex.trainer.matching import nearest_directions

WIDTH, N_FEATURES = 48, 200


def make_sae(seed: int, n_features: int = N_FEATURES, width: int = WIDTH) -> Sae:
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.randn(n_features, width, generator=generator)
    decoder /= decoder.norm(dim=1, keepdim=True)
    bias = torch.zeros(n_features)
    bias[:: n_features // 10] = -100.0  # some never fire
    return Sae(decoder.T.contiguous(), bias, decoder, torch.zeros(width), 6)


def reorder(sae: Sae, order: torch.Tensor, noise: float = 0.0) -> Sae:
    generator = torch.Generator().manual_seed(99)
    decoder = sae.W_dec[order]
    off = torch.randn(decoder.shape, generator=generator) / decoder.shape[1] ** 0.5
    decoder = decoder + noise * off
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    return Sae(decoder.T.contiguous(), sae.b_enc[order], decoder, sae.b_dec, sae.k)


def lineage(new: Sae, old: Sae, with_directions: bool = True) -> Lineage:
    x = torch.randn(3000, len(new.W_enc), generator=torch.Generator().manual_seed(5))
    codes = []
    for sae in (new, old):
        found = sae.encode(x)
        indices, values = found.indices.numpy(), found.values.numpy()
        codes.append(Codes.from_topk(indices, values, sae.n_features))
    near = nearest_directions(new.W_dec, old.W_dec, 8) if with_directions else None
    return match_features(codes[0], codes[1], near)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_permuted_dictionary_maps_back_exactly(seed: int) -> None:
    old = make_sae(seed % 97)
    order = torch.randperm(N_FEATURES, generator=torch.Generator().manual_seed(seed))
    found = lineage(reorder(old, order), old)
    np.testing.assert_array_equal(found.ancestor, order.numpy())
    np.testing.assert_allclose(found.confidence, 1, atol=1e-3)


def test_firings_alone_map_back_what_fires() -> None:
    old = make_sae(0)
    order = torch.randperm(N_FEATURES, generator=torch.Generator().manual_seed(1))
    found = lineage(reorder(old, order), old, with_directions=False)
    fires = old.b_enc[order].numpy() == 0
    np.testing.assert_array_equal(found.ancestor[fires], order.numpy()[fires])
    assert (found.ancestor[~fires] == -1).all()
    assert (found.confidence[~fires] == 0).all()


def test_noise_lowers_confidence() -> None:
    old, order = make_sae(0), torch.arange(N_FEATURES)
    means = []
    for noise in (0.0, 0.3, 0.6):
        found = lineage(reorder(old, order, noise), old)
        kept = found.ancestor >= 0
        assert (found.ancestor[kept] == np.flatnonzero(kept)).mean() > 0.95
        means.append(float(found.confidence.mean()))
    assert means[0] > means[1] + 0.05 > means[2] + 0.1


def test_unrelated_dictionary_has_almost_no_ancestors() -> None:
    found = lineage(make_sae(1), make_sae(0))
    assert found.share < 0.05


@pytest.mark.parametrize("n_features", [100, 300])
def test_another_number_of_features_keeps_what_both_have(n_features: int) -> None:
    old, big = make_sae(0), make_sae(0, 300)
    decoder = torch.cat([old.W_dec, big.W_dec[200:]])[:n_features]
    bias = torch.cat([old.b_enc, big.b_enc[200:]])[:n_features]
    new = Sae(decoder.T.contiguous(), bias, decoder, old.b_dec, 6)
    found = lineage(new, old)
    shared = min(n_features, N_FEATURES)
    assert (found.ancestor[:shared] == np.arange(shared)).mean() > 0.9
    taken = found.ancestor[found.ancestor >= 0]
    assert len(set(taken.tolist())) == len(taken)
