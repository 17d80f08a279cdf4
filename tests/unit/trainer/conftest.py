"""A tiny language model that counts its calls, and RNAs of families and types."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ribolex.lm import LanguageModel, load_lm
from ribolex.rna import Rna

DrawRnas = Callable[..., list[Rna]]


@pytest.fixture
def lm(tiny_model: Path) -> LanguageModel:
    return load_lm(tiny_model)


@pytest.fixture
def draw_rnas() -> DrawRnas:
    """Gives a function that draws RNAs: hairpins of 5 pairs, of n families, 2 types."""

    def draw(n_rnas: int, seed: int = 0, n_families: int = 8) -> list[Rna]:
        generator = np.random.default_rng(seed)
        out = []
        for i in range(n_rnas):
            family = i % n_families
            labels = {
                "family_acc": f"RF{family:05d}",
                "family": f"f{family}",
                "type": "Gene;tRNA" if 2 * family < n_families else "Cis-reg;leader",
            }
            letters = "".join(generator.choice(list("ACGU"), 20))
            out.append(Rna(f"rna{i}", letters, "..(((((......)))))..", labels))
        return out

    return draw
