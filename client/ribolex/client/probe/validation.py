"""What a probe is worth: scores on relatives that it did not see, beside controls.

Features are chosen anew in every fold. The controls: the same with labels dealt out by
chance, and the same regression on counts of 4-letter words, of which it may take as
many as of features, or all. Knows nothing of codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ribolex.client.probe.fitting import Design, Matrix, fit

_LETTERS = "ACGU"


class Score(NamedTuple):
    """Of RNAs that were left out of the fit."""

    balanced_accuracy: float
    """Mean over labels of the share of their RNAs that are told right."""
    auroc: float
    """Mean over labels, each against all others."""


@dataclass(frozen=True, slots=True)
class Validation:
    """A probe's score, and what it must beat."""

    n_folds: int
    n_groups: int
    codes: Score
    words: Score
    """As many counts of words."""
    all_words: Score
    """Counts of all words."""
    n_deals: int
    dealt: Score
    """Mean, with labels dealt out by chance."""
    p_value: float
    """Share of the deals, with the probe's own among them, of its accuracy or more."""

    def told(self) -> dict[str, Any]:
        """Returns all of it as plain JSON; without deals there is no mean of them."""
        out: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            out[one.name] = value._asdict() if isinstance(value, Score) else value
        if not self.n_deals:
            del out["dealt"], out["p_value"]
        return out


def validate(
    x: Matrix,
    words: Matrix,
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    design: Design,
    *,
    n_folds: int = 5,
    n_deals: int = 20,
    seed: int = 0,
) -> Validation:
    """Returns what a probe is worth.

    Args:
        x: [RNA, feature].
        words: [RNA, word], of the same RNAs.
        labels: [RNA], from 0.
        groups: [RNA], from 0: RNAs of one are in one fold.
        design: how readings are fitted.
        n_folds: at most; fewer where a label has fewer groups, at least 2.
        n_deals: times that labels are dealt out. Groups of one label keep one.
        seed: of folds and deals.
    """
    generator = np.random.default_rng(seed)
    counts = [len(np.unique(groups[labels == label])) for label in np.unique(labels)]
    n_folds = max(2, min(n_folds, *counts))
    folds = _fold(labels, groups, n_folds, generator)

    def score(x: Matrix, labels: npt.NDArray[np.int64], design: Design) -> Score:
        return _score(x, labels, folds, design)

    own = score(x, labels, design)
    dealt = [score(x, _deal(labels, groups, generator), design) for _ in range(n_deals)]
    every = Design(words.shape[1], design.penalty)
    n_better = sum(one.balanced_accuracy >= own.balanced_accuracy for one in dealt)
    mean = np.mean(dealt, axis=0).tolist() if dealt else [float("nan")] * 2
    return Validation(
        n_folds,
        int(groups.max()) + 1,
        own,
        score(words, labels, design),
        score(words, labels, every),
        n_deals,
        Score(*mean),
        (1 + n_better) / (1 + n_deals),
    )


def count_words(sequences: Sequence[str]) -> Matrix:
    """Returns the logarithm of counts of 4-letter words, lengths and shares of letters.

    Words with other letters count nowhere; T is U.
    """
    places = {"".join(word): i for i, word in enumerate(product(_LETTERS, repeat=4))}
    out = np.zeros((len(sequences), len(places) + 5), np.float32)
    for row, given in zip(out, sequences, strict=True):
        sequence = given.upper().replace("T", "U")
        for start in range(len(sequence) - 3):
            place = places.get(sequence[start : start + 4])
            if place is not None:
                row[place] += 1
        shares = [sequence.count(letter) / len(sequence) for letter in _LETTERS]
        row[-5:] = [*shares, len(sequence)]
    out[:, :-5] = np.log1p(out[:, :-5])
    out[:, -1] = np.log1p(out[:, -1])
    return out


def _fold(
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    n_folds: int,
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Returns each RNA's fold: groups of a label are spread evenly."""
    out = np.zeros(len(labels), np.int64)
    label_of = np.array([labels[groups == g][0] for g in range(groups.max() + 1)])
    for label in np.unique(label_of):
        own = generator.permutation(np.flatnonzero(label_of == label))
        start = generator.integers(n_folds)
        for i, group in enumerate(own):
            out[groups == group] = (start + i) % n_folds
    return out


def _deal(
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Returns labels that mean nothing: groups that are of one label swap them."""
    n_groups = int(groups.max()) + 1
    label_of = np.full(n_groups, -1)
    for group in range(n_groups):
        found = np.unique(labels[groups == group])
        label_of[group] = found[0] if len(found) == 1 else -1
    pure = np.flatnonzero(label_of >= 0)
    label_of[pure] = label_of[generator.permutation(pure)]
    out = np.where(label_of[groups] >= 0, label_of[groups], labels)
    mixed = np.flatnonzero(np.isin(groups, np.flatnonzero(label_of < 0)))
    out[mixed] = labels[generator.permutation(mixed)]
    return out


def _score(
    x: Matrix,
    labels: npt.NDArray[np.int64],
    folds: npt.NDArray[np.int64],
    design: Design,
) -> Score:
    names = np.unique(labels)
    shares = np.full((len(labels), len(names)), np.nan)
    for fold in np.unique(folds):
        held = folds == fold
        for j, name in enumerate(names):
            known = labels[~held] == name
            if known.any() and not known.all():
                found = fit(x[~held], known, design)
                shares[held, j] = found.probabilities(x[held])
    # A label that only a fold itself has is told of nobody there.
    shares = np.nan_to_num(shares, nan=0.0)
    told = names[shares.argmax(1)]
    right = [(told[labels == name] == name).mean() for name in names]
    areas = [_auroc(shares[:, j], labels == name) for j, name in enumerate(names)]
    return Score(float(np.mean(right)), float(np.mean(areas)))


def _auroc(values: npt.NDArray[np.float64], is_label: npt.NDArray[np.bool_]) -> float:
    """Returns the share of pairs in the right order, ties half."""
    mine, others = values[is_label], np.sort(values[~is_label])
    below = np.searchsorted(others, mine) + np.searchsorted(others, mine, "right")
    return float(below.mean() / (2 * len(others)))
