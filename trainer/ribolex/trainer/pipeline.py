"""One dictionary from beginning to end: cache, fit, describe, export, check, publish.

Knows nothing of the command line or of how progress is shown.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ribolex.dictionary import (
    Identity,
    Moments,
    Sae,
    Standardisation,
    load_dictionary,
    write_dictionary,
)
from ribolex.dictionary.identity import Target
from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.registry import Registry
from ribolex.rna import Rna
from ribolex.trainer.activations import Activations, cache_activations
from ribolex.trainer.annotate import annotate
from ribolex.trainer.corpus import choose, digest, read_corpus
from ribolex.trainer.evaluation import (
    RANDOM_DECODER,
    EvaluationPlan,
    FittedControl,
    Sample,
    draw,
    measure,
    split,
)
from ribolex.trainer.fit import FitPlan, FitProgress, Fitted, fit
from ribolex.trainer.publish import Checked, GateLimits, check, make_panel, publish
from ribolex.trainer.ranks import n_ranks, rank
from ribolex.trainer.rows import DifferenceRows, PartRows, Rows, open_rows

log = logging.getLogger(__name__)

_HELD_OUT_NUCLEOTIDES = 300_000
_LINEAGE_NUCLEOTIDES = 20_000
"""On which firings are compared with those of the version before."""
_CONTROL_SHARE = 0.25
"""Of the rows that the dictionary sees; its decoder being fixed, the control needs
fewer."""


class Stage(NamedTuple):
    """How far a stage of a run is."""

    name: str
    done: int
    total: int
    note: str = ""


Report = Callable[[Stage], None]
"""Is told how far each stage is."""


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """Everything that decides a dictionary, besides the language model."""

    name: str
    rnas: Sequence[Path]
    """Tables of RNAs to train on."""
    validation: Path
    """Table of RNAs of other families, to measure on."""
    layer: int
    fit: FitPlan
    """Its target says whether `target_layer` or the difference to it is rebuilt."""
    target_layer: int | None = None
    """Layer that a transcoder rebuilds; None for an autoencoder."""
    hook: Hook = "normed"
    n_nucleotides: int = 4_000_000
    """At most so many of the tables are used, families taken in turn."""
    licence: str = "Apache-2.0"
    limits: GateLimits = field(default_factory=GateLimits)
    evaluation: EvaluationPlan = field(default_factory=EvaluationPlan)


class Sides(NamedTuple):
    """Activations of one set of RNAs: what is read, and what is to be rebuilt."""

    read: Activations
    other: Activations | None
    """Of the target layer."""

    def layers(self) -> list[Rows]:
        """Returns the rows that a fit consumes."""
        both = self.read, self.other
        return [side.rows for side in both if side is not None]

    def target(self, plan: FitPlan) -> Rows:
        """Returns what is to be rebuilt."""
        if self.other is None:
            return self.read.rows
        if plan.target == "difference":
            return DifferenceRows(self.other.rows, self.read.rows)
        return self.other.rows


class Outcome(NamedTuple):
    """What came of a run."""

    checked: Checked
    ref: str | None
    """The published dictionary; None if a gate failed."""


def train(
    plan: TrainPlan,
    lm: LanguageModel,
    registry: Registry,
    workdir: Path,
    report: Report,
) -> Outcome | None:
    """Makes a dictionary and publishes it if it passes every gate.

    Activations, and how far each fit is, stay in `workdir` and are found there by a
    second run; all else is done anew. Ranks (`ranks`) fit together, each a part of the
    rows; the first does the rest.

    Returns:
        What came of it; None on all ranks but the first.

    Raises:
        CorruptInputError, InvalidSequenceError: a table is not what it should be.
        InvalidRequestError: a layer that the model does not have, too few RNAs, or a
            target layer without a target or the other way round.
        DictionaryExistsError: this very dictionary was published before.
    """
    if (plan.target_layer is None) != (plan.fit.target == "same"):
        raise InvalidRequestError(
            "target_layer",
            f"{plan.target_layer} with the target {plan.fit.target!r}, expected both "
            "for a transcoder or neither",
        )
    longest = lm.max_nucleotides
    generator = np.random.default_rng(plan.fit.seed)
    rnas = choose(read_corpus(plan.rnas, longest), plan.n_nucleotides, generator)
    held_rnas = choose(
        read_corpus([plan.validation], longest), _HELD_OUT_NUCLEOTIDES, generator
    )
    held_out = _cache(plan, lm, held_rnas, workdir, report, "validation")
    sides = _cache(plan, lm, rnas, workdir, report, "activations")
    if len(sides.read) < plan.fit.batch_rows:
        raise InvalidRequestError(
            "rnas",
            f"{len(sides.read)} nucleotides, expected {plan.fit.batch_rows} or more",
        )
    key = f"{lm.digest} {plan.layer} {plan.target_layer} {plan.hook} {digest(rnas)}"
    checkpoints = workdir / f"fit-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    fitted = _fit(plan.fit, sides, checkpoints, report, "fit")
    control = _fit_control(plan.fit, sides, checkpoints, report)
    if rank() > 0:
        return None
    candidate, staged = workdir / "candidate", workdir / "staged"
    for folder in (candidate, staged):
        shutil.rmtree(folder, ignore_errors=True)
    _export(candidate, plan, lm, rnas, sides.read, fitted, report)
    dictionary = load_dictionary(candidate)

    def note(stage: str, done: int, total: int) -> None:
        report(Stage(stage, done, total))

    samples = split(
        Sample(held_rnas, held_out.read, held_out.target(plan.fit)),
        plan.evaluation,
        Sample(rnas, sides.read, sides.target(plan.fit)),
    )
    controls = [FittedControl(*control, samples)]
    found = measure(dictionary, lm, samples, controls, None, plan.evaluation, note)
    checked = check(dictionary, lm, found, plan.limits)
    for gate in checked.failed:
        log.warning(
            "gate failed metric=%s got=%.4f limit=%g bound=%s",
            gate.metric,
            gate.got,
            gate.limit,
            gate.bound,
        )
    ref = (
        None
        if checked.failed
        else _publish(checked, lm, samples.held_out, staged, registry)
    )
    return Outcome(checked, ref)


def _publish(
    checked: Checked,
    lm: LanguageModel,
    held_out: Sample,
    staged: Path,
    registry: Registry,
) -> str:
    rnas = draw(held_out, _LINEAGE_NUCLEOTIDES).rnas
    return publish(checked, lm, rnas, staged, registry)


def _cache(
    plan: TrainPlan,
    lm: LanguageModel,
    rnas: Sequence[Rna],
    workdir: Path,
    report: Report,
    stage: str,
) -> Sides:
    if not rnas:
        raise InvalidRequestError(stage, "no RNA that fits the model")

    def progress(done: int, total: int) -> None:
        report(Stage(stage, done, total))

    target = plan.target_layer
    layers = sorted({plan.layer, plan.layer if target is None else target})
    found = cache_activations(lm, rnas, layers, plan.hook, workdir, progress)
    return Sides(found[plan.layer], None if target is None else found[target])


def _fit(
    plan: FitPlan, sides: Sides, checkpoints: Path, report: Report, stage: str
) -> Fitted:
    def progress(at: FitProgress) -> None:
        note = f"FVU {at.fvu:.3f}, {at.n_dead} dead"
        report(Stage(stage, at.step, at.n_steps, note))

    mine = [PartRows(rows, rank(), n_ranks()) for rows in sides.layers()]
    # Ranks share the file, and have devices of their own.
    named = repr((replace(plan, device=""), n_ranks()))
    key = hashlib.sha256(named.encode()).hexdigest()
    file = checkpoints / f"{stage}-{key[:16]}.safetensors"
    return fit(open_rows(mine), plan, progress, file)


def _fit_control(
    plan: FitPlan, sides: Sides, checkpoints: Path, report: Report
) -> tuple[str, str, int, Sae]:
    # TopK for all: what is asked is what k features with random directions can do.
    frozen = replace(
        plan,
        objective="topk",
        orthogonality=0.0,
        frozen_decoder=True,
        n_rows=max(1, int(plan.n_rows * _CONTROL_SHARE)),
    )
    sae = _fit(frozen, sides, checkpoints, report, "control").sae
    return *RANDOM_DECODER, frozen.n_rows, sae


def _export(
    path: Path,
    plan: TrainPlan,
    lm: LanguageModel,
    rnas: Sequence[Rna],
    activations: Activations,
    fitted: Fitted,
    report: Report,
) -> None:
    def progress(done: int, total: int) -> None:
        report(Stage("annotate", done, total))

    sae = fitted.sae
    target = None
    if plan.target_layer is not None:
        is_difference = plan.fit.target == "difference"
        scale = _standardisation(fitted.target_moments)
        target = Target(plan.target_layer, is_difference, scale)
    identity = Identity(
        lm_name=lm.name,
        lm_digest=lm.digest,
        layer=plan.layer,
        hook=plan.hook,
        level="nucleotide",
        kind="sae" if target is None else "transcoder",
        activation=sae.architecture,
        k=sae.k,
        d_in=sae.d_in,
        n_features=sae.n_features,
        standardisation=_standardisation(fitted.moments),
        training_data=digest(rnas),
        seed=plan.fit.seed,
        licence=plan.licence,
        target=target,
    )
    write_dictionary(
        path,
        name=plan.name,
        identity=identity,
        sae=sae,
        features=annotate(sae, activations, rnas, progress),
        panel=make_panel(lm, sae, rnas, identity),
    )


def _standardisation(moments: Moments) -> Standardisation:
    return Standardisation(tuple(moments.mean.tolist()), tuple(moments.sigma.tolist()))
