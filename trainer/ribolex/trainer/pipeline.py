"""One dictionary, stage by stage, from its fit to its publication.

Each stage is done once: what it gave stays in the dictionary's folder, with a record of
what it was made from. Knows nothing of the command line or of how progress is shown.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from ribolex.dictionary import (
    Dictionary,
    FeatureTable,
    Gate,
    load_dictionary,
    write_dictionary,
)
from ribolex.dictionary.features import read_features, write_features
from ribolex.disk import write_whole
from ribolex.errors import CorruptArtefactError, InvalidRequestError
from ribolex.registry import Registry
from ribolex.trainer.alignment import learn_alignment
from ribolex.trainer.annotation import Controls, annotate, in_one
from ribolex.trainer.corpus import choose
from ribolex.trainer.data import TrainingData
from ribolex.trainer.evaluation import (
    RANDOM_DECODER,
    Evaluation,
    FittedControl,
    draw,
    measure,
    read_evaluation,
    split,
)
from ribolex.trainer.fit import FitProgress, Fitted, fit
from ribolex.trainer.fitted import read_fitted, write_fitted
from ribolex.trainer.ledger import (
    Ledger,
    digest_of,
    read_json,
    remove,
    write_json,
)
from ribolex.trainer.plan import TrainPlan, control_of, identify, stage_inputs
from ribolex.trainer.publish import (
    Checked,
    Described,
    Published,
    check,
    make_panel,
    publish,
    stage,
)
from ribolex.trainer.ranks import any_over_ranks, first_says, on_first, rank
from ribolex.trainer.stopping import Stop, Stopped

log = logging.getLogger(__name__)

T = TypeVar("T")

STAGES = (
    "fit",
    "control",
    "export",
    "evaluate",
    "annotate",
    "align",
    "gates",
    "candidate",
    "publish",
)
"""Of one dictionary, in order."""

_LINEAGE_NUCLEOTIDES = 20_000
"""On which firings are compared with those of the version before."""
_CANDIDATE = "candidate"


class Progress(NamedTuple):
    """How far a stage is."""

    stage: str
    done: int
    total: int
    dictionary: str = ""
    """"" for a stage that all dictionaries share."""
    fvu: float | None = None
    """Of a batch in a fit."""
    n_dead: int | None = None
    """Features that have not fired for long, in a fit."""
    n_rows: int | None = None
    """That a fit has seen."""


Report = Callable[[Progress], None]
"""Is told how far each stage is."""


class Outcome(NamedTuple):
    """What came of a dictionary."""

    name: str
    published: Published | None
    """None if a gate failed."""
    failed: tuple[Gate, ...]
    """The gates that it does not pass."""
    candidate: Path
    """Its folder, with card and evaluation."""
    is_known: bool
    """Whether all was done before."""


class Training:
    """The making of one dictionary in a folder; one process group at a time."""

    def __init__(
        self, plan: TrainPlan, data: TrainingData, registry: Registry, folder: Path
    ) -> None:
        self.plan = plan
        self._data, self._registry = data, registry
        self._ledger = Ledger(folder)
        self._inputs = stage_inputs(plan, data, str(registry))

    def known(self) -> Outcome | None:
        """Returns what came of it if all is done, without computing anything."""
        ledger, inputs = self._ledger, self._inputs
        if not ledger.is_done("candidate", inputs["candidate"]):
            return None
        try:
            gates = _read_gates(ledger.folder / "gates.json")
            if failed := [gate for gate in gates if not gate.is_met]:
                return self._outcome(failed, None, True)
            if ledger.is_done("publish", inputs["publish"]):
                published = _read_published(ledger.folder / "published.json")
                return self._outcome([], published._replace(is_new=False), True)
        except CorruptArtefactError:
            pass
        return None

    def run(self, report: Report, stop: Stop) -> Outcome | None:
        """Makes the dictionary, and publishes it if it passes every gate.

        Goes on where a run before was killed. Activations are collected. Ranks
        (`ranks`) fit together, the first does the rest.

        Returns:
            What came of it; None on all ranks but the first.

        Raises:
            InvalidRequestError: fewer rows than a batch.
            Stopped: that was wished; nothing is lost but what takes no time.
            StaleWriteError: somebody else moved the current version meanwhile.
            NotReadyError: the registry does not answer, or another rank failed.
        """
        for fitted in ("fit", "control"):
            self._fit_once(fitted, report, stop)
        return on_first(lambda: self._finish(report, stop))

    def _finish(self, report: Report, stop: Stop) -> Outcome:
        dictionary = self._export()
        evaluation = self._evaluate(dictionary, report)
        features = self._annotate(dictionary, report)
        gates = self._check(dictionary, evaluation)
        checked = Checked(dictionary, evaluation, gates)
        candidate = self._stage(checked, features, self._align(dictionary, report))
        if checked.failed:
            return self._outcome(checked.failed, None, False)
        stop.check()
        with stop.careful():
            published = self._publish(candidate)
        return self._outcome([], published, False)

    def _fit_once(self, name: str, report: Report, stop: Stop) -> None:
        """Fits if that is not done; all ranks take part, the first one writes."""
        ledger, inputs = self._ledger, self._inputs[name]
        if first_says(ledger.is_done(name, inputs)):
            return
        place = f"{name}-{digest_of(inputs)[:16]}.checkpoint"
        if rank() == 0:
            for old in ledger.folder.glob(f"{name}-*.checkpoint*"):
                if old.name != place:
                    remove(old)
        with stop.careful():
            if any_over_ranks(torch.tensor(stop.is_asked)):
                raise Stopped
            fitted = self._fit(name, ledger.folder / place, report, stop)

        def make(path: Path) -> None:
            write_fitted(path, fitted)

        on_first(
            lambda: ledger.once(name, inputs, f"{name}.safetensors", make, read_fitted)
        )
        if rank() == 0:
            remove(ledger.folder / place)

    def _fit(self, name: str, checkpoint: Path, report: Report, stop: Stop) -> Fitted:
        plan = self.plan.fit if name == "fit" else control_of(self.plan.fit)

        def told(at: FitProgress) -> None:
            n_rows = at.step * plan.batch_rows
            report(
                Progress(
                    stage=name,
                    done=at.step,
                    total=at.n_steps,
                    dictionary=self.plan.name,
                    fvu=at.fvu,
                    n_dead=at.n_dead,
                    n_rows=n_rows,
                )
            )

        report(Progress(name, 0, plan.n_steps, self.plan.name))
        source = self._data.source(self.plan.reading, of_model=name == "fit")
        try:
            return fit(source, plan, told, checkpoint, lambda: stop.is_asked)
        except CorruptArtefactError:
            checkpoint.unlink(missing_ok=True)
            return fit(source, plan, told, checkpoint, lambda: stop.is_asked)

    def _export(self) -> Dictionary:
        plan, lm = self.plan, self._data.lm

        def make(path: Path) -> None:
            fitted = read_fitted(self._ledger.folder / "fit.safetensors")
            sae = fitted.sae
            identity = identify(plan, self._data, fitted)
            write_dictionary(
                path,
                name=plan.name,
                identity=identity,
                sae=sae,
                features=FeatureTable.blank(sae.n_features),
                panel=make_panel(lm, sae, self._data.rnas, identity),
            )

        return self._once("export", "exported", make, load_dictionary)

    def _evaluate(self, dictionary: Dictionary, report: Report) -> Evaluation:
        plan = self.plan

        def note(name: str, done: int, total: int) -> None:
            report(Progress(name, done, total, plan.name))

        def make(path: Path) -> None:
            held_out, training = (
                self._data.sample(plan.reading, held_out=each) for each in (True, False)
            )
            samples = split(held_out, plan.evaluation, training)
            sae = read_fitted(self._ledger.folder / "control.safetensors").sae
            n_rows = control_of(plan.fit).n_rows
            controls = [FittedControl(*RANDOM_DECODER, n_rows, sae, samples)]
            found = measure(
                dictionary,
                self._data.lm,
                samples,
                controls,
                None,
                plan.evaluation,
                note,
            )
            write_whole(path, found.to_bytes())

        return self._once("evaluate", "evaluation.json", make, read_evaluation)

    def _annotate(self, dictionary: Dictionary, report: Report) -> FeatureTable:
        def told(done: int, total: int) -> None:
            report(Progress("annotate", done, total, self.plan.name))

        def make(path: Path) -> None:
            sample = self._data.sample(self.plan.reading, held_out=False)
            random = read_fitted(self._ledger.folder / "control.safetensors").sae
            controls = Controls(
                random, RANDOM_DECODER[1], self._data.lm, dictionary.identity
            )
            found = annotate(
                dictionary.sae, sample.read, sample.rnas, in_one(told), controls
            )
            write_features(path, found)

        return self._once("annotate", "features.parquet", make, read_features)

    def _align(self, dictionary: Dictionary, report: Report) -> bytes:
        """Returns its alignment model; nothing if there can be none."""
        plan = self.plan.alignment

        def told(step: str, done: int, total: int) -> None:
            report(Progress("align", done, total, self.plan.name))

        def make(path: Path) -> None:
            generator = np.random.default_rng(plan.seed)
            chosen = choose(self._data.rnas, plan.n_nucleotides, generator)
            sequences = [rna.sequence for rna in chosen]
            lm, model = self._data.lm, b""
            if self.plan.level == "nucleotide":
                try:
                    learned = learn_alignment(
                        dictionary, lm, sequences, None, plan, told
                    )
                    model = learned.model.to_bytes()
                except InvalidRequestError as error:
                    log.warning("no alignment model, %s", error)
            write_whole(path, model)

        return self._once("align", "alignment.safetensors", make, Path.read_bytes)

    def _check(
        self, dictionary: Dictionary, evaluation: Evaluation
    ) -> tuple[Gate, ...]:
        def make(path: Path) -> None:
            lm, limits = self._data.lm, self.plan.limits
            checked = check(dictionary, lm, evaluation, limits)
            write_json(path, [asdict(gate) for gate in checked.gates])

        return self._once("gates", "gates.json", make, _read_gates)

    def _stage(
        self, checked: Checked, features: FeatureTable, alignment: bytes
    ) -> Path:
        def make(path: Path) -> None:
            held_out = self._data.sample(self.plan.reading, held_out=True)
            rnas = draw(held_out, _LINEAGE_NUCLEOTIDES).rnas
            found = Described(features, alignment)
            stage(checked, found, self._data.lm, rnas, self._registry, path)

        self._once("candidate", _CANDIDATE, make, load_dictionary)
        return self._ledger.folder / _CANDIDATE

    def _publish(self, candidate: Path) -> Published:
        def make(path: Path) -> None:
            write_json(path, publish(candidate, self._registry)._asdict())

        return self._once("publish", "published.json", make, _read_published)

    def _once(
        self,
        name: str,
        result: str,
        make: Callable[[Path], None],
        load: Callable[[Path], T],
    ) -> T:
        return self._ledger.once(name, self._inputs[name], result, make, load)

    def _outcome(
        self, failed: Sequence[Gate], published: Published | None, is_known: bool
    ) -> Outcome:
        candidate = self._ledger.folder / _CANDIDATE
        return Outcome(self.plan.name, published, tuple(failed), candidate, is_known)


def _read_gates(path: Path) -> tuple[Gate, ...]:
    try:
        return tuple(Gate(**fields) for fields in read_json(path))
    except TypeError as error:
        raise CorruptArtefactError(path, "does not hold gates") from error


def _read_published(path: Path) -> Published:
    try:
        return Published(**read_json(path))
    except TypeError as error:
        raise CorruptArtefactError(path, "does not say what was published") from error
