"""A small whole dictionary to write, open and break."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ribolex.dictionary import (
    Codes,
    Evidence,
    EvidenceTable,
    Example,
    FeatureTable,
    Identity,
    Panel,
    Sae,
    Standardisation,
    write_dictionary,
)
from ribolex.dictionary.features import examples_json

Write = Callable[..., Path]


def make_parts(seed: int = 0) -> dict[str, object]:
    d_in, n_features, k = 6, 20, 3
    generator = torch.Generator().manual_seed(seed)
    w_dec = torch.randn(n_features, d_in, generator=generator)
    sae = Sae(
        w_dec.T.contiguous(), torch.zeros(n_features), w_dec, torch.zeros(d_in), k
    )
    codes = sae.encode(torch.randn(9, d_in, generator=generator))
    panel = Panel(
        ("one", "two"),
        ("ACGU", "GGGCC"),
        Codes.from_topk(codes.indices.numpy(), codes.values.numpy(), n_features),
    )
    column = np.linspace(0, 1, n_features, dtype=np.float32)
    evidence = Evidence("type:tRNA", "enrichment", 3.0, 0.01, 1.0, 25, 4)
    example = Example("one", 2.5, (0, 3), "ACGU", {"family": "tRNA"})
    features = FeatureTable(
        column, column, column, column,
        ("fires on G",) * n_features,
        EvidenceTable.of([[evidence]] * n_features),
        (examples_json([example]),) * n_features,
        np.arange(n_features, dtype=np.int32) - 1, column,
    )  # fmt: skip
    identity = Identity(
        "tiny", "0" * 64, 2, "normed", "nucleotide", "sae", "topk", k, d_in, n_features,
        Standardisation((0.5,) * d_in, (1.0,) * d_in), "1" * 64, seed, "CC0-1.0",
        {"fvu": 0.25, "l0": 3},
    )  # fmt: skip
    return {"identity": identity, "sae": sae, "features": features, "panel": panel}


@pytest.fixture
def parts() -> dict[str, object]:
    """Gives what `write_dictionary` takes, of a small dictionary."""
    return make_parts()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Gives a function that writes a dictionary of some content below tmp_path."""

    def write_one(folder: str = "staged", name: str = "demo", seed: int = 0) -> Path:
        path = tmp_path / folder
        write_dictionary(path, name=name, **make_parts(seed))  # type: ignore[arg-type]
        return path

    return write_one
