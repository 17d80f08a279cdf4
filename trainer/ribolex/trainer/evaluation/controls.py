"""Controls that need a fit: what a dictionary's numbers are worth without its cause.

The same recipe with a decoder of random directions, on a model of random weights, or
with another seed. Knows nothing of how they are scored.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file

from ribolex.dictionary import Dictionary, Sae
from ribolex.lm import LanguageModel
from ribolex.trainer.activations import Progress
from ribolex.trainer.corpus import digest
from ribolex.trainer.evaluation.sample import Sample, collect
from ribolex.trainer.fit import FitPlan, FitProgress, fit
from ribolex.trainer.rows import open_rows

_TENSORS = "W_enc", "b_enc", "W_dec", "b_dec"


RANDOM_DECODER = (
    "random decoder",
    "random directions as decoder, only the encoder trained",
)
"""Name and description of the control."""


class Samples(NamedTuple):
    """The RNAs of an evaluation, with the activations of one model."""

    held_out: Sample
    """What reconstruction is measured on."""
    fitted: Sample
    """What probes and components are fitted on."""
    scored: Sample
    """Held-out RNAs that probes are scored on."""
    fitted_on: str
    """What those are that probes are fitted on: "training families"."""


class FittedControl(NamedTuple):
    """An autoencoder to measure beside a dictionary's."""

    name: str
    what: str
    n_rows: int
    """Rows that its fit has seen."""
    sae: Sae
    samples: Samples
    """Of the activations that it reads."""


@dataclass(frozen=True, slots=True)
class ControlFits:
    """Fits the controls of one dictionary, or finds them fitted in a folder.

    TopK for all, with as many features on a nucleotide as the dictionary has.
    """

    dictionary: Dictionary
    training: Sample
    """What the controls are fitted on."""
    samples: Samples
    folder: Path
    """Where fits are kept, under a digest of all that they depend on."""
    n_rows: int
    """Rows that each fit is to see."""
    learning_rate: float | None = None
    device: str = "cpu"

    def random_decoder(self, progress: Progress) -> FittedControl:
        """Returns the control whose decoder is random; its encoder is trained."""
        plan = replace(self._plan(), frozen_decoder=True)
        sae = self._fit(
            plan, self.training, self.dictionary.identity.lm_digest, progress
        )
        return FittedControl(*RANDOM_DECODER, plan.n_rows, sae, self.samples)

    def another_seed(self, progress: Progress) -> Sae:
        """Returns an autoencoder of the next seed."""
        plan = replace(self._plan(), seed=self.dictionary.identity.seed + 1)
        return self._fit(
            plan, self.training, self.dictionary.identity.lm_digest, progress
        )

    def random_model(self, twin: LanguageModel, progress: Progress) -> FittedControl:
        """Returns the control fitted to the same layer of an untrained model."""

        def collected(sample: Sample) -> Sample:
            identity = self.dictionary.identity
            return collect(identity, twin, sample.rnas, self.folder, progress)

        plan = self._plan()
        sae = self._fit(plan, collected(self.training), twin.digest, progress)
        scored = collected(self.samples.scored)
        fitted = collected(self.samples.fitted)
        samples = self.samples._replace(held_out=scored, fitted=fitted, scored=scored)
        what = "the same recipe on the language model with random weights"
        return FittedControl("random model", what, plan.n_rows, sae, samples)

    def _plan(self) -> FitPlan:
        sae, identity = self.dictionary.sae, self.dictionary.identity
        l0 = identity.metrics.get("l0", float(sae.k))
        return FitPlan(
            n_features=sae.n_features,
            k=max(1, round(l0)),
            n_rows=self.n_rows,
            objective="topk",
            target="same" if identity.target is None else "layer",
            batch_rows=min(1024, len(self.training.read)),
            learning_rate=self.learning_rate,
            seed=identity.seed,
            device=self.device,
        )

    def _fit(
        self, plan: FitPlan, sample: Sample, lm_digest: str, progress: Progress
    ) -> Sae:
        identity = self.dictionary.identity
        key = f"{plan} {lm_digest} {identity.layer} {identity.hook} {identity.level}"
        if identity.target is not None:
            key += f" {identity.target.layer} {identity.target.is_difference} "
        key += digest(sample.rnas)
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        file = self.folder / f"control-{name}.safetensors"
        if file.exists():
            kept = load_file(file)
            return Sae(k=int(kept.pop("k")), **kept)

        def told(at: FitProgress) -> None:
            progress(at.step, at.n_steps)

        layers = [sample.read.rows]
        if plan.target != "same":
            layers.append(sample.rebuilt)
        sae = fit(open_rows(layers), plan, told).sae
        names = [*_TENSORS, *(["threshold"] if sae.threshold is not None else [])]
        temporary = file.with_suffix(".new")
        weights = {name: getattr(sae, name).contiguous() for name in names}
        save_file({**weights, "k": torch.tensor(sae.k)}, temporary)
        temporary.replace(file)
        return sae
