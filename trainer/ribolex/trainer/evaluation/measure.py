"""Measures a dictionary, as it was exported, and its controls on held-out RNAs.

Knows nothing of files, limits or of how figures are shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ribolex.dictionary import Dictionary, Moments, Sae
from ribolex.lm import LanguageModel
from ribolex.trainer.corpus import digest, family_of
from ribolex.trainer.evaluation.controls import FittedControl, Samples
from ribolex.trainer.evaluation.loss import LossRecovered, measure_loss
from ribolex.trainer.evaluation.probing import Probed, interval, probe
from ribolex.trainer.evaluation.readings import (
    Read,
    read_codes,
    read_components,
    read_neurons,
)
from ribolex.trainer.evaluation.reconstruction import (
    Subspace,
    fit_subspace,
    measure_reconstruction,
    neurons_fvu,
    subspace_fvu,
)
from ribolex.trainer.evaluation.record import (
    SCHEMA_VERSION,
    Control,
    Data,
    Evaluation,
    Gap,
    Subject,
)
from ribolex.trainer.evaluation.sample import Sample, draw, kin_of, take
from ribolex.trainer.evaluation.stability import measure_stability
from ribolex.trainer.evaluation.tasks import Tasks, set_tasks
from ribolex.trainer.rows import Rows

KS = (1, 5, 16)
"""Features that a probe may use."""

Note = Callable[[str, int, int], None]
"""Is told a stage, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """How much is measured."""

    probe_nucleotides: int = 60_000
    """Probes are fitted on about so many, and scored on as many."""
    loss_nucleotides: int = 40_000
    """Of whose letters 15 % are predicted."""
    seed: int = 0


class Other(NamedTuple):
    """A second dictionary to compare with."""

    name: str
    sae: Sae


class _Contender(NamedTuple):
    """A control with all but its probes measured."""

    control: Control
    read: Read
    samples: Samples


def split(held_out: Sample, plan: EvaluationPlan, training: Sample | None) -> Samples:
    """Returns what is measured, fitted on and scored, bounded as planned.

    Args:
        held_out: RNAs that the dictionary never saw.
        plan: how many of them probes take.
        training: RNAs of other families; without them half of the held-out clans are
            fitted on, and probes are scored on the other half.
    """
    n = plan.probe_nucleotides
    if training is not None:
        fitted, scored = draw(training, n, plan.seed), draw(held_out, n, plan.seed)
        return Samples(held_out, fitted, scored, "training families")
    names = sorted({kin_of(rna) for rna in held_out.rnas})
    shuffled = np.random.default_rng(plan.seed).permutation(len(names))
    fitted_names = {names[i] for i in shuffled[: len(names) // 2]}
    is_fitted = [kin_of(rna) in fitted_names for rna in held_out.rnas]
    sides = [
        take(held_out, [i for i, mine in enumerate(is_fitted) if mine == side])
        for side in (True, False)
    ]
    fitted, scored = (draw(side, n, plan.seed) for side in sides)
    return Samples(held_out, fitted, scored, "half of the held-out clans")


def measure(
    dictionary: Dictionary,
    lm: LanguageModel,
    samples: Samples,
    controls: Sequence[FittedControl],
    other: Other | None,
    plan: EvaluationPlan,
    note: Note,
) -> Evaluation:
    """Returns all that can be measured of a dictionary, and of its controls.

    Args:
        dictionary: as read from its folder.
        lm: the model that it was made for.
        samples: activations of that model, from `split`.
        controls: autoencoders to measure beside it; neurons and principal components
            are measured always.
        other: what its stability is measured against, if anything.
        plan: how much is measured.
        note: is told how far it is.

    Raises:
        InvalidRequestError: an RNA's structure is none.
    """
    sae, identity = dictionary.sae, dictionary.identity
    n_steps = 4 + len(controls)
    note("evaluate", 0, n_steps)
    held_out = samples.held_out
    found = measure_reconstruction(sae, held_out.read.rows, held_out.rebuilt)
    note("evaluate", 1, n_steps)
    loss = None
    if identity.level == "nucleotide":
        loss = _measure_loss(dictionary, lm, held_out, plan)
    note("evaluate", 2, n_steps)
    k = max(1, round(found.l0))
    contenders = _plain_controls(dictionary, samples, k)
    contenders += [_fitted_control(each) for each in controls]
    tasks = set_tasks(samples.fitted, samples.scored)
    if identity.level == "sequence":
        tasks = tasks._replace(of_rows=[])
    own = _probe(tasks, read_codes(sae), samples)
    measured = []
    for step, contender in enumerate(contenders, start=3):
        note("evaluate", step, n_steps)
        measured.append(_with_probes(contender, tasks, own))
    note("evaluate", n_steps, n_steps)
    return Evaluation(
        schema_version=SCHEMA_VERSION,
        subject=_subject(dictionary),
        data=_data(samples),
        reconstruction=found,
        loss=loss,
        loss_recovered=None if loss is None else loss.recovered,
        probes=tuple(each.score for each in own),
        stability=other and measure_stability(sae, other.sae, other.name),
        controls=tuple(measured),
    )


def _measure_loss(
    dictionary: Dictionary, lm: LanguageModel, held_out: Sample, plan: EvaluationPlan
) -> LossRecovered:
    rnas = draw(held_out, plan.loss_nucleotides, plan.seed).rnas
    return measure_loss(dictionary, lm, [rna.sequence for rna in rnas], plan.seed)


def _plain_controls(
    dictionary: Dictionary, samples: Samples, k: int
) -> list[_Contender]:
    """Returns the controls that cost next to nothing."""
    fitted, held_out = samples.fitted.read.rows, samples.held_out.read.rows
    is_sae = dictionary.identity.kind == "sae"
    whole = fit_subspace(fitted, fitted.shape[1])
    neurons = Control(
        "neurons",
        f"the activation's own dimensions; rebuilt from the {k} furthest from their "
        "mean in standard deviations",
        0,
        fvu=neurons_fvu(_moments(fitted), k, held_out) if is_sae else None,
    )
    largest = Subspace(whole.mean, whole.directions[:k])
    pca = Control(
        "pca",
        f"principal components; rebuilt from the first {k}",
        0,
        fvu=subspace_fvu(largest, held_out) if is_sae else None,
    )
    return [
        _Contender(neurons, read_neurons, samples),
        _Contender(pca, read_components(whole), samples),
    ]


def _moments(rows: Rows) -> Moments:
    x = torch.from_numpy(rows[:].astype(np.float32))
    return Moments(x.mean(0), x.std(0).clamp_min(1e-6))


def _fitted_control(fitted: FittedControl) -> _Contender:
    held_out = fitted.samples.held_out
    found = measure_reconstruction(fitted.sae, held_out.read.rows, held_out.rebuilt)
    control = Control(
        fitted.name, fitted.what, fitted.n_rows, found.fvu, found.dead_fraction
    )
    return _Contender(control, read_codes(fitted.sae), fitted.samples)


def _with_probes(contender: _Contender, tasks: Tasks, own: Sequence[Probed]) -> Control:
    control = contender.control
    found = _probe(tasks, contender.read, contender.samples)
    gaps = []
    for mine, its in zip(own, found, strict=True):
        low, high = interval(mine.draws - its.draws)
        gap = mine.score.auroc - its.score.auroc
        gaps.append(Gap(mine.score.task, mine.score.k, gap, low, high))
    return Control(
        control.name,
        control.what,
        control.n_rows,
        control.fvu,
        control.dead_fraction,
        tuple(each.score for each in found),
        tuple(gaps),
    )


def _probe(tasks: Tasks, read: Read, samples: Samples) -> list[Probed]:
    if not (tasks.of_rows or tasks.of_rnas):
        return []
    fitted, scored = read(samples.fitted), read(samples.scored)
    out: list[Probed] = []
    if tasks.of_rows:
        rows = fitted.rows[tasks.fitted_rows], scored.rows[tasks.scored_rows]
        for task in tasks.of_rows:
            out += probe(task, *rows, KS)
    for task in tasks.of_rnas:
        out += probe(task, fitted.rnas, scored.rnas, KS)
    return out


def _subject(dictionary: Dictionary) -> Subject:
    identity = dictionary.identity
    names = Subject.__slots__
    fields = {n: getattr(identity, n) for n in names if n != "name"}
    return Subject(name=dictionary.name, **fields)


def _data(samples: Samples) -> Data:
    rnas = samples.held_out.rnas
    held_out, fitted = samples.held_out, samples.fitted
    seen = {kin_of(rna) for rna in fitted.rnas}
    return Data(
        held_out=digest(rnas),
        n_rnas=len(rnas),
        n_families=len({family_of(rna) for rna in rnas}),
        n_clans=len({kin_of(rna) for rna in rnas}),
        n_nucleotides=len(held_out.read),
        fitted=samples.fitted_on,
        n_fitted=len(fitted.read),
        n_shared_clans=len(seen & {kin_of(rna) for rna in samples.scored.rnas}),
    )
