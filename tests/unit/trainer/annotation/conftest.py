"""RNAs with firings drawn by chance, small enough to be counted by hand."""

from typing import NamedTuple

import numpy as np
import pytest

from ribolex.rna import Rna
from ribolex.trainer.activations import Activations
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.labels import Labels, Pairing, label_nucleotides
from ribolex.trainer.annotation.material import Material, arrange

STRUCTURES = (
    "..((((...))))..",
    "((.(((....)))..))....",
    "((..(((...))).(((....)))..)).(...)",
    "",
    ".....",
)


class Drawn(NamedTuple):
    material: Material
    labels: Labels
    pairing: Pairing
    firings: Firings


def no_note(_done: int, _total: int) -> None:
    pass


def rows_of(rnas: list[Rna]) -> Activations:
    """Gives rows of nothing for all nucleotides but every N."""
    kept = [
        [i for i, letter in enumerate(rna.sequence) if letter in "ACGU"] for rna in rnas
    ]
    lengths = [len(each) for each in kept]
    return Activations(
        np.zeros((sum(lengths), 1), np.float16),
        np.repeat(np.arange(len(rnas), dtype=np.int32), lengths),
        np.array([i for each in kept for i in each], np.int32),
        np.cumsum([0, *lengths]),
    )


def draw_rnas(seed: int, n_rnas: int = 60) -> list[Rna]:
    generator = np.random.default_rng(seed)
    out = []
    for i in range(n_rnas):
        structure = STRUCTURES[i % len(STRUCTURES)]
        n = len(structure) or 12
        letters = "".join(generator.choice(list("ACGUN"), n, p=[0.24] * 4 + [0.04]))
        family = int(generator.integers(9))
        metadata = {
            "family_acc": f"RF{family:05d}",
            "type": ("Gene;tRNA", "Gene;rRNA;LSU", "Cis-reg")[family % 3],
            **({"clan": f"CL{family // 2}"} if family < 6 else {}),
        }
        out.append(Rna(f"r{i}", letters, structure or None, metadata))
    return out


@pytest.fixture(scope="module", params=[0, 1])
def drawn(request: pytest.FixtureRequest) -> Drawn:
    """Gives RNAs with the firings of five features, one of them silent."""
    rnas = draw_rnas(request.param)
    material = arrange(rnas, rows_of(rnas))
    labels, pairing = label_nucleotides(material)
    generator = np.random.default_rng(request.param)
    rows, values, counts = [], [], []
    for share in (0.02, 0.1, 0.0, 0.6, 0.95):
        own = np.flatnonzero(generator.random(material.n_rows) < share)
        rows.append(own.astype(np.int32))
        # Few different values: ties.
        values.append(generator.integers(1, 6, len(own)).astype(np.float32))
        counts.append(len(own))
    firings = Firings(
        np.cumsum([0, *counts]).astype(np.int64),
        np.concatenate(rows),
        np.concatenate(values),
    )
    return Drawn(material, labels, pairing, firings)
