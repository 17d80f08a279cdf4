"""Our encoder against SAELens on dictionaries that we wrote (tests/golden/saelens)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ribolex.dictionary import load_dictionary

GOLDEN = Path(__file__).parents[2] / "golden" / "saelens"
TOLERANCE = 1e-5


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("dictionary", "expected"),
        ("jumprelu", "expected_jumprelu"),
        ("transcoder", "expected_transcoder"),
    ],
)
def test_codes_are_those_of_saelens(folder: str, file: str) -> None:
    x = load_file(GOLDEN / "activations.safetensors")["x"]
    expected = load_file(GOLDEN / f"{file}.safetensors")
    sae = load_dictionary(GOLDEN / folder).sae
    codes = sae.encode(x)
    dense = torch.zeros_like(expected["codes"])
    dense.scatter_(1, codes.indices, codes.values)
    assert torch.equal(dense > 0, expected["codes"] > 0)
    torch.testing.assert_close(dense, expected["codes"], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(
        sae.decode(*codes), expected["rebuilt"], atol=TOLERANCE, rtol=0
    )
