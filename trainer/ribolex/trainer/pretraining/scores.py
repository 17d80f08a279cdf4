"""Scores of letter prediction: a language model's, and context models' to beat.

All are taken at the same chosen nucleotides of the same RNAs, 15 % of each. A language
model is scored twice: with the chosen letters spoiled as in training (80 % masked,
10 % random, 10 % left), which is how masked language models are usually reported, and
with all of them masked, which leaves nothing to read off. Knows nothing of training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from ribolex.lm import LanguageModel, Replacement
from ribolex.rna import tokenise

_CHOSEN_SHARE = 0.15
_LETTERS = "ACGU"
_OUTSIDE = 4
_TOKENS = np.array([5, 6, 7, 8])
_SMOOTHING = 4.0


class LetterScore(NamedTuple):
    """How well letters were predicted."""

    cross_entropy: float
    """Mean, nats."""
    accuracy: float
    n_nucleotides: int


class LetterPredictions(NamedTuple):
    """What was predicted at chosen letters, RNA by RNA and from 5' to 3'."""

    log_p: Float64[np.ndarray, "nucleotide 4"]
    """Of A, C, G, U."""
    targets: Int64[np.ndarray, " nucleotide"]
    """The true letters, 0 to 3."""

    def score(self, kept: Bool[np.ndarray, " nucleotide"] | None = None) -> LetterScore:
        """Returns the score of all predictions, or of one or more that are kept."""
        part = slice(None) if kept is None else kept
        log_p, targets = self.log_p[part], self.targets[part]
        chosen = log_p[np.arange(len(targets)), targets]
        accuracy = float((log_p.argmax(axis=1) == targets).mean())
        return LetterScore(float(-chosen.mean()), accuracy, len(targets))


def choose_letters(sequences: Sequence[str], seed: int = 0) -> list[list[int]]:
    """Returns for each sequence the positions to predict: 15 %, A, C, G, U only."""
    generator = np.random.default_rng(seed)
    out = []
    for sequence in sequences:
        draws = generator.random(len(sequence)) < _CHOSEN_SHARE
        out.append([int(i) for i in np.flatnonzero(draws) if sequence[i] in _LETTERS])
    return out


class Spoiled(NamedTuple):
    """RNAs as a masked language model is trained to read them."""

    sequences: list[str]
    """With random letters in place of a tenth of the chosen ones."""
    masked: list[list[int]]
    """The chosen positions to mask, four in five."""


def spoil(
    sequences: Sequence[str], chosen: Sequence[Sequence[int]], seed: int = 0
) -> Spoiled:
    """Returns the sequences spoiled at the chosen positions: 80 / 10 / 10 %."""
    generator = np.random.default_rng([seed, 1])
    spoiled, masked = [], []
    for sequence, places in zip(sequences, chosen, strict=True):
        fates = generator.random(len(places))
        letters = list(sequence)
        for place, fate in zip(places, fates, strict=True):
            if fate >= 0.9:
                letters[place] = _LETTERS[generator.integers(4)]
        spoiled.append("".join(letters))
        masked.append([p for p, fate in zip(places, fates, strict=True) if fate < 0.8])
    return Spoiled(spoiled, masked)


def score_lm(
    lm: LanguageModel,
    sequences: Sequence[str],
    chosen: Sequence[Sequence[int]],
    spoiled: Spoiled | None = None,
) -> LetterScore:
    """Returns the model's score at the chosen letters, all masked or as spoiled."""
    return predict_letters(lm, sequences, chosen, spoiled).score()


def predict_letters(
    lm: LanguageModel,
    sequences: Sequence[str],
    chosen: Sequence[Sequence[int]],
    spoiled: Spoiled | None = None,
    replacement: Replacement | None = None,
) -> LetterPredictions:
    """Returns the model's predictions of the chosen letters, masked or as spoiled.

    Arguments are those of `score_lm`; `replacement` is what becomes of a layer.
    """
    reads = Spoiled(list(sequences), [list(x) for x in chosen])
    logits = lm.logits(*(spoiled or reads), replacement)
    rows, targets = [], []
    for sequence, places, scores in zip(sequences, chosen, logits, strict=True):
        rows.append(scores[list(places)])
        targets.append(_encode(sequence)[list(places)])
    stacked = np.concatenate(rows).astype(np.float64)
    stacked -= stacked.max(axis=1, keepdims=True)
    log_p = stacked - np.log(np.exp(stacked).sum(axis=1, keepdims=True))
    return LetterPredictions(log_p[:, _TOKENS], np.concatenate(targets))


class ContextModel:
    """Letter frequencies given the letters on both sides, smoothed by shorter ones.

    The two-sided Markov model of `reach` letters a side; reach 0 is the unigram.
    Contexts are the true letters, never spoiled: a generous baseline.
    """

    def __init__(
        self,
        sequences: Sequence[str],
        reach: int,
        shorter: "ContextModel | None" = None,
    ) -> None:
        self.reach = reach
        self._shorter = shorter
        letters = _encode(("-" * max(1, reach)).join(sequences))
        known = np.flatnonzero(letters < _OUTSIDE)
        cells = self._contexts(letters)[known] * 4 + letters[known]
        n_contexts = 5 ** (2 * reach)
        self._counts = np.bincount(cells, minlength=4 * n_contexts).reshape(-1, 4)

    @classmethod
    def of_every_reach(
        cls, sequences: Sequence[str], longest: int
    ) -> list["ContextModel"]:
        """Returns the models of reach 0 to `longest`, each smoothed by the former."""
        models: list[ContextModel] = []
        for reach in range(longest + 1):
            models.append(cls(sequences, reach, models[-1] if models else None))
        return models

    def score(
        self, sequences: Sequence[str], chosen: Sequence[Sequence[int]]
    ) -> LetterScore:
        """Returns the score at the chosen positions."""
        return self.predict(sequences, chosen).score()

    def predict(
        self, sequences: Sequence[str], chosen: Sequence[Sequence[int]]
    ) -> LetterPredictions:
        """Returns the predictions at the chosen positions."""
        rows, targets = [], []
        for sequence, places in zip(sequences, chosen, strict=True):
            letters = _encode(sequence)
            rows.append(self._probabilities(letters)[list(places)])
            targets.append(letters[list(places)])
        return LetterPredictions(np.log(np.concatenate(rows)), np.concatenate(targets))

    def _probabilities(
        self, letters: Int64[np.ndarray, " nucleotide"]
    ) -> Float64[np.ndarray, "nucleotide 4"]:
        counts = self._counts[self._contexts(letters)]
        prior = (
            np.full((1, 4), 0.25)
            if self._shorter is None
            else self._shorter._probabilities(letters)
        )
        total = counts.sum(axis=1, keepdims=True) + _SMOOTHING
        out: Float64[np.ndarray, "nucleotide 4"] = (counts + _SMOOTHING * prior) / total
        return out

    def _contexts(
        self, letters: Int64[np.ndarray, " nucleotide"]
    ) -> Int64[np.ndarray, " nucleotide"]:
        reach, n = self.reach, len(letters)
        framed = np.pad(letters, reach, constant_values=_OUTSIDE)
        contexts = np.zeros(n, dtype=np.int64)
        for shift in range(2 * reach + 1):
            if shift != reach:
                contexts = contexts * 5 + framed[shift : shift + n]
        return contexts


def _encode(sequence: str) -> Int64[np.ndarray, " nucleotide"]:
    letters: Int64[np.ndarray, " nucleotide"] = np.minimum(
        tokenise(sequence)[1:-1].astype(np.int64) - _TOKENS[0], _OUTSIDE
    )
    return letters
