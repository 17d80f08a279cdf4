"""Our encoder against SAELens on a dictionary that we wrote (tests/golden/saelens)."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from ribolex.dictionary import load_dictionary

GOLDEN = Path(__file__).parents[2] / "golden" / "saelens"
TOLERANCE = 1e-5


def test_codes_are_those_of_saelens() -> None:
    x = load_file(GOLDEN / "activations.safetensors")["x"]
    expected = load_file(GOLDEN / "expected.safetensors")
    sae = load_dictionary(GOLDEN / "dictionary").sae
    codes = sae.encode(x)
    dense = torch.zeros_like(expected["codes"])
    dense.scatter_(1, codes.indices, codes.values)
    assert torch.equal(dense > 0, expected["codes"] > 0)
    torch.testing.assert_close(dense, expected["codes"], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(
        sae.decode(*codes), expected["rebuilt"], atol=TOLERANCE, rtol=0
    )
