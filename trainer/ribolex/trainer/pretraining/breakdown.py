"""Letter prediction by RNA type and by pairing, beside the baselines.

Every model is scored at the same letters. Knows nothing of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from ribolex.lm import MAX_NUCLEOTIDES, LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.pretraining.scores import (
    ContextModel,
    LetterPredictions,
    LetterScore,
    choose_letters,
    predict_letters,
    spoil,
)

_LONGEST_REACH = 4
_FEWEST_LETTERS = 200


@dataclass(frozen=True, slots=True)
class LetterRow:
    """Cross-entropy (nats) and accuracy of one group of letters."""

    group: str
    """"all", "paired", "unpaired" or a type of RNA."""
    n_nucleotides: int
    lm: float
    """Cross-entropy with letters spoiled as in training."""
    lm_accuracy: float
    lm_masked: float
    """Cross-entropy with all chosen letters masked."""
    lm_masked_accuracy: float
    context: float
    """Cross-entropy of the context model that is best over all letters."""
    context_accuracy: float
    reach: int
    """Letters a side that this context model looks at."""
    unigram: float
    twin_masked: float
    """Cross-entropy of a randomly initialised model, all chosen letters masked."""


class _Group(NamedTuple):
    name: str
    kept: Bool[np.ndarray, " nucleotide"]


def break_down(
    lm: LanguageModel,
    twin: LanguageModel,
    training: Sequence[Rna],
    validation: Sequence[Rna],
) -> list[LetterRow]:
    """Returns the scores of all letters, of paired and unpaired ones, and by type.

    Pairing is told where an RNA's structure keeps a pair. Types with fewer than 200
    chosen letters are left out.

    Args:
        lm: what is measured.
        twin: its randomly initialised twin.
        training: what the context models are counted on.
        validation: what letters are chosen in; RNAs beyond the context are left out.
    """
    held_out = [rna for rna in validation if len(rna.sequence) <= MAX_NUCLEOTIDES]
    sequences = [rna.sequence for rna in held_out]
    chosen = choose_letters(sequences)
    contexts = [
        (model.predict(sequences, chosen), model.reach)
        for model in ContextModel.of_every_reach(
            [rna.sequence for rna in training], _LONGEST_REACH
        )
    ]
    context, reach = min(contexts, key=lambda pair: pair[0].score().cross_entropy)
    predictions = _Predictions(
        predict_letters(lm, sequences, chosen, spoil(sequences, chosen)),
        predict_letters(lm, sequences, chosen),
        context,
        contexts[0][0],
        predict_letters(twin, sequences, chosen),
    )
    return [
        predictions.row(group.name, group.kept, reach)
        for group in _groups(held_out, chosen)
    ]


class _Predictions(NamedTuple):
    lm: LetterPredictions
    lm_masked: LetterPredictions
    context: LetterPredictions
    unigram: LetterPredictions
    twin_masked: LetterPredictions

    def row(
        self, group: str, kept: Bool[np.ndarray, " nucleotide"], reach: int
    ) -> LetterRow:
        scores: list[LetterScore] = [predictions.score(kept) for predictions in self]
        lm, masked, context, unigram, twin = scores
        return LetterRow(
            group,
            lm.n_nucleotides,
            *(lm.cross_entropy, lm.accuracy),
            *(masked.cross_entropy, masked.accuracy),
            *(context.cross_entropy, context.accuracy),
            reach,
            unigram.cross_entropy,
            twin.cross_entropy,
        )


def _groups(rnas: Sequence[Rna], chosen: Sequence[Sequence[int]]) -> list[_Group]:
    signs = [
        (rna.structure or "")[place] if "(" in (rna.structure or "") else "?"
        for rna, places in zip(rnas, chosen, strict=True)
        for place in places
    ]
    types = np.array(
        [
            _type_of(rna)
            for rna, places in zip(rnas, chosen, strict=True)
            for _ in places
        ]
    )
    pairing = np.array(signs)
    groups = [
        _Group("all", np.ones(len(pairing), bool)),
        _Group("paired", np.isin(pairing, ["(", ")"])),
        _Group("unpaired", pairing == "."),
        *(_Group(name, types == name) for name in np.unique(types).tolist()),
    ]
    return [
        group
        for group in groups
        if group.name == "all" or group.kept.sum() >= _FEWEST_LETTERS
    ]


def _type_of(rna: Rna) -> str:
    """Returns the first two levels of Rfam's type: "Gene;snRNA"."""
    kind = rna.metadata.get("type", "")
    return ";".join([word for word in kind.split(";") if word][:2]) or "no type"
