"""What registry tests share: tiny dictionaries, and every kind of registry."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ribolex.dictionary import (
    Codes,
    FeatureTable,
    Identity,
    Panel,
    Sae,
    Standardisation,
    write_dictionary,
)
from ribolex.registry import FolderRegistry, Registry


def stage(path: Path, seed: int, name: str = "demo") -> Path:
    d_in, n_features, k = 4, 8, 2
    w_dec = torch.randn(n_features, d_in, generator=torch.Generator().manual_seed(seed))
    write_dictionary(
        path,
        name=name,
        identity=Identity(
            "tiny", "0" * 64, 2, "normed", "nucleotide", "sae", "topk",
            k, d_in, n_features, Standardisation((0.0,) * 4, (1.0,) * 4),
            "1" * 64, seed, "CC0-1.0",
        ),
        sae=Sae(
            w_dec.T.contiguous(), torch.zeros(n_features), w_dec, torch.zeros(d_in), k
        ),
        features=FeatureTable.blank(n_features),
        panel=Panel(
            ("a",),
            ("A",),
            Codes(
                np.array([0, 1]), np.array([2], np.uint32), np.ones(1, np.float32), 8
            ),
        ),
    )  # fmt: skip
    return path


@pytest.fixture
def folder(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "root")


@pytest.fixture(params=["folder"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """Gives an empty registry of each kind; its artefacts lie in tmp_path/root."""
    found: Registry = request.getfixturevalue(request.param)
    return found
