"""A run: every dictionary of a configuration, from the corpus to the registry.

Knows nothing of when runs are wanted, or of how they are shown.
"""

import fcntl
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from ribolex.errors import InvalidRequestError, RibolexError
from ribolex.lm import LanguageModel, find_device, load_lm
from ribolex.registry import Registry, open_registry
from ribolex.trainer.data import DataPlan, TrainingData
from ribolex.trainer.evaluation import EvaluationPlan
from ribolex.trainer.fit import FitPlan
from ribolex.trainer.ledger import remove
from ribolex.trainer.pipeline import Outcome, Progress, Training
from ribolex.trainer.plan import TrainPlan
from ribolex.trainer.process.config import DictionaryConfig, TrainerConfig
from ribolex.trainer.process.corpora import Tables, prepare
from ribolex.trainer.process.reporting import Reporter
from ribolex.trainer.publish import GateLimits
from ribolex.trainer.ranks import first_says, n_ranks, on_first, rank
from ribolex.trainer.stopping import Stop

log = logging.getLogger(__name__)

ExitCode = Literal[0, 1, 3]
ACTIVATIONS, DICTIONARIES, LOCK = "activations", "dictionaries", ".lock"


class Failure(NamedTuple):
    """That a dictionary could not be made."""

    name: str
    error: Exception


class Trainer:
    """Makes what a configuration says; one a work folder, several ranks of one.

    Every rank makes the same calls. Only the first writes, publishes and reports.
    """

    def __init__(
        self, config: TrainerConfig, device: str, reporter: Reporter, stop: Stop
    ) -> None:
        """Opens the registry; the model is read when it is first needed.

        `tables` are those of the last run.

        Args:
            config: what to make.
            device: of this rank.
            reporter: is told everything; on the first rank.
            stop: asks for an early end.

        Raises:
            InvalidRequestError: the device is not here.
        """
        find_device(device)
        self.config, self.reporter, self.stop = config, reporter, stop
        self.registry: Registry = open_registry(config.registry)
        self._device = device
        self._lm: LanguageModel | None = None
        self.tables: Tables | None = None

    @property
    def lm(self) -> LanguageModel:
        """The language model."""
        if self._lm is None:
            model = self.config.model
            self._lm = load_lm(
                model.name, device=self._device, precision=model.precision
            )
        return self._lm

    def plans(self) -> list[TrainPlan]:
        """Returns what decides each dictionary."""
        gates = self.config.gates.model_dump()
        limits = {name: None if v is False else v for name, v in gates.items()}
        evaluation = EvaluationPlan(**self.config.evaluation.model_dump())
        return [
            self._plan(each, GateLimits(**limits), evaluation)
            for each in self.config.dictionaries()
        ]

    def find_tables(self) -> Tables:
        """Returns the tables of RNAs, a corpus being built where that is wanted."""

        def tell(stage: str, done: int, total: int) -> None:
            self.reporter.progress(Progress(stage, done, total))

        return prepare(self.config.corpus, self.config.workdir, tell)

    def run(self) -> list[Outcome | Failure]:
        """Makes all dictionaries that are not made, one after the other.

        Whatever goes wrong with one keeps none of the others from being made.

        Returns:
            What came of each; on other ranks than the first, of none.

        Raises:
            RibolexError: what all dictionaries need cannot be had.
            Stopped: that was wished.
        """
        began = time.monotonic()
        names = [each.name for each in self.config.dictionaries()]
        self.reporter.tell(
            "run", dictionaries=names, registry=str(self.registry), ranks=n_ranks()
        )
        on_first(self.find_tables)
        self.tables = self.find_tables()
        self.reporter.end_stage()
        data = TrainingData(self._data_plan(self.tables), self.lm)
        trainings = [
            Training(plan, data, self.registry, self._folder(plan.name))
            for plan in self.plans()
        ]
        known = [each.known() if rank() == 0 else None for each in trainings]
        is_known = [first_says(found is not None) for found in known]
        left = [t for t, done in zip(trainings, is_known, strict=True) if not done]
        if left:
            self._collect(data, left)
        results: list[Outcome | Failure] = []
        for training, before in zip(trainings, known, strict=True):
            found = self._make(training) if training in left else before
            if found is not None:
                results.append(found)
                self._tell(found)
        counts = count(results)
        self.reporter.tell("end", seconds=round(time.monotonic() - began, 3), **counts)
        return results

    def _collect(self, data: TrainingData, trainings: Sequence[Training]) -> None:
        folder = self.config.workdir / ACTIVATIONS / data.key()
        readings = [each.plan.reading for each in trainings]

        def told(stage: str, done: int, total: int) -> None:
            self.reporter.progress(Progress(stage, done, total))

        def collect() -> None:
            for old in folder.parent.glob("*"):
                if old != folder:
                    remove(old)  # of RNAs that are not trained on any more
            data.collect(readings, folder, told)

        on_first(collect)
        self.reporter.end_stage()
        if rank() > 0:
            data.collect(readings, folder, lambda *_: None)

    def _make(self, training: Training) -> Outcome | Failure | None:
        try:
            return training.run(self.reporter.progress, self.stop)
        except Exception as error:  # the others are still to be made
            if n_ranks() > 1:
                raise  # another rank may wait in the midst of a fit
            if not isinstance(error, RibolexError | OSError):
                log.exception("dictionary %s failed", training.plan.name)
            return Failure(training.plan.name, error)

    def _tell(self, found: Outcome | Failure) -> None:
        tell, name = self.reporter.tell, found.name
        if isinstance(found, Failure):
            tell("failed", dictionary=name, error=describe_error(found.error))
            return
        for gate in found.failed:
            tell(
                "gate_failed",
                dictionary=name,
                gate=gate.metric,
                got=gate.got,
                limit=gate.limit,
                bound=gate.bound,
                candidate=str(found.candidate),
            )
        if found.published is not None:
            kind: Literal["published", "unchanged"] = (
                "published" if found.published.is_new else "unchanged"
            )
            tell(kind, dictionary=name, ref=found.published.ref)

    def _folder(self, name: str) -> Path:
        return self.config.workdir / DICTIONARIES / name

    def _data_plan(self, tables: Tables) -> DataPlan:
        chosen = self.config.activations
        return DataPlan(
            rnas=tables.train,
            validation=tables.validation,
            n_nucleotides=chosen.nucleotides,
            n_held_out=chosen.held_out_nucleotides,
            source=chosen.source,
            n_described=chosen.described_nucleotides,
            budget_bytes=chosen.budget_mib * 2**20,
            seed=chosen.seed,
        )

    def _plan(
        self, said: DictionaryConfig, limits: GateLimits, evaluation: EvaluationPlan
    ) -> TrainPlan:
        model = self.lm.config
        target: Literal["same", "layer", "difference"] = "same"
        if said.target_layer is not None:
            target = "difference" if said.difference else "layer"
        layer = said.layer or (model.n_layers + 1) // 2
        for found in (layer, said.target_layer or layer):
            if found > model.n_layers:
                raise InvalidRequestError(
                    f"layer of {said.name}", f"{found}, expected 1 to {model.n_layers}"
                )
        fit = FitPlan(
            n_features=said.features or said.expansion * model.d_model,
            k=said.k,
            n_rows=said.tokens,
            batch_rows=said.batch_rows,
            objective=said.objective,
            target=target,
            scale=said.scale,
            orthogonality=said.orthogonality,
            l1=said.l1,
            learning_rate=said.learning_rate,
            seed=said.seed,
            device=self._device,
            checkpoint_steps=said.checkpoint_steps,
        )
        return TrainPlan(
            name=said.name,
            layer=layer,
            fit=fit,
            target_layer=said.target_layer,
            hook=said.hook,
            level=said.level,
            licence=said.licence,
            limits=limits,
            evaluation=evaluation,
        )


@contextmanager
def alone_in(workdir: Path) -> Iterator[None]:
    """Holds a work folder against other trainers, until the process ends at the latest.

    Raises:
        InvalidRequestError: another one is at work there.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / LOCK).open("a") as file:
        if rank() == 0:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InvalidRequestError(
                    "workdir",
                    f"another trainer is at work in {workdir}; wait for it or stop it",
                ) from error
        yield


def count(results: Sequence[Outcome | Failure]) -> dict[str, int]:
    """Returns how many dictionaries came to which end."""
    made = [each for each in results if isinstance(each, Outcome)]
    new = [each for each in made if each.published and each.published.is_new]
    failed = [each for each in made if each.failed]
    return {
        "published": len(new),
        "unchanged": len(made) - len(new) - len(failed),
        "gate_failed": len(failed),
        "failed": len(results) - len(made),
    }


def exit_code(results: Sequence[Outcome | Failure]) -> ExitCode:
    """Returns 0 if all is published, 1 if anything broke, 3 if a gate failed."""
    if any(isinstance(each, Failure) for each in results):
        return 1
    if any(isinstance(each, Outcome) and each.failed for each in results):
        return 3
    return 0


def describe_error(error: Exception) -> str:
    """Returns what went wrong, in one line."""
    said = str(error) or type(error).__name__
    if isinstance(error, RibolexError | OSError):
        return said
    return f"{type(error).__name__}: {said}"
