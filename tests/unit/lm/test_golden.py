"""Our RiNALMo against the reference code's outputs (tests/golden/rinalmo)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ribolex.lm import LanguageModel, load_lm, load_network
from ribolex.rna import tokenise
from ribolex.rna.alphabet import PAD

GOLDEN = Path(__file__).parents[2] / "golden" / "rinalmo"
EXPECTED = load_file(GOLDEN / "expected.safetensors")
FACTS = json.loads((GOLDEN / "golden.json").read_text())
LAYOUTS = ["rinalmo_official_layout.pt", "multimolecule_layout"]
TOLERANCE = 1e-5
# The third golden sequence holds letters that only the reference tokeniser takes.
READABLE = [0, 1, 3]


@pytest.fixture(scope="module", params=LAYOUTS)
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return load_lm(GOLDEN / request.param)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", ["plain", "masked"])
def test_every_golden_tensor_is_reproduced(layout: str, case: str) -> None:
    network = load_network(GOLDEN / layout).eval()
    tokens = EXPECTED[f"{case}.tokens"].long()
    is_token = tokens != PAD
    with torch.inference_mode():
        raws = list(network.raw_outputs(tokens, is_token))
        representation = network.normed(len(raws), raws[-1])
        got = {f"block{i}": raw for i, raw in enumerate(raws)}
        got |= {
            "representation": representation,
            "logits": network.head(representation),
        }
    for name, tensor in got.items():
        difference = (tensor - EXPECTED[f"{case}.{name}"])[is_token].abs().max()
        assert difference <= TOLERANCE, name


def test_tokens_are_the_reference_tokens() -> None:
    for row, sequence in enumerate(FACTS["sequences"]):
        tokens = tokenise(sequence.upper())
        expected = EXPECTED["plain.tokens"][row, : len(tokens)].numpy()
        np.testing.assert_array_equal(tokens, expected)


def test_activations_and_logits_match_the_reference(lm: LanguageModel) -> None:
    sequences = [FACTS["sequences"][i] for i in READABLE]
    raw = lm.activations(sequences, layers=[1, 2, 3], hook="raw")
    normed = lm.activations(sequences, layers=[3])
    logits = lm.logits(sequences)
    for place, row in enumerate(READABLE):
        kept = slice(1, 1 + len(sequences[place]))
        for layer in (1, 2, 3):
            expected = EXPECTED[f"plain.block{layer - 1}"][row, kept]
            np.testing.assert_allclose(raw[place][layer], expected, atol=TOLERANCE)
        expected = EXPECTED["plain.representation"][row, kept]
        np.testing.assert_allclose(normed[place][3], expected, atol=TOLERANCE)
        expected = EXPECTED["plain.logits"][row, kept]
        np.testing.assert_allclose(logits[place], expected, atol=TOLERANCE)


def test_masked_logits_match_the_reference(lm: LanguageModel) -> None:
    masked = [
        [token - 1 for row, token in FACTS["masked_positions"] if row == wanted]
        for wanted in (0, 1)
    ]
    logits = lm.logits(FACTS["sequences"][:2], masked)
    for row in (0, 1):
        expected = EXPECTED["masked.logits"][row, 1 : 1 + len(logits[row])]
        np.testing.assert_allclose(logits[row], expected, atol=TOLERANCE)
