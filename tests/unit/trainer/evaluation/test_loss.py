"""Loss recovered is 1 for a perfect dictionary and 0 for one that gives the mean."""

from dataclasses import replace

import pytest
import torch

from ribolex.dictionary import (
    Codes,
    Dictionary,
    FeatureTable,
    Identity,
    Panel,
    Sae,
    Standardisation,
    Target,
)
from ribolex.dictionary.identity import Kind
from ribolex.lm import LanguageModel, LmConfig, RiNALMo
from ribolex.trainer.evaluation.loss import LossRecovered, measure_loss

D = 16
SEQUENCES = ["ACGUACGUGGCA" * 4, "GGCUA" * 9]


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    torch.manual_seed(1)
    network = RiNALMo(LmConfig.of_width(D, 3, 2))
    network.head.decoder.weight.data *= 10
    return LanguageModel(network, "tiny")


def make(lm: LanguageModel, sae: Sae, layer: int, target: Target | None) -> Dictionary:
    mean = Standardisation((0.1,) * D, (1.0,) * D)
    kind: Kind = "sae" if target is None else "transcoder"
    identity = Identity(
        "tiny", lm.digest, layer, "normed", "nucleotide", kind, "topk", sae.k, D,
        sae.n_features, mean, "1" * 64, 0, "CC0-1.0", target=target,
    )  # fmt: skip
    found = sae.encode(torch.ones(1, D))
    codes = Codes.from_topk(found.indices.numpy(), found.values.numpy(), 2 * D)
    features = FeatureTable.blank(sae.n_features)
    panel = Panel(("x",), ("A",), codes)
    return Dictionary("d", 0, "0" * 64, identity, sae, features, panel)


def perfect() -> Sae:
    """Both signs of every dimension: what is read is given back exactly."""
    both = torch.cat([torch.eye(D), -torch.eye(D)])
    return Sae(both.T.contiguous(), torch.zeros(2 * D), both, torch.zeros(D), D)


@pytest.mark.parametrize("layer", [1, 3])
def test_perfect_reconstruction_loses_nothing(lm: LanguageModel, layer: int) -> None:
    found = measure_loss(make(lm, perfect(), layer, None), lm, SEQUENCES)
    assert found.rebuilt == pytest.approx(found.clean, abs=1e-5)
    assert abs(found.mean - found.clean) > 1e-3
    assert found.zero != found.mean
    assert found.n_letters == pytest.approx(0.15 * 93, abs=8)


def test_dictionary_that_only_knows_the_mean_is_the_mean(lm: LanguageModel) -> None:
    sae = replace(perfect(), W_dec=torch.zeros(2 * D, D), b_dec=torch.full((D,), 0.1))
    found = measure_loss(make(lm, sae, 2, None), lm, SEQUENCES)
    assert found.rebuilt == found.mean


def test_difference_is_added_to_what_is_read(lm: LanguageModel) -> None:
    """A transcoder that always gives no difference hands layer 1 on as layer 2."""
    still = replace(perfect(), W_dec=torch.zeros(2 * D, D))
    standard = Standardisation((0.0,) * D, (1.0,) * D)
    step = make(lm, still, 1, Target(2, True, standard))
    whole = make(lm, perfect(), 1, Target(2, False, standard))
    found = [measure_loss(each, lm, SEQUENCES) for each in (step, whole)]
    assert found[0].rebuilt == pytest.approx(found[1].rebuilt, abs=1e-5)
    assert found[0].rebuilt != pytest.approx(found[0].clean, abs=1e-4)


def test_recovered_is_a_share_of_what_ablation_costs() -> None:
    loss = LossRecovered(clean=1.0, rebuilt=1.1, mean=1.5, zero=2.0, n_letters=9)
    assert loss.recovered == pytest.approx(0.8)
    assert loss.recovered_of_zero == pytest.approx(0.9)
    assert replace(loss, mean=0.9).recovered is None
