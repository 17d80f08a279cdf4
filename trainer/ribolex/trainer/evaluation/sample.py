"""RNAs with the activations that a dictionary reads and rebuilds of them.

Knows nothing of what is measured on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from ribolex.dictionary import Identity
from ribolex.lm import LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.activations import Activations, Progress, cache_activations
from ribolex.trainer.corpus import group_of
from ribolex.trainer.rows import DifferenceRows, Rows


@dataclass(frozen=True, slots=True)
class Sample:
    """RNAs and their rows; read-only."""

    rnas: Sequence[Rna]
    read: Activations
    """What a dictionary encodes."""
    rebuilt: Rows
    """What it decodes to: the same rows, but for a transcoder."""


def collect(
    identity: Identity,
    lm: LanguageModel,
    rnas: Sequence[Rna],
    folder: Path,
    progress: Progress,
) -> Sample:
    """Returns the activations of RNAs, computing what is not in the folder yet.

    Args:
        identity: of the dictionary that is to read them; one of whole sequences gets
            a row an RNA.
        lm: the model that they are taken from.
        rnas: of any length.
        folder: where they are cached.
        progress: is told about RNAs.

    Raises:
        InvalidRequestError: a layer that the model does not have.
    """
    target = identity.target
    layers = [identity.layer] if target is None else [identity.layer, target.layer]
    found = cache_activations(
        lm, rnas, layers, identity.hook, folder, progress, identity.level
    )
    read = found[identity.layer]
    if target is None:
        return Sample(rnas, read, read.rows)
    rebuilt: Rows = found[target.layer].rows
    if target.is_difference:
        rebuilt = DifferenceRows(rebuilt, read.rows)
    return Sample(rnas, read, rebuilt)


def draw(sample: Sample, n_nucleotides: int, seed: int = 0) -> Sample:
    """Returns a sample of whole RNAs in memory, about so many nucleotides.

    Args:
        sample: from which RNAs are drawn, each with the same chance.
        n_nucleotides: where to stop.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(sample.rnas))
    lengths = np.diff(sample.read.offsets)[order]
    n_chosen = int(np.searchsorted(np.cumsum(lengths), n_nucleotides)) + 1
    return take(sample, np.sort(order[:n_chosen]).tolist())


def take(sample: Sample, members: Sequence[int]) -> Sample:
    """Returns some of the RNAs with their rows, in memory."""
    parts = [sample.read.of_rna(i) for i in members]
    lengths = [part.stop - part.start for part in parts]
    read = Activations(
        np.concatenate([sample.read.rows[part] for part in parts]),
        np.repeat(np.arange(len(members), dtype=np.int32), lengths),
        np.concatenate([sample.read.positions[part] for part in parts]),
        np.cumsum([0, *lengths]),
    )
    rebuilt: Rows = read.rows
    if sample.rebuilt is not sample.read.rows:
        rebuilt = np.concatenate([sample.rebuilt[part] for part in parts])
    return Sample([sample.rnas[i] for i in members], read, rebuilt)


def means(
    rows: Rows, offsets: Int64[np.ndarray, " boundary"]
) -> Float32[np.ndarray, "rna d_in"]:
    """Returns the mean row of every RNA; zeros where it has none."""
    out = np.zeros((len(offsets) - 1, rows.shape[1]), np.float32)
    for i, (start, stop) in enumerate(pairwise(offsets.tolist())):
        if stop > start:
            out[i] = rows[start:stop].astype(np.float32).mean(0)
    return out


def kin_of(rna: Rna) -> str:
    """Returns what an RNA shares with its relatives: clan, else family, else name."""
    return group_of(rna.name, rna.metadata)
