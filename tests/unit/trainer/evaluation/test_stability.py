"""A dictionary is found again in itself, and a random one in none."""

import torch

from ribolex.dictionary import Sae
from ribolex.trainer.evaluation.stability import measure_stability


def random_sae(seed: int, n_features: int = 300) -> Sae:
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.randn(n_features, 48, generator=generator)
    return Sae(decoder.T, torch.zeros(n_features), decoder, torch.zeros(48), 4)


def test_itself_in_any_order_and_length_is_found_whole() -> None:
    sae = random_sae(0)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    other = Sae(sae.W_enc, sae.b_enc, 3 * sae.W_dec[order], sae.b_dec, 4)
    found = measure_stability(sae, other, "shuffled")
    assert found.mean_cosine > 0.9999
    assert (found.share_07, found.share_09) == (1.0, 1.0)


def test_half_kept_is_half_found() -> None:
    sae = random_sae(0)
    mixed = torch.cat([sae.W_dec[:150], random_sae(1).W_dec[:150]])
    found = measure_stability(sae, Sae(mixed.T, sae.b_enc, mixed, sae.b_dec, 4), "half")
    assert found.share_09 == 0.5
    assert 0.5 < found.mean_cosine < 0.8
