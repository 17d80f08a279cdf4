"""The whole of an alignment model: directions, scoring, states, chance.

Knows nothing of registries or of the command line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ribolex.dictionary import AlignmentModel, Codes, Dictionary
from ribolex.dictionary.alignment import N_CLUSTERS
from ribolex.errors import IncompatibleDictionaryError, InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.rna.extreme_value import ExtremeValue, calibrate
from ribolex.rna.local_alignment import NucleotideArrays, align_locally
from ribolex.rna.shuffle import shuffle
from ribolex.trainer.alignment.metric import whiten
from ribolex.trainer.alignment.relatives import Relatives
from ribolex.trainer.alignment.scoring import START, Trial, Tried, search
from ribolex.trainer.alignment.states import cluster
from ribolex.trainer.lineage import encode_rnas

Note = Callable[[str, int, int], None]
"""Is told a step, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class AlignmentPlan:
    """How much an alignment model is learned from."""

    width: int = 32
    """Numbers of a vector. Of 32, 64 and 96 none found more relatives."""
    n_nucleotides: int = 150_000
    """For directions and states, at most."""
    n_decoys: int = 500
    """Real RNAs of other families that relatives are told from, beside shuffled."""
    n_unrelated: int = 1000
    """Queries, shuffled and reversed, and as many targets, that chance is fitted to."""
    seed: int = 0


class Learned(NamedTuple):
    """An alignment model and what was seen when it was learned."""

    model: AlignmentModel
    tried: Sequence[Tried]
    """Scorings, each better than the one before; empty if there were no relatives."""
    n_relatives: int


def learn_alignment(
    dictionary: Dictionary,
    lm: LanguageModel,
    sequences: Sequence[str],
    relatives: Relatives | None,
    plan: AlignmentPlan,
    note: Note,
) -> Learned:
    """Returns an alignment model for the codes of a dictionary.

    Args:
        dictionary: of nucleotides.
        lm: the model that it was made for.
        sequences: RNAs of many families.
        relatives: to learn the scoring from, of other families than `sequences`; best
            of families that the language model was not trained on, since features
            look better than they are on others. Without any the scoring is the one
            that served best elsewhere.
        plan: how much is used.
        note: is told each step.

    Raises:
        IncompatibleDictionaryError: it is of another model, or of whole RNAs.
        InvalidRequestError: no RNAs.
    """
    identity = dictionary.identity
    dictionary.check_lm(lm.digest)
    if identity.level != "nucleotide":
        raise IncompatibleDictionaryError(
            dictionary.ref, "level", identity.level, "nucleotide"
        )
    if not sequences:
        raise InvalidRequestError("sequences", "none, expected RNAs of many families")
    generator = np.random.default_rng(plan.seed)
    encoder = _Encoder(dictionary, lm)
    sample = _cut(sequences, plan.n_nucleotides)
    codes = encoder.codes(sample, lambda done, of: note("codes", done, of))
    directions = whiten(dictionary.sae, codes, plan.width)
    blank = AlignmentModel(
        directions,
        1.0,
        START.letters,
        START.gap_open,
        START.gap_extend,
        np.zeros((4, N_CLUSTERS, directions.shape[1]), np.float32),
        ExtremeValue(1.0, 0.0, 1.0, 1.0),
    )
    tried: Sequence[Tried] = []
    scoring = START
    if relatives is not None:
        decoys = [
            sequences[i] for i in generator.permutation(len(sequences))[: plan.n_decoys]
        ]
        trial = _trial(encoder, blank, relatives, decoys)
        tried = search(trial, lambda done, of: note("scoring", done, of))
        scoring = tried[-1].scoring
    model = replace(
        blank,
        similarity=max(scoring.similarity, 0.0),
        letters=scoring.letters,
        gap_open=scoring.gap_open,
        gap_extend=scoring.gap_extend,
    )
    letters = NucleotideArrays.of_sequences(sample).letters
    centroids = cluster(letters, model.vectors(codes), np.random.default_rng(plan.seed))
    model = replace(model, centroids=centroids)
    statistics = _calibrate(encoder, model, sequences, plan, generator, note)
    n_relatives = 0 if relatives is None else len(relatives.queries)
    return Learned(replace(model, statistics=statistics), tried, n_relatives)


class _Encoder:
    """Codes and vectors of RNAs."""

    def __init__(self, dictionary: Dictionary, lm: LanguageModel) -> None:
        self._dictionary, self._lm = dictionary, lm

    def codes(
        self,
        sequences: Sequence[str],
        note: Callable[[int, int], None] = lambda done, of: None,
    ) -> Codes:
        """Returns the codes of all nucleotides."""
        found = self._dictionary
        return encode_rnas(self._lm, found.sae, sequences, found.identity, note)

    def arrays(
        self, model: AlignmentModel, sequences: Sequence[str]
    ) -> NucleotideArrays:
        """Returns RNAs with their vectors."""
        vectors = model.vectors(self.codes(sequences))
        return NucleotideArrays.of_sequences(sequences, vectors)


def _cut(sequences: Sequence[str], n_nucleotides: int) -> list[str]:
    """Returns the first of the RNAs, of so many nucleotides together; at least one."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    n = int(np.searchsorted(ends, n_nucleotides, "right"))
    return list(sequences[: max(n, 1)])


def _trial(
    encoder: _Encoder,
    model: AlignmentModel,
    relatives: Relatives,
    unrelated: Sequence[str],
) -> Trial:
    counts: dict[str, int] = {}
    for family in relatives.families:
        counts[family] = counts.get(family, 0) + 1
    weights = np.array([1 / counts[family] for family in relatives.families])
    return Trial(
        encoder.arrays(model, relatives.queries),
        encoder.arrays(model, relatives.targets),
        encoder.arrays(model, [*relatives.decoys, *unrelated]),
        weights / weights.sum(),
    )


def _calibrate(
    encoder: _Encoder,
    model: AlignmentModel,
    sequences: Sequence[str],
    plan: AlignmentPlan,
    generator: np.random.Generator,
    note: Note,
) -> ExtremeValue:
    """Returns the statistics of queries that are related to nothing."""
    drawn, targets = (
        [
            sequences[i]
            for i in generator.permutation(len(sequences))[: plan.n_unrelated]
        ]
        for _ in range(2)
    )
    queries = [
        shuffle(sequence, generator) if i % 2 else sequence[::-1]
        for i, sequence in enumerate(drawn)
    ]

    def score(
        ours: Sequence[str], theirs: Sequence[str]
    ) -> Float32[np.ndarray, "query target"]:
        queries = encoder.arrays(model, ours)
        targets = encoder.arrays(model, theirs)
        out = np.empty((len(ours), len(theirs)), np.float32)
        for i in range(len(ours)):
            out[i] = align_locally(queries.take(np.array([i])), targets, model).scores
            note("chance", i + 1, len(ours))
        return out

    return calibrate(score, queries, targets)
