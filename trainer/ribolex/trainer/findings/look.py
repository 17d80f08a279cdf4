"""From dictionaries and tables of RNAs to what their features go with, and controls.

Knows nothing of the command line.
"""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel
from ribolex.trainer.activations import cache_activations
from ribolex.trainer.annotation import Note
from ribolex.trainer.annotation.measuring import Labelled, Steps, label, silent, weigh
from ribolex.trainer.annotation.significance import assess
from ribolex.trainer.evaluation.sample import Sample
from ribolex.trainer.findings.arms import Arm, Arms, Both
from ribolex.trainer.findings.best import find_best
from ribolex.trainer.findings.rows import Found, Where, add
from ribolex.trainer.findings.sampling import read_sample
from ribolex.trainer.findings.tables import Tables


@dataclass(frozen=True, slots=True)
class Look:
    """What features are looked at on."""

    rnas: Sequence[Path]
    """Tables."""
    held_out: Sequence[Path] = ()
    """Tables of other families; none: nothing is scored there."""
    n_nucleotides: int = 300_000
    """Of the former, about: `sampling` says which."""
    n_held_out: int = 100_000
    control_rows: int = 300_000
    """Rows that the fit of each control sees; 0 for no control that needs a fit."""
    seed: int = 0
    device: str = "cpu"


def look(
    dictionaries: Sequence[Dictionary],
    lm: LanguageModel,
    plan: Look,
    workdir: Path | None,
    note: Note,
) -> Tables:
    """Returns what the features of dictionaries and of their controls go with.

    Args:
        dictionaries: of one model, in the order in which they are to be shown.
        lm: that model.
        plan: what they are looked at on.
        workdir: where activations and fits are kept for a second run; None for nowhere.
        note: is told each step, how much of it is done, and of how much.

    Raises:
        CorruptInputError, InvalidSequenceError: a table is not what it should be.
        IncompatibleDictionaryError: a dictionary is of another model.
        InvalidRequestError: no RNA fits the model, or a structure is none.
    """
    if workdir is None:
        with tempfile.TemporaryDirectory() as folder:
            return look(dictionaries, lm, plan, Path(folder), note)
    workdir.mkdir(parents=True, exist_ok=True)
    for dictionary in dictionaries:
        dictionary.check_lm(lm.digest)
    rnas = Both(
        read_sample(plan.rnas, lm, plan.n_nucleotides, plan.seed),
        read_sample(plan.held_out, lm, plan.n_held_out, plan.seed)
        if plan.held_out
        else [],
    )
    arms = Arms.of(lm, rnas, plan.control_rows, workdir, plan.device, note, plan.seed)
    _cache(dictionaries, arms)
    tables = Tables()
    for part, each in zip(("", "held-out "), rnas, strict=True):
        tables.basis[f"{part}RNAs"] = len(each)
        tables.basis[f"{part}nucleotides"] = sum(len(rna.sequence) for rna in each)
    for dictionary in dictionaries:
        labelled: dict[int, tuple[Sample, Labelled]] = {}
        for arm in arms.make(dictionary):
            told = partial(note, f"{dictionary.name}, {arm.name}")
            where = Where(dictionary.ref, dictionary.identity.layer, arm.name, arm.what)
            add(tables, where, _find(arm, labelled, told))
    return tables


class _Told(NamedTuple):
    """Steps of one arm as thirds of one bar."""

    tell: "partial[None]"

    def steps(self, first: int) -> Steps:
        def told(done: int, total: int) -> None:
            self.tell(first * 1000 + 1000 * done // max(total, 1), 3000)

        def walked(done: int, total: int) -> None:
            self.tell((first + 1) * 1000 + 1000 * done // max(total, 1), 3000)

        return Steps(told, walked if first == 0 else silent, silent)


def _find(
    arm: Arm, labelled: dict[int, tuple[Sample, Labelled]], told: "partial[None]"
) -> Found:
    """Returns what an arm's features go with; labels RNAs that it meets first."""

    def on(sample: Sample) -> Labelled:
        if id(sample) not in labelled:
            labelled[id(sample)] = sample, label(sample.rnas, sample.read)
        return labelled[id(sample)][1]

    bar = _Told(told)
    described = on(arm.described)
    steps = bar.steps(0)
    firings = arm.fires(described.material, described.activations, steps.encode)
    measured = weigh(firings, described, steps)
    tests = assess(measured, described.material)
    best = []
    if arm.held_out is not None:
        best = find_best(arm.fires, measured, tests, on(arm.held_out), bar.steps(2))
    told(1, 1)
    return Found(described, measured, tests, best)


def _cache(dictionaries: Sequence[Dictionary], arms: Arms) -> None:
    """Computes the activations of all layers at once: a model goes over RNAs once."""
    layers: dict[tuple[str, str], set[int]] = defaultdict(set)
    for dictionary in dictionaries:
        own = dictionary.identity
        layers[own.hook, own.level].add(own.layer)
        if own.target is not None:
            layers[own.hook, own.level].add(own.target.layer)
    for dictionary in dictionaries:
        own = dictionary.identity
        wanted = sorted(layers.pop((own.hook, own.level), ()))
        for lm, rnas in (
            (arms.lm, arms.rnas),
            (arms.lm, arms.shuffled),
            (arms.twin, arms.rnas),
        ):
            for each in rnas:
                if lm is not None and wanted and each:
                    told = partial(arms.note, "activations")
                    cache_activations(
                        lm, each, wanted, own.hook, arms.folder, told, own.level
                    )
