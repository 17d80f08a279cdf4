"""One dictionary from beginning to end: cache, fit, describe, export, check, publish.

Knows nothing of the command line or of how progress is shown.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float16

from ribolex.dictionary import Identity, Standardisation, write_dictionary
from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.registry import Registry
from ribolex.rna import Rna
from ribolex.trainer.activations import Activations, cache_activations
from ribolex.trainer.annotate import annotate
from ribolex.trainer.corpus import choose, digest, read_corpus
from ribolex.trainer.evaluate import evaluate, fit_subspace, subspace_fvu
from ribolex.trainer.fit import FitPlan, FitProgress, Fitted, fit
from ribolex.trainer.publish import Checked, GateLimits, check, make_panel, publish
from ribolex.trainer.rows import Rows

log = logging.getLogger(__name__)

_HELD_OUT_NUCLEOTIDES = 300_000
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
    hook: Hook = "normed"
    n_nucleotides: int = 4_000_000
    """At most so many of the tables are used, families taken in turn."""
    licence: str = "Apache-2.0"
    limits: GateLimits = field(default_factory=GateLimits)


class Outcome(NamedTuple):
    """What came of a run."""

    checked: Checked
    controls: dict[str, float]
    """"pca_fvu", "random_fvu" and "random_dead_fraction"."""
    ref: str | None
    """The published dictionary; None if a gate failed."""


def train(
    plan: TrainPlan,
    lm: LanguageModel,
    registry: Registry,
    workdir: Path,
    report: Report,
) -> Outcome:
    """Makes a dictionary and publishes it if it passes every gate.

    Activations stay in `workdir` and are found there by a second run; all else is
    done anew.

    Raises:
        CorruptInputError, InvalidSequenceError: a table is not what it should be.
        InvalidRequestError: a layer that the model does not have, or too few RNAs.
        DictionaryExistsError: this very dictionary was published before.
    """
    longest = lm.max_nucleotides
    generator = np.random.default_rng(plan.fit.seed)
    rnas = choose(read_corpus(plan.rnas, longest), plan.n_nucleotides, generator)
    held_rnas = choose(
        read_corpus([plan.validation], longest), _HELD_OUT_NUCLEOTIDES, generator
    )
    held_out = _cache(plan, lm, held_rnas, workdir, report, "validation").rows
    activations = _cache(plan, lm, rnas, workdir, report, "activations")
    if len(activations) < plan.fit.batch_rows:
        raise InvalidRequestError(
            "rnas",
            f"{len(activations)} nucleotides, expected {plan.fit.batch_rows} or more",
        )
    rows = activations.rows[:]
    fitted = _fit(plan.fit, rows, report, "fit")
    controls = _measure_controls(plan.fit, rows, held_out, report)
    candidate, staged = workdir / "candidate", workdir / "staged"
    for folder in (candidate, staged):
        shutil.rmtree(folder, ignore_errors=True)
    _export(candidate, plan, lm, rnas, activations, fitted, report)
    checked = check(candidate, lm, held_out, plan.limits)
    for gate in checked.failed:
        log.warning(
            "gate failed: %s %.4f above %.4f", gate.metric, gate.got, gate.limit
        )
    ref = None if checked.failed else publish(checked, controls, staged, registry)
    return Outcome(checked, controls, ref)


def _cache(
    plan: TrainPlan,
    lm: LanguageModel,
    rnas: Sequence[Rna],
    workdir: Path,
    report: Report,
    stage: str,
) -> Activations:
    if not rnas:
        raise InvalidRequestError(stage, "no RNA that fits the model")

    def progress(done: int, total: int) -> None:
        report(Stage(stage, done, total))

    layers = [plan.layer]
    found = cache_activations(lm, rnas, layers, plan.hook, workdir, progress)
    return found[plan.layer]


def _fit(
    plan: FitPlan, rows: Float16[np.ndarray, "row d_in"], report: Report, stage: str
) -> Fitted:
    def progress(at: FitProgress) -> None:
        note = f"FVU {at.fvu:.3f}, {at.n_dead} dead"
        report(Stage(stage, at.step, at.n_steps, note))

    return fit(rows, plan, progress)


def _measure_controls(
    plan: FitPlan,
    rows: Float16[np.ndarray, "row d_in"],
    held_out: Rows,
    report: Report,
) -> dict[str, float]:
    frozen = replace(
        plan, frozen_decoder=True, n_rows=max(1, int(plan.n_rows * _CONTROL_SHARE))
    )
    found = evaluate(_fit(frozen, rows, report, "control").sae, held_out)
    return {
        "pca_fvu": subspace_fvu(fit_subspace(rows, plan.k), held_out),
        "random_fvu": found.fvu,
        "random_dead_fraction": found.dead_fraction,
    }


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

    sae, moments = fitted
    identity = Identity(
        lm_name=lm.name,
        lm_digest=lm.digest,
        layer=plan.layer,
        hook=plan.hook,
        level="nucleotide",
        kind="sae",
        activation=sae.architecture,
        k=sae.k,
        d_in=sae.d_in,
        n_features=sae.n_features,
        standardisation=Standardisation(
            tuple(moments.mean.tolist()), tuple(moments.sigma.tolist())
        ),
        training_data=digest(rnas),
        seed=plan.fit.seed,
        licence=plan.licence,
    )
    write_dictionary(
        path,
        name=plan.name,
        identity=identity,
        sae=sae,
        features=annotate(sae, activations, rnas, progress),
        panel=make_panel(lm, sae, rnas, identity),
    )
