"""Weights that SAELens, sparsify and dictionary_learning wrote, with what they give."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ribolex.trainer.interchange import Reading, Source, compare, read_source

GOLDEN = Path(__file__).parents[2] / "golden"
TOLERANCE = 1e-5
SAELENS, SPARSIFY, OTHERS = (
    GOLDEN / "saelens",
    GOLDEN / "sparsify",
    GOLDEN / "dictionary_learning",
)
SAVED = [
    "standard",
    "topk",
    "jumprelu",
    "gated",
    "transcoder",
    "jumprelu_transcoder",
]
CLASSES = [
    "AutoEncoder",
    "AutoEncoderNew",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
    "MatryoshkaBatchTopKSAE",
]


def check(source: Source, home: Path, expected_file: Path) -> None:
    """Holds both what is folded and what is not against the tool's own output."""
    x = load_file(home / "activations.safetensors")["x"]
    expected = load_file(expected_file)
    codes = source.sae.encode(x)
    dense = torch.zeros_like(expected["codes"])
    dense.scatter_(1, codes.indices, codes.values)
    assert 0 < int((dense > 0).sum()) < dense.numel()
    torch.testing.assert_close(dense, expected["codes"], atol=TOLERANCE, rtol=TOLERANCE)
    rebuilt = source.sae.decode(*codes)
    torch.testing.assert_close(
        rebuilt, expected["rebuilt"], atol=TOLERANCE, rtol=TOLERANCE
    )
    literal = source.forward(x.double())
    torch.testing.assert_close(
        literal.codes.float(), expected["codes"], atol=TOLERANCE, rtol=TOLERANCE
    )
    torch.testing.assert_close(
        literal.rebuilt.float(), expected["rebuilt"], atol=TOLERANCE, rtol=TOLERANCE
    )
    assert compare(source, x).is_exact


@pytest.mark.parametrize("name", SAVED)
def test_what_saelens_saved(name: str) -> None:
    folder = SAELENS / "saved" / name
    source = read_source(folder, None, Reading())
    assert source.tool == f"SAELens {name}"
    assert source.is_transcoder == ("transcoder" in name)
    check(source, SAELENS, folder / "expected.safetensors")


@pytest.mark.parametrize("name", ["layers.3", "transcoder"])
def test_what_sparsify_saved(name: str) -> None:
    source = read_source(SPARSIFY / name, None, Reading())
    assert source.is_transcoder == (name == "transcoder")
    check(source, SPARSIFY, SPARSIFY / f"{name}.expected.safetensors")


@pytest.mark.parametrize("name", CLASSES)
def test_what_dictionary_learning_saved(name: str) -> None:
    source = read_source(OTHERS / name, None, Reading())
    check(source, OTHERS, OTHERS / name / "expected.safetensors")
