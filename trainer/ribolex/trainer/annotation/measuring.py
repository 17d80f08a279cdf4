"""All that is counted of the features of an autoencoder on some RNAs.

Knows nothing of tests or of what is done with the counts.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from ribolex.dictionary import Sae
from ribolex.rna import Rna
from ribolex.trainer.activations import Activations, Progress
from ribolex.trainer.annotation.firings import Firings, collect_firings
from ribolex.trainer.annotation.labels import (
    Labels,
    Pairing,
    label_nucleotides,
    label_rnas,
)
from ribolex.trainer.annotation.lengths import ByLength
from ribolex.trainer.annotation.material import Material, arrange
from ribolex.trainer.annotation.ranking import Ranking, rank
from ribolex.trainer.annotation.significance import Measured, members, presence
from ribolex.trainer.annotation.walk import walk


class Labelled(NamedTuple):
    """RNAs with their rows and labels, to describe any number of autoencoders on."""

    material: Material
    activations: Activations
    labels: Labels
    """Of rows."""
    pairing: Pairing
    of_rnas: Labels


class Steps(NamedTuple):
    """Who is told of each step."""

    encode: Progress
    walk: Progress
    rank: Progress


def label(rnas: Sequence[Rna], activations: Activations) -> Labelled:
    """Returns RNAs with all their labels.

    Raises:
        InvalidRequestError: an RNA's structure is none.
    """
    material = arrange(rnas, activations)
    labels, pairing = label_nucleotides(material)
    return Labelled(material, activations, labels, pairing, label_rnas(material))


def measure(
    sae: Sae, on: Labelled, steps: Steps, n_kept: int | None = None
) -> Measured:
    """Returns what features come to on labelled RNAs.

    Args:
        sae: as exported: standardisation folded in.
        on: the RNAs, and what the autoencoder reads of them.
        steps: who is told.
        n_kept: keep the first so many features only; all by default.

    Raises:
        OSError: the temporary folder is full.
    """
    firings = collect_firings(sae, on.material, on.activations, steps.encode, n_kept)
    return weigh(firings, on, steps)


def weigh(firings: Firings, on: Labelled, steps: Steps) -> Measured:
    """Returns what features come to that fire so."""
    found = walk(firings, on.labels, on.pairing, on.material, steps.walk)
    ranked = rank(firings, on.labels, steps.rank)
    rnas = rank_rnas(found.peaks, on.of_rnas, on.material)
    return Measured(firings, ranked, rnas.ranked, found, rnas.by_length)


class RankedRnas(NamedTuple):
    """What features come to in whole RNAs."""

    ranked: Ranking
    """By the largest value in each; expected is what their lengths give."""
    by_length: ByLength


def rank_rnas(peaks: Firings, labels: Labels, material: Material) -> RankedRnas:
    """Returns what features come to whose largest values in RNAs these are."""
    lengths = material.lengths
    by_length = ByLength.of(presence(peaks, len(lengths)), lengths)
    ranked = rank(peaks, labels, silent)
    expected = by_length.expected(members(labels))
    return RankedRnas(replace(ranked, expected=expected), by_length)


def select(firings: Firings, features: Int64[np.ndarray, " chosen"]) -> Firings:
    """Returns the firings of some features, in their order, as features from 0."""
    parts = [slice(*firings.offsets[[f, f + 1]].tolist()) for f in features]
    lengths = [part.stop - part.start for part in parts]
    nothing = [firings.rows[:0]], [firings.values[:0]]
    return Firings(
        np.cumsum([0, *lengths]).astype(np.int64),
        np.concatenate([firings.rows[part] for part in parts] or nothing[0]),
        np.concatenate([firings.values[part] for part in parts] or nothing[1]),
    )


def silent(_done: int, _total: int) -> None:
    """Tells nobody."""
