"""Steering: what is added to activations, and that nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.dictionary import Dictionary, FeatureTable, Identity, Panel, Sae
from ribolex.dictionary.codes import Codes
from ribolex.dictionary.identity import Standardisation
from ribolex.dictionary.steering import (
    Action,
    Intervention,
    check_interventions,
    directions_of,
    random_directions,
    steered,
    steering,
    values_of,
)
from ribolex.errors import FeatureNotFoundError, InvalidRequestError
from ribolex.lm import Hook, LanguageModel, LmConfig, Replacement, RiNALMo

WIDTH, D, K = 48, 32, 5
RNAS = ["GGGAAACCCUAG", "ACGU", "GCGGAUUUAGCUCAGUUGGGAGAGC"]


def random_lm() -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(RiNALMo(LmConfig.of_width(D, 3, 4)), "random")


LM = random_lm()


def random_dictionary(layer: int, hook: Hook) -> Dictionary:
    generator = torch.Generator().manual_seed(layer)
    decoder = torch.randn(WIDTH, D, generator=generator)
    sae = Sae(
        torch.randn(D, WIDTH, generator=generator),
        torch.zeros(WIDTH),
        decoder,
        torch.randn(D, generator=generator),
        K,
    )
    identity = Identity(
        "random", LM.digest, layer, hook, "nucleotide", "sae", "topk", K, D, WIDTH,
        Standardisation((0.0,) * D, (1.0,) * D), "1" * 64, 0, "CC0-1.0",
    )  # fmt: skip
    empty = Codes(
        np.zeros(1, np.int64), np.empty(0, np.uint32), np.empty(0, np.float32), 1
    )
    panel = Panel((), (), empty)
    features = FeatureTable.blank(WIDTH)
    return Dictionary("d", 1, "0" * 64, identity, sae, features, panel)


def strongest(dictionary: Dictionary, sequence: str) -> int:
    """Gives the feature that fires most in a sequence."""
    layer, hook = dictionary.identity.layer, dictionary.identity.hook
    x = torch.from_numpy(LM.activations([sequence], [layer], hook)[0][layer])
    return int(values_of(dictionary.sae, x, range(WIDTH)).sum(1).argmax())


hooks: list[Hook] = ["normed", "raw"]


@pytest.mark.parametrize("hook", hooks)
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_a_scale_of_one_changes_nothing(layer: int, hook: Hook) -> None:
    dictionary = random_dictionary(layer, hook)
    same = [Intervention(feature, "scale", 1.0) for feature in range(WIDTH)]
    expected = LM.logits(RNAS)
    got = LM.logits(RNAS, replacement=steering(dictionary, same))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("hook", hooks)
@pytest.mark.parametrize("layer", [1, 3])
def test_ablating_takes_value_times_decoder_row_away(layer: int, hook: Hook) -> None:
    dictionary, sae = random_dictionary(layer, hook), random_dictionary(layer, hook).sae
    feature = strongest(dictionary, RNAS[0])

    def by_hand(x: torch.Tensor) -> torch.Tensor:
        scores = (x @ sae.W_enc + sae.b_enc).relu()
        fires = scores >= scores.topk(K, dim=1).values[:, -1:]
        value = torch.where(fires, scores, 0.0)[:, feature]
        return x - value[:, None] * sae.W_dec[feature]

    expected = LM.logits(RNAS, replacement=Replacement(layer, layer, hook, by_hand))
    ablated = steering(dictionary, [Intervention(feature, "scale", 0.0)])
    got = LM.logits(RNAS, replacement=ablated)
    plain = LM.logits(RNAS)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(got[0] - plain[0]).max() > 1e-3


actions = st.sampled_from(["scale", "clamp"])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, WIDTH - 1), actions, st.floats(0, 20)),
        max_size=4,
        unique_by=lambda one: one[0],
    ),
    st.sets(st.integers(0, 11)),
)
def test_what_is_added_is_the_change_of_value_times_the_row(
    chosen: list[tuple[int, Action, float]], positions: set[int]
) -> None:
    sae = random_dictionary(2, "normed").sae
    x = torch.randn(12, D, generator=torch.Generator().manual_seed(3))
    own = tuple(sorted(positions))
    interventions = [Intervention(*one, own) for one in chosen]
    features = [one.feature for one in interventions]
    values = values_of(sae, x, features)
    directions = directions_of(sae, interventions)
    got = steered(x, values, interventions, directions, np.arange(12)) - x
    expected = torch.zeros(12, D)
    for i in own or range(12):
        top = dict(zip(*(t[0].tolist() for t in sae.encode(x[i : i + 1])), strict=True))
        for one in interventions:
            before = top.get(one.feature, 0.0)
            after = before * one.amount if one.action == "scale" else one.amount
            expected[i] += (after - before) * sae.W_dec[one.feature]
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-3)


def test_controls_are_other_directions_of_the_same_length() -> None:
    sae = random_dictionary(2, "normed").sae
    rows = directions_of(
        sae, [Intervention(7, "scale", 0.0), Intervention(9, "scale", 0.0)]
    )
    torch.testing.assert_close(rows, sae.W_dec[[7, 9]])
    one, other = random_directions(rows, (0, 0)), random_directions(rows, (0, 1))
    torch.testing.assert_close(one.norm(dim=1), rows.norm(dim=1))
    assert not torch.allclose(one, other)
    torch.testing.assert_close(one, random_directions(rows, (0, 0)))
    cosine = torch.cosine_similarity(one, rows)
    assert (cosine.abs() < 0.7).all()


@pytest.mark.parametrize(
    ("interventions", "field"),
    [
        ([Intervention(1, "scale", float("nan"))], "interventions[0].scale"),
        ([Intervention(1, "clamp", -1.0)], "interventions[0].clamp"),
        ([Intervention(1, "clamp", float("inf"))], "interventions[0].clamp"),
        ([Intervention(1, "scale", 0.0, (10,))], "interventions[0].positions"),
        ([Intervention(1, "scale", 0.0, (-1,))], "interventions[0].positions"),
        (
            [Intervention(1, "scale", 0.0), Intervention(1, "clamp", 1.0)],
            "interventions",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(
    interventions: list[Intervention], field: str
) -> None:
    dictionary = random_dictionary(1, "normed")
    with pytest.raises(InvalidRequestError) as caught:
        check_interventions(interventions, dictionary, 10)
    assert caught.value.field == field
    absent = [replace(interventions[0], feature=WIDTH)]
    with pytest.raises(FeatureNotFoundError, match=f"no feature {WIDTH}"):
        check_interventions(absent, dictionary, 10)
