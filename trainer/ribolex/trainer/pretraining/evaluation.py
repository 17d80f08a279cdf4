"""Measures all that the card says of a language model, beside its baselines.

Letters, retrieval and structure, all on families that it never saw. What needs no
model, and what a random twin gives, is worked out once if the caller keeps it in a
file. Knows nothing of how figures are shown.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import TypeAdapter

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel, Precision
from ribolex.rna import Rna, read_alignment_rows, read_rnas
from ribolex.rna.local_alignment import LETTERS
from ribolex.trainer.pretraining.breakdown import LetterRow, break_down
from ribolex.trainer.pretraining.kept import KeptResults
from ribolex.trainer.pretraining.launch import spread
from ribolex.trainer.pretraining.objective import PretrainingModel
from ribolex.trainer.pretraining.probes import (
    ProbeScore,
    choose_probe_rnas,
    probe_layers,
    probe_windows,
)
from ribolex.trainer.pretraining.rankings import (
    by_alignment,
    by_letters,
    by_means,
    by_words,
    encode,
    fit_projections,
    represent,
)
from ribolex.trainer.pretraining.retrieval import (
    CasePlan,
    Cases,
    Ranker,
    RetrievalScores,
    build_cases,
    score_rankings,
)

Note = Callable[[str, int, int], None]
SCORES_FILE = "scores.json"
_NAME = "representation"
_WORD_LENGTHS = (4, 5, 6)


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """The tables that a model is measured on."""

    training: Path
    """RNAs of training families: context models, probes, database."""
    validation: Path
    """RNAs of families that the model never saw."""
    aligned: Path
    """Alignment rows of the validation families."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """How much is measured; the defaults are the card's."""

    cases: CasePlan = CasePlan(n_queries=400)
    width: int = 96
    """Whitened principal components that the representation is projected on."""
    plain_width: int = 8
    """Components of the random twin that are aligned as they are, too."""
    projection_nucleotides: int = 100_000
    probe_nucleotides: int = 150_000
    """Fitted on so many, scored on half as many."""
    letter_rnas: int | None = None
    """Validation RNAs whose letters are predicted; None for all that fit."""
    is_quick: bool = False
    """Told with the scores: figures to compare models with each other only."""


QUICK = EvaluationPlan(
    cases=CasePlan(longest=256, n_queries=100, members=8, n_others=1200),
    projection_nucleotides=20_000,
    probe_nucleotides=30_000,
    letter_rnas=300,
    is_quick=True,
)
"""Minutes on one core, to compare checkpoints: its figures are not the card's."""


@dataclass(frozen=True, slots=True)
class LmScores:
    """All that was measured of one model; what `scores.json` holds."""

    name: str
    digest: str
    is_quick: bool
    n_database: int
    n_nucleotides: int
    """Of the database."""
    width: int
    """Whitened components that were aligned."""
    plain_width: int
    """Components of the twin that were aligned not whitened."""
    letters: list[LetterRow]
    baselines: dict[str, RetrievalScores]
    """Retrieval without a model, by method."""
    model: dict[str, RetrievalScores]
    """Retrieval with the model, by method."""
    twin: dict[str, RetrievalScores]
    """The same with a randomly initialised model of the same size."""
    dictionary: str
    """Whose codes were aligned; empty if none was given."""
    window_probe: ProbeScore
    probes: list[ProbeScore]
    """Layer by layer."""
    twin_probes: list[ProbeScore]


_SCORES = TypeAdapter(LmScores)
_adapter = TypeAdapter(dict[str, RetrievalScores])
_RETRIEVAL = _adapter.validate_json, _adapter.dump_json
_probe = TypeAdapter(ProbeScore)
_PROBE = _probe.validate_json, _probe.dump_json
_probes = TypeAdapter(list[ProbeScore])
_PROBES = _probes.validate_json, _probes.dump_json


def write_scores(path: Path, scores: LmScores) -> None:
    """Writes scores as JSON."""
    path.write_bytes(_SCORES.dump_json(scores, indent=1) + b"\n")


def read_scores(path: Path) -> LmScores:
    """Returns the scores that `write_scores` wrote."""
    return _SCORES.validate_json(path.read_bytes())


def evaluate_lm(
    lm: LanguageModel,
    twin: LanguageModel,
    data: EvaluationData,
    plan: EvaluationPlan,
    kept: KeptResults,
    dictionary: Dictionary | None = None,
    note: Note | None = None,
) -> LmScores:
    """Returns everything that is measured of a model.

    Takes minutes (`QUICK`) to hours (the default plan) on one core.

    Args:
        lm: the model.
        twin: its random twin.
        data: tables to measure on.
        plan: how much is measured.
        kept: where results that do not depend on the model's weights are found again.
        dictionary: whose codes are aligned too; made for this model.
        note: told a stage's name, and how much of it is done of how much.

    Raises:
        CorruptInputError: a table cannot be read, or lacks an alignment row.
        IncompatibleDictionaryError: the dictionary was made for another model.
    """
    training = list(read_rnas(data.training))
    validation = list(read_rnas(data.validation))
    cases = build_cases(
        training, validation, read_alignment_rows(data.aligned), plan.cases
    )
    key = _key(data, plan)
    twin_key = f"{key} {twin.digest}"
    sample = choose_probe_rnas(training, plan.projection_nucleotides, seed=1).sequences
    fitted, held_out = (
        choose_probe_rnas(rnas, n, plan.cases.longest)
        for rnas, n in (
            (training, plan.probe_nucleotides),
            (validation, plan.probe_nucleotides // 2),
        )
    )
    layers = list(range(1, lm.config.n_layers + 1))
    return LmScores(
        name=lm.name,
        digest=lm.digest,
        is_quick=plan.is_quick,
        n_database=len(cases.database),
        n_nucleotides=sum(map(len, cases.database)),
        width=plan.width,
        plain_width=plan.plain_width,
        letters=break_down(lm, twin, training, _spread(validation, plan.letter_rnas)),
        baselines=kept.recall(
            f"baselines {key}", *_RETRIEVAL, lambda: _rank_without_model(cases, note)
        ),
        model=_rank_with_model(lm, cases, sample, plan, note, dictionary),
        twin=kept.recall(
            f"twin {twin_key}",
            *_RETRIEVAL,
            lambda: _rank_with_twin(twin, cases, sample, plan, note),
        ),
        dictionary="" if dictionary is None else dictionary.ref,
        window_probe=kept.recall(
            f"windows {key}", *_PROBE, lambda: probe_windows(fitted, held_out)
        ),
        probes=probe_layers(lm, fitted, held_out, layers),
        twin_probes=kept.recall(
            f"twin probes {twin_key}",
            *_PROBES,
            lambda: probe_layers(twin, fitted, held_out, layers),
        ),
    )


def random_twin(
    lm: LanguageModel,
    *,
    seed: int = 0,
    device: str = "cpu",
    precision: Precision = "float32",
) -> LanguageModel:
    """Returns a model of the same sizes with the weights that training begins with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PretrainingModel(lm.config, 1, None).network
    return LanguageModel(network, f"random twin of {lm.name}", device, precision)


def _rank_without_model(cases: Cases, note: Note | None) -> dict[str, RetrievalScores]:
    out = _rank(cases, by_letters(cases.database), "letters", note)
    for k in _WORD_LENGTHS:
        out |= _rank(cases, by_words(cases.database, k), f"{k}-mers", note)
    return out


def _rank_with_model(
    lm: LanguageModel,
    cases: Cases,
    sample: Sequence[str],
    plan: EvaluationPlan,
    note: Note | None,
    dictionary: Dictionary | None,
) -> dict[str, RetrievalScores]:
    white, _ = fit_projections(lm, sample, plan.width, plan.plain_width)
    told = _told(f"run {lm.name}", note)
    (arrays,), means = represent(lm, cases.database, [white], told)
    stage = f"rank by {lm.name}"
    out = _rank(cases, by_alignment(arrays, _NAME), stage, note)
    out |= _rank(cases, by_means(means, _NAME), f"{stage}, means", note)
    if dictionary is not None:
        del arrays
        codes = encode(lm, dictionary, cases.database, _told("encode", note))
        out |= _rank(cases, by_alignment(codes, "codes"), "rank by codes", note)
    return out


def _rank_with_twin(
    twin: LanguageModel,
    cases: Cases,
    sample: Sequence[str],
    plan: EvaluationPlan,
    note: Note | None,
) -> dict[str, RetrievalScores]:
    """Returns the scores of what the model is put to, and of fewer plain components.

    The first few components of a random network are all that varies: they tell the
    letter. Aligned as they are, they are letters by another name, and a rival.
    """
    projections = fit_projections(twin, sample, plan.width, plan.plain_width)
    told = _told(f"run {twin.name}", note)
    (white, plain), means = represent(twin, cases.database, projections, told)
    stage = f"rank by {twin.name}"
    out = _rank(cases, by_alignment(white, _NAME), stage, note)
    out |= _rank(cases, by_means(means, _NAME), f"{stage}, means", note)
    plain_name = f"{_NAME} not whitened"
    return out | _rank(cases, by_alignment(plain, plain_name), f"{stage}, plain", note)


def _rank(
    cases: Cases, ranker: Ranker, stage: str, note: Note | None
) -> dict[str, RetrievalScores]:
    return score_rankings(cases, ranker, _told(stage, note))


def _told(stage: str, note: Note | None) -> Callable[[int, int], None] | None:
    return None if note is None else partial(note, stage)


def _spread(rnas: Sequence[Rna], n: int | None) -> Sequence[Rna]:
    return rnas if n is None else spread(rnas, n)


def _key(data: EvaluationData, plan: EvaluationPlan) -> str:
    """Returns what all results that need no model depend on."""
    digest = hashlib.sha256(f"{plan} {LETTERS}".encode())
    for path in (data.training, data.validation, data.aligned):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
