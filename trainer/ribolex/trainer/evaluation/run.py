"""From tables of RNAs to the evaluation of a dictionary, controls and all.

Knows nothing of the command line or of how figures are shown.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ribolex.dictionary import Dictionary
from ribolex.errors import IncompatibleDictionaryError, InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.corpus import choose, read_corpus
from ribolex.trainer.evaluation.controls import ControlFits, FittedControl
from ribolex.trainer.evaluation.measure import (
    EvaluationPlan,
    Note,
    Other,
    measure,
    split,
)
from ribolex.trainer.evaluation.record import Evaluation
from ribolex.trainer.evaluation.sample import Sample, collect
from ribolex.trainer.pretraining.evaluation import random_twin


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """What to measure on, and beside what."""

    validation: Path
    """Table of RNAs of families that the dictionary never saw."""
    training: Path | None = None
    """Table of RNAs of other families; None to split the validation's."""
    other: Dictionary | None = None
    """Of another seed."""
    control_rows: int = 0
    """Rows that the fit of each control sees; 0 for no controls that need a fit."""
    n_nucleotides: int = 100_000
    """Of each table at most, families in turn; of the training RNAs half of
    `control_rows` if that is more."""
    device: str = "cpu"
    """Where controls are fitted."""
    plan: EvaluationPlan = field(default_factory=EvaluationPlan)


def evaluate_dictionary(
    dictionary: Dictionary,
    lm: LanguageModel,
    run: EvaluationRun,
    workdir: Path | None,
    note: Note,
) -> Evaluation:
    """Returns all that can be measured of a dictionary on the tables of a run.

    Args:
        dictionary: as read from its folder.
        lm: the model that it was made for.
        run: tables and controls.
        workdir: where activations and fits are kept for a second run; None for nowhere.
        note: is told each stage, how much of it is done, and of how much.

    Raises:
        CorruptInputError, InvalidSequenceError: a table is not what it should be.
        IncompatibleDictionaryError: the dictionary, or the other, is for another model
            or of another width.
        InvalidRequestError: no RNA fits the model, or controls without training RNAs.
    """
    _check(dictionary, lm, run)
    if workdir is None:
        with tempfile.TemporaryDirectory() as folder:
            return evaluate_dictionary(dictionary, lm, run, Path(folder), note)
    workdir.mkdir(parents=True, exist_ok=True)
    seed, identity = run.plan.seed, dictionary.identity

    def collected(table: Path, stage: str, n_nucleotides: int) -> Sample:
        rnas = _read(table, lm, n_nucleotides, seed)
        return collect(identity, lm, rnas, workdir, partial(note, stage))

    held_out = collected(run.validation, "validation", run.n_nucleotides)
    training = None
    if run.training is not None:
        enough = max(run.n_nucleotides, run.control_rows // 2)
        training = collected(run.training, "training", enough)
    samples = split(held_out, run.plan, training)
    other = None if run.other is None else Other(run.other.name, run.other.sae)
    controls: list[FittedControl] = []
    if training is not None and run.control_rows:
        fits = ControlFits(
            dictionary, training, samples, workdir, run.control_rows, device=run.device
        )
        controls, fitted_other = _fit_controls(fits, lm, run, note)
        other = other or fitted_other
    return measure(dictionary, lm, samples, controls, other, run.plan, note)


def _fit_controls(
    fits: ControlFits, lm: LanguageModel, run: EvaluationRun, note: Note
) -> tuple[list[FittedControl], Other]:
    controls = [
        fits.random_decoder(partial(note, "random decoder")),
        fits.random_model(
            random_twin(lm, device=run.device), partial(note, "random model")
        ),
    ]
    again = fits.another_seed(partial(note, "another seed"))
    name = f"a fit of another seed to {run.control_rows:,} rows"
    return controls, Other(name, again)


def _read(table: Path, lm: LanguageModel, n: int, seed: int) -> Sequence[Rna]:
    rnas = read_corpus([table], lm.max_nucleotides)
    if not rnas:
        raise InvalidRequestError(str(table), "no RNA that fits the model")
    return choose(rnas, n, np.random.default_rng(seed))


def _check(dictionary: Dictionary, lm: LanguageModel, run: EvaluationRun) -> None:
    for each in (dictionary, run.other):
        if each is not None:
            each.check_lm(lm.digest)
    if run.other is not None and run.other.sae.d_out != dictionary.sae.d_out:
        raise IncompatibleDictionaryError(
            run.other.ref, "d_out", run.other.sae.d_out, dictionary.sae.d_out
        )
    if run.control_rows and run.training is None:
        raise InvalidRequestError("controls", "fitted to training RNAs: none are given")
