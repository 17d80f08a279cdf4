"""What letters, likeness of vectors and gaps are worth: found on relatives.

A scoring is as good as the share of relatives that it tells from chance: whose score
chance would give less than once in a search of many RNAs. Chance is what the same
scoring gives queries with shuffled RNAs, so that no scoring gains by being generous.
Searched one number after the other. Knows nothing of models.
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

_SEARCHED = 20_000
"""RNAs in the search for which relatives should be told from chance."""
_STEPS = 0.3, 0.15
"""Of each number in turn: of its size."""
_OFFSET_SIZE = 0.3
_LEAST_GAIN = 5e-4
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
    """Relatives and decoys, encoded; vectors of length 1."""

    queries: NucleotideArrays
    targets: NucleotideArrays
    """One for each query."""
    decoys: NucleotideArrays
    weights: Float64[np.ndarray, " pair"]
    """Of the pairs; they sum to 1."""


class Tried(NamedTuple):
    """A scoring and the share of relatives that it finds, 0..1."""

    scoring: AlignmentScoring
    share: float


def measure(trial: Trial, scoring: AlignmentScoring) -> float:
    """Returns the share of relatives that a scoring tells from chance.

    Smooth: a relative of the E-value 1 counts half.
    """
    queries, targets, decoys = trial.queries, trial.targets, trial.decoys
    m, n = queries.lengths, targets.lengths
    (by_chance,) = local_scores(queries, decoys, [scoring])
    sizes = np.meshgrid(m, decoys.lengths, indexing="ij")
    statistics = fit(by_chance.ravel(), *(size.ravel() for size in sizes))
    scores = np.array(
        [
            local_scores(queries.take(one), targets.take(one), [scoring])[0, 0, 0]
            for one in np.arange(len(queries))[:, None]
        ]
    )
    log_e = statistics.log_p_value(scores, m, n) + np.log(_SEARCHED)
    return float((trial.weights / (1 + np.exp(np.clip(log_e, -50, 50)))).sum())


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
                share = measure(trial, changed)
                n_done += 1
                note(n_done, n_trials)
                if share > kept[-1].share + _LEAST_GAIN:
                    kept.append(Tried(changed, share))
                    break
    note(n_trials, n_trials)
    return kept
