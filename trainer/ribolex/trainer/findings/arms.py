"""What is held against labels: a dictionary, and what it must beat.

Knows nothing of labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from ribolex.dictionary import Dictionary, Sae
from ribolex.lm import LanguageModel
from ribolex.rna import Rna
from ribolex.rna.shuffle import shuffle
from ribolex.trainer.activations import Activations, Progress
from ribolex.trainer.annotation import Note
from ribolex.trainer.annotation.firings import Firings, collect_firings
from ribolex.trainer.annotation.flips import flip
from ribolex.trainer.annotation.material import Material
from ribolex.trainer.evaluation.controls import ControlFits, Samples
from ribolex.trainer.evaluation.sample import Sample, collect
from ribolex.trainer.pretraining.evaluation import random_twin

_ROWS_AT_ONCE = 65_536


Fires = Callable[[Material, Activations, Progress], Firings]
"""Gives where features fire."""


class Arm(NamedTuple):
    """Features, and the RNAs that they are looked at on."""

    name: str
    what: str
    fires: Fires
    described: Sample
    held_out: Sample | None
    """RNAs of other families; None where none were given."""


class Both(NamedTuple):
    """RNAs to describe features on, and others to score them on."""

    described: Sequence[Rna]
    held_out: Sequence[Rna]

    def shuffled(self, seed: int) -> "Both":
        """Returns the RNAs with shuffled letters; structure and labels stay."""
        generator = np.random.default_rng(seed)
        parts = [
            [replace(rna, sequence=shuffle(rna.sequence, generator)) for rna in rnas]
            for rnas in self
        ]
        return Both(*parts)


class Arms(NamedTuple):
    """Makes the arms of dictionaries, one after the other."""

    lm: LanguageModel
    twin: LanguageModel | None
    """Of the same shape, never trained; None to do without."""
    rnas: Both
    shuffled: Both
    control_rows: int
    """Rows that each fit of a control sees; 0 for no such controls."""
    folder: Path
    device: str
    note: Note

    @classmethod
    def of(
        cls,
        lm: LanguageModel,
        rnas: Both,
        control_rows: int,
        folder: Path,
        device: str,
        note: Note,
        seed: int,
    ) -> "Arms":
        """Returns what makes arms of a model's dictionaries on some RNAs."""
        twin = random_twin(lm, device=device) if control_rows else None
        shuffled = rnas.shuffled(seed)
        return cls(lm, twin, rnas, shuffled, control_rows, folder, device, note)

    def make(self, dictionary: Dictionary) -> Iterator[Arm]:
        """Yields the dictionary, then what it is held against."""
        described, held_out = self._collect(dictionary, self.lm, self.rnas)
        k = dictionary.sae.k
        own = (described, held_out)
        yield Arm("dictionary", "its features", of_sae(dictionary.sae), *own)
        dense = neurons(described)
        width = dense.n_features // 2
        what = "each dimension above its mean, and below it, as two features"
        yield Arm("neurons", what, of_sae(dense), *own)
        yield Arm(
            "strongest neurons",
            f"of those the {min(k, width)} strongest of a row, in deviations",
            of_sae(replace(dense, k=min(k, width))),
            *own,
        )
        if self.control_rows:
            yield from self._fitted(dictionary, described, held_out)
        yield Arm(
            "shuffled RNAs",
            "the dictionary on letters shuffled with their neighbours, labels as of "
            "the true RNA",
            of_sae(dictionary.sae),
            *self._collect(dictionary, self.lm, self.shuffled),
        )
        yield Arm(
            "coin flips",
            "as many features that fire on any nucleotide by chance, as often",
            of_coins(dictionary.features.density),
            *own,
        )

    def _fitted(
        self, dictionary: Dictionary, described: Sample, held_out: Sample | None
    ) -> Iterator[Arm]:
        samples = Samples(described, described, held_out or described, "")
        fits = ControlFits(
            dictionary,
            described,
            samples,
            self.folder,
            self.control_rows,
            device=self.device,
        )
        random = fits.random_decoder(partial(self.note, "random fit"))
        yield Arm(random.name, random.what, of_sae(random.sae), described, held_out)
        if self.twin is None:
            return
        untrained = fits.random_model(self.twin, partial(self.note, "untrained fit"))
        own = self._collect(dictionary, self.twin, self.rnas)
        yield Arm(untrained.name, untrained.what, of_sae(untrained.sae), *own)

    def _collect(
        self, dictionary: Dictionary, lm: LanguageModel, rnas: Both
    ) -> tuple[Sample, Sample | None]:
        parts = [
            collect(
                dictionary.identity,
                lm,
                each,
                self.folder,
                partial(self.note, "activations"),
            )
            for each in rnas
            if each
        ]
        return parts[0], parts[1] if len(parts) > 1 else None


def of_sae(sae: Sae) -> Fires:
    """Returns where the features of an autoencoder fire."""
    return partial(collect_firings, sae)


def of_coins(density: Float32[np.ndarray, " n_features"]) -> Fires:
    """Returns where coins fall so that features fire that often."""

    def fires(
        material: Material, _activations: Activations, _progress: Progress
    ) -> Firings:
        return flip(density, material)

    return fires


def neurons(sample: Sample) -> Sae:
    """Returns a model's own dimensions as an autoencoder that reads them.

    Feature i is how far dimension i lies above its mean, d_model + i how far below, in
    standard deviations; as many fire as there are dimensions, that is all that do.
    """
    rows = sample.read.rows
    width = rows.shape[1]
    total, squares = np.zeros(width), np.zeros(width)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = np.asarray(rows[start : start + _ROWS_AT_ONCE], np.float64)
        total += part.sum(0)
        squares += (part**2).sum(0)
    mean = total / len(rows)
    sigma = np.sqrt(np.maximum(squares / len(rows) - mean**2, 1e-12))
    scale, spread = np.diag(1 / sigma), np.diag(sigma)
    return Sae(
        W_enc=_tensor(np.concatenate([scale, -scale], axis=1)),
        b_enc=_tensor(np.concatenate([-mean / sigma, mean / sigma])),
        W_dec=_tensor(np.concatenate([spread, -spread])),
        b_dec=_tensor(mean),
        k=width,
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()
