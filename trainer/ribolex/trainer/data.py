"""The RNAs of a run and their activations: chosen once, for all its dictionaries.

Knows nothing of what is trained on them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ribolex.dictionary.identity import Level
from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.trainer.activations import Activations, cache_activations
from ribolex.trainer.corpus import choose, digest, read_corpus
from ribolex.trainer.evaluation import Sample
from ribolex.trainer.ledger import Inputs, digest_of
from ribolex.trainer.ranks import n_ranks, rank
from ribolex.trainer.rows import (
    BUDGET_BYTES,
    DifferenceRows,
    PartRows,
    Rows,
    RowSource,
    open_rows,
)
from ribolex.trainer.streaming import StreamedRows

Source = Literal["cache", "model"]
"""Where the rows of a fit come from."""
Progress = Callable[[str, int, int], None]
"""Is told a stage, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class DataPlan:
    """Which RNAs of which tables, and where their rows come from."""

    rnas: Sequence[Path]
    """Tables of RNAs to train on."""
    validation: Path
    """Table of RNAs of other families, to measure on."""
    n_nucleotides: int = 4_000_000
    """At most so many of the tables are used, families taken in turn."""
    n_held_out: int = 300_000
    """Nucleotides of the validation table to measure on, at most."""
    source: Source = "cache"
    n_described: int = 1_000_000
    """With the source "model", features are described on so many nucleotides."""
    budget_bytes: int = BUDGET_BYTES
    """Memory for rows; with the source "model", of a pool."""
    seed: int = 0
    """Of the choice of RNAs."""


class Reading(NamedTuple):
    """Which activations a dictionary reads and rebuilds."""

    hook: Hook
    level: Level
    layer: int
    target_layer: int | None = None
    """Of a transcoder."""
    is_difference: bool = False
    """Whether it rebuilds the target layer less the one that is read."""

    @property
    def layers(self) -> list[int]:
        """The layer that is read, and the target's if there is one."""
        return [self.layer] if self.target_layer is None else [self.layer, self.target]

    @property
    def target(self) -> int:
        """The layer that is rebuilt, wholly or in part."""
        return self.layer if self.target_layer is None else self.target_layer


class TrainingData:
    """The RNAs of a run; their activations once they are collected."""

    def __init__(self, plan: DataPlan, lm: LanguageModel) -> None:
        """Reads the tables and chooses RNAs.

        Raises:
            CorruptInputError, InvalidSequenceError: a table is not what it should be.
            InvalidRequestError: no RNA that fits the model, or rows straight from the
                model for several processes.
        """
        if plan.source == "model" and n_ranks() > 1:
            raise InvalidRequestError(
                "activations.source", f'"model" for {n_ranks()} processes: use "cache"'
            )
        self.plan, self.lm = plan, lm
        longest = lm.max_nucleotides
        generator = np.random.default_rng(plan.seed)
        self.rnas = choose(
            read_corpus(plan.rnas, longest), plan.n_nucleotides, generator
        )
        self.held_out = choose(
            read_corpus([plan.validation], longest), plan.n_held_out, generator
        )
        for name, rnas in (("training", self.rnas), ("validation", self.held_out)):
            if not rnas:
                raise InvalidRequestError(name, "no RNA that fits the model")
        self.described = self.rnas
        if plan.source == "model":
            self.described = choose(self.rnas, plan.n_described, generator)
        self._found: dict[tuple[str, str, str], dict[int, Activations]] = {}

    def inputs(self) -> Inputs:
        """Returns what tells these RNAs and their activations from others."""
        return {
            "rnas": digest(self.rnas),
            "described": digest(self.described),
            "held_out": digest(self.held_out),
            "source": self.plan.source,
            "lm": self.lm.digest,
            "precision": str(self.lm.dtype).removeprefix("torch."),
        }

    def key(self) -> str:
        """Returns a short name of the RNAs, for a folder of their activations."""
        return digest_of([digest(self.described), digest(self.held_out)])[:16]

    def collect(
        self, readings: Sequence[Reading], folder: Path, progress: Progress
    ) -> None:
        """Computes all activations that are wanted, and are not in the folder yet.

        All layers of one hook and level come from one pass of the model.

        Raises:
            InvalidRequestError: a layer that the model does not have, or an activation
                that float16 cannot hold.
            OSError: the disk is full or gone.
        """
        kinds = sorted({(reading.hook, reading.level) for reading in readings})
        for stage, rnas in (
            ("validation", self.held_out),
            ("activations", self.described),
        ):

            def told(done: int, total: int, stage: str = stage) -> None:
                progress(stage, done, total)

            for hook, level in kinds:
                layers = {
                    layer
                    for reading in readings
                    if (reading.hook, reading.level) == (hook, level)
                    for layer in reading.layers
                }
                self._found[stage, hook, level] = cache_activations(
                    self.lm, rnas, sorted(layers), hook, folder, told, level
                )

    def source(self, reading: Reading, *, of_model: bool) -> RowSource:
        """Returns this rank's rows for a fit.

        Args:
            reading: which activations.
            of_model: whether they may come straight from the model, if that is planned.
        """
        if of_model and self.plan.source == "model":
            return StreamedRows(
                self.lm,
                self.rnas,
                reading.layers,
                reading.hook,
                reading.level,
                self.plan.budget_bytes,
            )
        found = self._found["activations", reading.hook, reading.level]
        rows = [found[layer].rows for layer in reading.layers]
        mine = [PartRows(each, rank(), n_ranks()) for each in rows]
        return open_rows(mine, self.plan.budget_bytes)

    def sample(self, reading: Reading, *, held_out: bool) -> Sample:
        """Returns collected RNAs with what a dictionary reads and rebuilds of them."""
        stage = "validation" if held_out else "activations"
        found = self._found[stage, reading.hook, reading.level]
        read = found[reading.layer]
        rebuilt: Rows = found[reading.target].rows
        if reading.is_difference:
            rebuilt = DifferenceRows(rebuilt, read.rows)
        return Sample(self.held_out if held_out else self.described, read, rebuilt)
