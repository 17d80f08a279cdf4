"""What letters, likeness of vectors and gaps are worth: found on relatives.

A scoring is as good as the rank that it gives a relative among RNAs that are none:
shuffled ones and real ones of other families, all corrected for length as a search
does. (How improbable a relative's score is by chance would be no measure: scorings that
break alignments up early win by it, and rank worse.) Searched one number after the
other. Knows nothing of models.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ribolex.rna.extreme_value import fit
from ribolex.rna.local_alignment import (
    AlignmentScoring,
    NucleotideArrays,
    local_scores,
)

START = AlignmentScoring(
    match=1.0,
    transition=-0.5,
    transversion=-0.9,
    similarity=1.0,
    offset=-0.05,
    gap_open=2.4,
    gap_extend=0.45,
)
"""Where the search begins, and what is taken without relatives to learn from."""

_STEPS = 0.3, 0.15
"""Of each number in turn: of its size."""
_OFFSET_SIZE = 0.3
_LEAST_GAIN = 1e-3
_NUMBERS = (
    "similarity",
    "offset",
    "gap_open",
    "gap_extend",
    "transition",
    "transversion",
)


@dataclass(frozen=True, slots=True)
class Trial:
    """Relatives, and what they are to be told from, encoded; vectors of length 1."""

    queries: NucleotideArrays
    targets: NucleotideArrays
    """One for each query."""
    decoys: NucleotideArrays
    weights: Float64[np.ndarray, " pair"]
    """Of the pairs; they sum to 1."""


class Tried(NamedTuple):
    """A scoring and the mean of 1 / rank that it gives relatives, 0..1."""

    scoring: AlignmentScoring
    reciprocal_rank: float


def measure(trial: Trial, scoring: AlignmentScoring) -> float:
    """Returns the mean of 1 / rank of relatives among the decoys."""
    queries, targets, decoys = trial.queries, trial.targets, trial.decoys
    m, n = queries.lengths, targets.lengths
    (scores,) = local_scores(queries, decoys, [scoring])
    sizes = np.meshgrid(m, decoys.lengths, indexing="ij")
    statistics = fit(scores.ravel(), *(size.ravel() for size in sizes))
    of_decoys = statistics.log_p_value(scores, *sizes)
    of_relatives = statistics.log_p_value(
        np.array([_score(trial, scoring, i) for i in range(len(queries))]), m, n
    )
    n_before = (of_decoys < of_relatives[:, None]).sum(axis=1)
    return float((trial.weights / (1 + n_before)).sum())


def _score(trial: Trial, scoring: AlignmentScoring, pair: int) -> float:
    one = np.array([pair])
    found = local_scores(trial.queries.take(one), trial.targets.take(one), [scoring])
    return float(found[0, 0, 0])


def search(
    trial: Trial, note: Callable[[int, int], None], start: AlignmentScoring = START
) -> list[Tried]:
    """Returns the scorings that were better than all before, the best one last.

    Args:
        trial: what to measure on.
        note: told how many of how many were tried.
        start: the first.
    """
    kept = [Tried(start, measure(trial, start))]
    n_done, n_trials = 1, 1 + 2 * len(_NUMBERS) * len(_STEPS)
    for step in _STEPS:
        for name in _NUMBERS:
            value = getattr(kept[-1].scoring, name)
            size = _OFFSET_SIZE if name == "offset" else abs(value)
            for direction in (1, -1):
                changed = replace(
                    kept[-1].scoring, **{name: value + direction * step * size}
                )
                found = measure(trial, changed)
                n_done += 1
                note(n_done, n_trials)
                if found > kept[-1].reciprocal_rank + _LEAST_GAIN:
                    kept.append(Tried(changed, found))
                    break
    note(n_trials, n_trials)
    return kept
