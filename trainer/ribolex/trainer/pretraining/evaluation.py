"""Measures all that the card says of a language model, beside its baselines.

Letters, structure and retrieval, all on families that it never saw. Every part is
worked out once if the caller keeps results in a file: a run that was killed goes on,
and the next model finds the baselines. Knows nothing of how figures are shown.
"""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from pydantic import TypeAdapter

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel, Precision
from ribolex.rna import read_alignment_rows, read_rnas
from ribolex.rna.local_alignment import LETTERS, LETTERS_WITH_VECTORS, VECTORS
from ribolex.trainer.corpus import Part, open_corpus
from ribolex.trainer.pretraining.breakdown import LetterRow, break_down
from ribolex.trainer.pretraining.kept import KeptResults
from ribolex.trainer.pretraining.launch import spread
from ribolex.trainer.pretraining.objective import PretrainingModel
from ribolex.trainer.pretraining.probes import (
    LayerProbes,
    ProbeRnas,
    ProbeScore,
    choose_probe_rnas,
    probe_windows,
)
from ribolex.trainer.pretraining.relatives import Comparison, Note
from ribolex.trainer.pretraining.retrieval import (
    CasePlan,
    RetrievalScores,
    build_cases,
)

SCORES_FILE = "scores.json"
_VERSION = 2
"""Of how things are measured: what was kept by another is not found again."""


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """The tables that a model is measured on."""

    training: Path
    """RNAs of training families: context models, probes, database."""
    validation: Path
    """RNAs of families that the model never saw."""
    aligned: Path
    """Alignment rows of the validation families."""

    @classmethod
    def of_corpus(cls, folder: Path, part: Part) -> "EvaluationData":
        """Returns the files of a corpus, one of whose parts is measured on.

        Raises:
            CorruptArtefactError: the corpus is not what was written.
            InvalidRequestError: it lacks RNAs, or the alignment rows of the part.
        """
        corpus = open_corpus(folder)
        return cls(
            corpus.needed_table("train"),
            corpus.needed_table(part),
            corpus.needed_aligned(part),
        )


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
_rows = TypeAdapter(list[LetterRow])
_LETTERS = _rows.validate_json, _rows.dump_json
_probe_score = TypeAdapter(ProbeScore)
_PROBE = _probe_score.validate_json, _probe_score.dump_json


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

    Args:
        lm: the model.
        twin: its random twin.
        data: tables to measure on.
        plan: how much is measured.
        kept: where parts that were measured before are found again.
        dictionary: whose codes are aligned too; made for this model.
        note: told a stage's name, and how much of it is done of how much.

    Raises:
        CorruptInputError: a table cannot be read, or lacks an alignment row.
        IncompatibleDictionaryError: the dictionary was made for another model.
    """
    _check(dictionary, lm)
    training = list(read_rnas(data.training))
    validation = list(read_rnas(data.validation))
    rows = read_alignment_rows(data.aligned)
    cases = build_cases(training, validation, rows, plan.cases)
    key = _key(data, plan)
    model_key, twin_key = (f"{key} {one.digest} {one.dtype}" for one in (lm, twin))
    sample = choose_probe_rnas(training, plan.projection_nucleotides, seed=1).sequences
    compared = Comparison(cases, sample, plan.width, plan.plain_width, kept, key, note)
    n_fitted, longest = plan.probe_nucleotides, plan.cases.longest
    fitted = choose_probe_rnas(training, n_fitted, longest)
    held_out = choose_probe_rnas(validation, n_fitted // 2, longest)
    read = spread(validation, plan.letter_rnas) if plan.letter_rnas else validation
    return LmScores(
        name=lm.name,
        digest=lm.digest,
        is_quick=plan.is_quick,
        n_database=len(cases.database),
        n_nucleotides=sum(map(len, cases.database)),
        width=plan.width,
        plain_width=plan.plain_width,
        letters=kept.recall(
            f"letters: {model_key} {twin.digest}",
            *_LETTERS,
            lambda: break_down(lm, twin, training, read),
        ),
        baselines=compared.without_model(),
        model=compared.with_model(lm, dictionary),
        twin=compared.with_twin(twin),
        window_probe=kept.recall(
            f"windows: {key}", *_PROBE, lambda: probe_windows(fitted, held_out)
        ),
        probes=_probe(lm, fitted, held_out, kept, model_key),
        twin_probes=_probe(twin, fitted, held_out, kept, twin_key),
        dictionary="" if dictionary is None else dictionary.ref,
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


def _probe(
    lm: LanguageModel,
    fitted: ProbeRnas,
    held_out: ProbeRnas,
    kept: KeptResults,
    key: str,
) -> list[ProbeScore]:
    """Returns the scores of all layers' probes."""
    layers = list(range(1, lm.config.n_layers + 1))
    probes = LayerProbes(lm, fitted, held_out, layers)
    return [
        kept.recall(f"probe {layer}: {key}", *_PROBE, partial(probes.score, layer))
        for layer in layers
    ]


def _check(dictionary: Dictionary | None, lm: LanguageModel) -> None:
    if dictionary is not None:
        dictionary.check_lm(lm.digest)


def _key(data: EvaluationData, plan: EvaluationPlan) -> str:
    """Returns what all results depend on but the model."""
    scorings = LETTERS, VECTORS, LETTERS_WITH_VECTORS
    digest = hashlib.sha256(f"{_VERSION} {plan} {scorings}".encode())
    for path in (data.training, data.validation, data.aligned):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
