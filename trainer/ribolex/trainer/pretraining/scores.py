"""Scores of letter prediction: a language model's, and context models' to beat.

All are taken at the same hidden nucleotides of the same RNAs. Knows nothing of
training.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from ribolex.lm import LanguageModel

_HIDDEN_SHARE = 0.15
_LETTERS = "ACGU"
_OUTSIDE = 4
_TOKENS = np.array([5, 6, 7, 8])
_SMOOTHING = 4.0


class LetterScore(NamedTuple):
    """How well hidden letters were predicted."""

    cross_entropy: float
    """Mean, nats."""
    accuracy: float
    n_nucleotides: int


def choose_hidden(sequences: Sequence[str], seed: int = 0) -> list[list[int]]:
    """Returns for each sequence the positions to hide: 15 %, A, C, G, U only."""
    generator = np.random.default_rng(seed)
    out = []
    for sequence in sequences:
        draws = generator.random(len(sequence)) < _HIDDEN_SHARE
        out.append([int(i) for i in np.flatnonzero(draws) if sequence[i] in _LETTERS])
    return out


def score_lm(
    lm: LanguageModel, sequences: Sequence[str], hidden: Sequence[Sequence[int]]
) -> LetterScore:
    """Returns the model's score with all hidden letters of an RNA masked at once."""
    logits = lm.logits(sequences, hidden)
    rows, targets = [], []
    for sequence, places, scores in zip(sequences, hidden, logits, strict=True):
        rows.append(scores[list(places)])
        targets.append(_encode(sequence)[list(places)])
    stacked = np.concatenate(rows).astype(np.float64)
    stacked -= stacked.max(axis=1, keepdims=True)
    log_p = stacked - np.log(np.exp(stacked).sum(axis=1, keepdims=True))
    return _score(log_p[:, _TOKENS], np.concatenate(targets))


class ContextModel:
    """Letter frequencies given the letters on both sides, smoothed by shorter ones.

    The two-sided Markov model of `reach` letters a side; reach 0 is the unigram.
    Contexts are the true letters, never hidden: a generous baseline.
    """

    def __init__(self, reach: int, sequences: Sequence[str]) -> None:
        self._reach = reach
        self._shorter = ContextModel(reach - 1, sequences) if reach else None
        self._counts = np.zeros((5 ** (2 * reach), 4))
        for sequence in sequences:
            letters = _encode(sequence)
            known = letters < _OUTSIDE
            contexts = self._contexts(letters)[known]
            np.add.at(self._counts, (contexts, letters[known]), 1)

    def score(
        self, sequences: Sequence[str], hidden: Sequence[Sequence[int]]
    ) -> LetterScore:
        """Returns the score at the hidden positions."""
        rows, targets = [], []
        for sequence, places in zip(sequences, hidden, strict=True):
            letters = _encode(sequence)
            rows.append(self._probabilities(letters)[list(places)])
            targets.append(letters[list(places)])
        return _score(np.log(np.concatenate(rows)), np.concatenate(targets))

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
        reach, n = self._reach, len(letters)
        framed = np.pad(letters, reach, constant_values=_OUTSIDE)
        contexts = np.zeros(n, dtype=np.int64)
        for shift in range(2 * reach + 1):
            if shift != reach:
                contexts = contexts * 5 + framed[shift : shift + n]
        return contexts


def _encode(sequence: str) -> Int64[np.ndarray, " nucleotide"]:
    return np.array(
        [_LETTERS.index(x) if x in _LETTERS else _OUTSIDE for x in sequence],
        dtype=np.int64,
    )


def _score(
    log_p: Float64[np.ndarray, "nucleotide 4"],
    targets: Int64[np.ndarray, " nucleotide"],
) -> LetterScore:
    chosen = log_p[np.arange(len(targets)), targets]
    accuracy = float((log_p.argmax(axis=1) == targets).mean())
    return LetterScore(float(-chosen.mean()), accuracy, len(targets))
