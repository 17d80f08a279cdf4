"""Fits readings of labels: few features each, and a logistic regression of those.

Features are chosen as in k-sparse probing (Gurnee et al. 2023, arXiv 2305.01610), by
the difference of means over the deviation. RNAs of a rare label weigh as much together
as all others. Knows nothing of what a feature is.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ribolex.client.probe.probe import sigmoid

_STEPS = 50
_CONVERGED = 1e-9
_LEAST_DEVIATION = 1e-6

Matrix = npt.NDArray[np.float32]
"""[RNA, feature]."""


@dataclass(frozen=True, slots=True)
class Design:
    """How readings are fitted."""

    k: int = 16
    """Features a label, at most."""
    penalty: float = 0.01
    """Of squared weights of standardised features, beside the mean loss."""


class Fit(NamedTuple):
    """One label's reading."""

    features: npt.NDArray[np.int64]
    """[feature], the most telling first."""
    weights: npt.NDArray[np.float64]
    """[feature], of values as they are."""
    intercept: float

    def probabilities(self, x: Matrix) -> npt.NDArray[np.float64]:
        """Returns the label's probability for every row."""
        return sigmoid(self.intercept + x[:, self.features] @ self.weights)


def fit(x: Matrix, is_label: npt.NDArray[np.bool_], design: Design) -> Fit:
    """Returns the reading of one label.

    Args:
        x: [RNA, feature].
        is_label: [RNA], with and without it.
        design: how.
    """
    chosen = _choose(x, is_label, design.k)
    own = x[:, chosen].astype(np.float64)
    mean, deviation = own.mean(0), own.std(0) + _LEAST_DEVIATION
    weights, intercept = _regress((own - mean) / deviation, is_label, design.penalty)
    weights = weights / deviation
    return Fit(chosen, weights, float(intercept - mean @ weights))


def _choose(
    x: Matrix, is_label: npt.NDArray[np.bool_], k: int
) -> npt.NDArray[np.int64]:
    """Returns the features whose means differ most, over their deviation."""
    apart = np.abs(x[is_label].mean(0) - x[~is_label].mean(0))
    deviation = x.std(0)
    alive = np.flatnonzero(deviation > _LEAST_DEVIATION)
    order = np.argsort(-(apart[alive] / deviation[alive]), kind="stable")
    out: npt.NDArray[np.int64] = alive[order[:k]]
    return out


def _regress(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.bool_], penalty: float
) -> tuple[npt.NDArray[np.float64], float]:
    """Returns slopes and intercept by Newton's method; both sides weigh a half.

    Steps are halved while they lead uphill, which a convex loss ends.
    """
    design = np.column_stack([x, np.ones(len(x))])
    share = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = _CONVERGED
    at = np.zeros(design.shape[1])

    def loss(at: npt.NDArray[np.float64]) -> float:
        z = design @ at
        fitted = share @ (np.logaddexp(0, z) - y * z)
        return float(fitted + 0.5 * (ridge * at * at).sum())

    now = loss(at)
    for _ in range(_STEPS):
        p = sigmoid(design @ at)
        slope = design.T @ (share * (p - y)) + ridge * at
        bend = (design.T * (share * p * (1 - p))) @ design + np.diag(ridge)
        step = np.linalg.solve(bend, slope)
        while (then := loss(at - step)) > now + 1e-15:
            step /= 2
        at, now, gained = at - step, then, now - then
        if gained < _CONVERGED:
            break
    return at[:-1], float(at[-1])
