"""Controls of evidence: a dictionary that means nothing, and shuffled RNAs.

Knows nothing of findings.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from ribolex.dictionary import Identity, Sae
from ribolex.lm import LanguageModel
from ribolex.rna.shuffle import shuffle
from ribolex.trainer.activations import Progress
from ribolex.trainer.annotation.compiled import compiled
from ribolex.trainer.annotation.endpoint import Endpoint
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.material import Material

N_RANDOM = 1024
"""Features of a random dictionary that others are compared with, at most."""
_A_BATCH = 16_384
"""Nucleotides that the model is given at once."""
_COMPOSITION = 0.8
_MIN_FIRINGS = 50


class Controls(NamedTuple):
    """What a dictionary is held against."""

    random: Sae | None = None
    """Features that mean nothing, on the same activations."""
    random_what: str = ""
    """What it is, for people."""
    lm: LanguageModel | None = None
    """To read shuffled RNAs with; None to do without."""
    identity: Identity | None = None
    """What the dictionary reads of them; None only without a model."""
    n_shuffled: int = 200_000
    """Nucleotides to shuffle, about."""
    llm: Endpoint | None = None
    """Who is asked for labels as well; None for nobody."""
    n_asked: int = 200
    """Features to ask about, at most."""


class Shuffled(NamedTuple):
    """How often features fire in shuffled RNAs."""

    ratio: Float64[np.ndarray, " n_features"]
    """Over how often they do in the same RNAs; NaN where they do not."""
    is_composition_only: np.ndarray
    """[n_features], whether they do about as often, and often enough to tell."""
    n_nucleotides: int


def read_shuffled(
    sae: Sae,
    firings: Firings,
    material: Material,
    controls: Controls,
    progress: Progress,
    seed: int = 0,
) -> Shuffled | None:
    """Returns how often features fire in shuffled RNAs, if there is a model to ask.

    Shuffled RNAs keep first and last letter and the number of every pair of neighbours.
    """
    lm, identity = controls.lm, controls.identity
    if lm is None or identity is None:
        return None
    generator = np.random.default_rng(seed)
    lengths = np.array([len(rna.sequence) for rna in material.rnas])
    order = generator.permutation(len(lengths))
    n_chosen = np.searchsorted(np.cumsum(lengths[order]), controls.n_shuffled) + 1
    chosen = np.sort(order[:n_chosen])
    sequences = [shuffle(material.rnas[i].sequence, generator) for i in chosen]
    counts = np.zeros(sae.n_features, np.int64)
    done, total = 0, int(lengths[chosen].sum())
    for batch in _batches(sequences):
        counts += _count(lm, sae, batch, identity)
        done += sum(map(len, batch))
        progress(done, total)
    is_chosen = np.zeros(len(lengths), bool)
    is_chosen[chosen] = True
    plain = np.zeros(firings.n_features, np.int64)
    _count_chosen(firings.offsets, firings.rows, is_chosen[material.rna_of_row], plain)
    ratio = np.where(plain > 0, counts / np.maximum(plain, 1), np.nan)
    return Shuffled(ratio, (plain >= _MIN_FIRINGS) & (ratio >= _COMPOSITION), total)


def _batches(sequences: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for sequence in sequences:
        batch.append(sequence)
        if sum(map(len, batch)) >= _A_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _count(
    lm: LanguageModel, sae: Sae, sequences: Sequence[str], identity: Identity
) -> Int64[np.ndarray, " n_features"]:
    found = lm.activations(sequences, [identity.layer], identity.hook)
    rows = [each[identity.layer] for each in found]
    if identity.level == "sequence":
        rows = [each.mean(0, keepdims=True) for each in rows]
    top = sae.encode(torch.from_numpy(np.concatenate(rows)))
    fired = top.indices[top.values > 0].numpy()
    out: Int64[np.ndarray, " n_features"]
    out = np.bincount(fired, minlength=sae.n_features)
    return out


@compiled
def _count_chosen(offsets, rows, is_chosen, out):  # type: ignore[no-untyped-def]
    for f in range(len(out)):
        for i in range(offsets[f], offsets[f + 1]):
            out[f] += is_chosen[rows[i]]
