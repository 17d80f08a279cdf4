"""Rankings by letters alone: local alignment, words as a bag, words on diagonals."""

import time
from collections.abc import Iterator

import numpy as np
from numba import njit

from ribolex.rna.local_alignment import (
    LETTERS,
    UNKNOWN,
    NucleotideArrays,
    correct_for_length,
    local_scores,
)
from ribolex.trainer.pretraining.rankings import by_words
from searching.cases import Setting
from searching.ranking import Ranking

_PART = 32

SMITH_WATERMAN = ("Smith-Waterman", "Smith-Waterman / log length")


def smith_waterman(setting: Setting) -> dict[str, Ranking]:
    """Returns full local alignment by our own kernel, as it comes and corrected."""
    arrays = NucleotideArrays.of_sequences(setting.cases.database)
    began = time.process_time()

    def align() -> Iterator[np.ndarray]:
        for part in parts(setting.cases.queries):
            (scores,) = local_scores(arrays.take(part), arrays, [LETTERS])
            yield from scores

    rows = list(align())
    seconds = time.process_time() - began
    corrected = [correct_for_length(row, arrays.lengths) for row in rows]
    return dict(
        zip(
            SMITH_WATERMAN,
            (Ranking.of_scores(x, seconds) for x in (rows, corrected)),
            strict=True,
        )
    )


def words(setting: Setting, k: int) -> dict[str, Ranking]:
    """Returns the cosine of counts of words, weighted by their idf."""
    rank = by_words(setting.cases.database, k)
    began = time.process_time()
    rows = [row for part in parts(setting.cases.queries) for row in _only(rank(part))]
    return {words_name(k): Ranking.of_scores(rows, time.process_time() - began)}


def words_name(k: int) -> str:
    """Returns what the ranking by words of k letters is called."""
    return f"{k}-mers, tf-idf cosine"


def diagonals(setting: Setting, k: int, power: float) -> dict[str, Ranking]:
    """Returns the best diagonal of shared words, joined with its neighbour."""
    arrays = NucleotideArrays.of_sequences(setting.cases.database)
    numbers = _words(arrays, k)
    weights = _idf(numbers, arrays.offsets, 4**k) ** power
    began = time.process_time()
    rows = []
    for query in setting.cases.queries:
        own = numbers[arrays.offsets[query] : arrays.offsets[query + 1]]
        found = vote(own, *_places(own, 4**k), numbers, arrays.offsets, weights)
        rows.append(correct_for_length(found, arrays.lengths))
    seconds = time.process_time() - began
    return {diagonals_name(k, power): Ranking.of_scores(rows, seconds)}


def diagonals_name(k: int, power: float) -> str:
    """Returns what the ranking by words on diagonals is called."""
    return f"{k}-mers on diagonals, idf^{power:g}, / log length"


def parts(queries: np.ndarray) -> Iterator[np.ndarray]:
    """Yields some queries at a time."""
    for start in range(0, len(queries), _PART):
        yield queries[start : start + _PART]


@njit(nogil=True, error_model="numpy")
def vote(own, starts, places, numbers, offsets, weights):  # type: ignore[no-untyped-def]
    """Returns each RNA's best sum of weights of shared words on two diagonals."""
    n = len(own)
    out = np.zeros(len(offsets) - 1, np.float32)
    votes = np.zeros(4096, np.float32)
    for rna in range(len(offsets) - 1):
        first, length = offsets[rna], offsets[rna + 1] - offsets[rna]
        for i in range(n + length + 1):
            votes[i] = 0
        for j in range(length):
            number = numbers[first + j]
            if number >= 0:
                for at in range(starts[number], starts[number + 1]):
                    votes[j - places[at] + n] += weights[number]
        best = np.float32(0)
        for i in range(n + length):
            pair = votes[i] + votes[i + 1]
            best = pair if pair > best else best
        out[rna] = best
    return out


def _words(arrays: NucleotideArrays, k: int) -> np.ndarray:
    """Returns the number of the word that begins at each nucleotide, -1 for none."""
    letters = arrays.letters.astype(np.int64)
    n = len(letters)
    numbers, is_whole = np.zeros(n, np.int64), np.ones(n, bool)
    for shift in range(k):
        moved = np.full(n, UNKNOWN)
        moved[: n - shift] = letters[shift:]
        numbers = numbers * 4 + moved
        is_whole &= moved != UNKNOWN
    ends = np.repeat(arrays.offsets[1:], arrays.lengths)
    is_whole &= np.arange(n) + k <= ends
    return np.where(is_whole, numbers, -1)


def _idf(numbers: np.ndarray, offsets: np.ndarray, n_words: int) -> np.ndarray:
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    both = np.unique(owners[numbers >= 0] * n_words + numbers[numbers >= 0])
    holding = np.bincount(both % n_words, minlength=n_words)
    return np.log(len(offsets) / (1 + holding)).clip(0).astype(np.float32)


def _places(own: np.ndarray, n_words: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns where each word lies in the query: boundaries and places."""
    order = np.argsort(own, kind="stable")
    order = order[own[order] >= 0]
    counts = np.bincount(own[order], minlength=n_words)
    return np.concatenate([[0], np.cumsum(counts)]), order


def _only(found: dict[str, np.ndarray]) -> np.ndarray:
    (rows,) = found.values()
    return rows
