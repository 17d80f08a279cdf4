"""Sparse probes: what may be read off a representation with k of its features.

For each label the features that differ most between its nucleotides (or RNAs) and all
others are chosen on some families, a logistic regression is fitted to them there, and
scored on families that neither saw: k-sparse probing (Gurnee et al. 2023, arXiv
2305.01610). Intervals resample whole clans. Knows nothing of dictionaries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy import sparse

from ribolex.trainer.pretraining.probes import auroc

Features = np.ndarray | sparse.csr_array
"""[item, feature]."""

N_DRAWS = 1000

_PENALTY = 1e-3
_STEPS = 30
_CONVERGED = 1e-6
_BINS = 512
_SURE = 0.95


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """AUROC on families that nothing was chosen or fitted on, mean over labels."""

    task: str
    """"paired", "element" (each against the rest) or "type" (of RNAs)."""
    k: int
    auroc: float
    low: float
    """Of the 95 % interval over clans."""
    high: float
    by_label: dict[str, float]


class Task(NamedTuple):
    """What is to be read off."""

    name: str
    label_names: Sequence[str]
    fitted: Bool[np.ndarray, "item label"]
    """Of the items that probes are fitted on."""
    scored: Bool[np.ndarray, "held_out label"]
    kin: Int64[np.ndarray, " held_out"]
    """Which clan each scored item is of, from 0."""


class Probed(NamedTuple):
    """A score, and what it would be with other clans."""

    score: ProbeScore
    draws: Float64[np.ndarray, " draw"]
    """The same resampled clans for every representation of one task."""


def probe(
    task: Task, fitted: Features, scored: Features, ks: Sequence[int]
) -> list[Probed]:
    """Returns the scores of probes that may use k features, for every k.

    Args:
        task: labels; each has items with and without it on both sides.
        fitted: of the items to choose and fit on.
        scored: of the held-out items.
        ks: rising.
    """
    chosen = _strongest(fitted, task.fitted, max(ks))
    n_kin = int(task.kin.max()) + 1
    weights = _resample(n_kin)
    points = np.zeros((len(ks), len(task.label_names)))
    draws = np.zeros((len(ks), len(task.label_names), N_DRAWS))
    for j in range(len(task.label_names)):
        x, held_out = _columns(fitted, chosen[j]), _columns(scored, chosen[j])
        mean, deviation = x.mean(0), x.std(0) + 1e-6
        x, held_out = (x - mean) / deviation, (held_out - mean) / deviation
        for i, k in enumerate(ks):
            slopes = regress(x[:, :k], task.fitted[:, j])[1:]
            read = held_out[:, :k] @ slopes
            points[i, j] = auroc(read, task.scored[:, j])
            pairs = count_pairs(read, task.scored[:, j], task.kin, n_kin)
            draws[i, j] = _reweigh(pairs, weights)
    return [_summarise(task, k, points[i], draws[i]) for i, k in enumerate(ks)]


def interval(draws: Float64[np.ndarray, " draw"]) -> tuple[float, float]:
    """Returns the bounds between which 95 % of the draws lie."""
    edge = 50 * (1 - _SURE)
    low, high = np.nanpercentile(draws, [edge, 100 - edge])
    return float(low), float(high)


def regress(
    x: Float64[np.ndarray, "item width"], y: Bool[np.ndarray, " item"]
) -> Float64[np.ndarray, " width1"]:
    """Returns intercept and slopes of a logistic regression with a squared penalty.

    Newton's method, steps halved while they lead uphill.
    """
    design = np.column_stack([np.ones(len(x)), x])
    penalty = np.full(design.shape[1], _PENALTY)
    penalty[0] = 0.0
    weights = np.zeros(design.shape[1])
    weights[0] = np.log(y.mean() / (1 - y.mean()))

    def loss(at: Float64[np.ndarray, " width1"]) -> float:
        z = design @ at
        fit = np.logaddexp(0, z).mean() - z[y].sum() / len(y)
        return float(fit + 0.5 * (penalty * at * at).sum())

    now = loss(weights)
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(0.5 * (design @ weights)))
        slope = design.T @ (p - y) / len(y) + penalty * weights
        bend = (design.T * (p * (1 - p))) @ design / len(y)
        step = np.linalg.solve(bend + np.diag(penalty + 1e-9), slope)
        while (then := loss(weights - step)) > now + 1e-12:
            step /= 2
        weights, now, gained = weights - step, then, now - then
        if gained < _CONVERGED:
            break
    return weights


def count_pairs(
    scores: Float[np.ndarray, " item"],
    is_positive: Bool[np.ndarray, " item"],
    kin: Int64[np.ndarray, " item"],
    n_kin: int,
) -> Float64[np.ndarray, "2 kin kin"]:
    """Returns pairs (positive of clan a, negative of b): in the right order, and all.

    Ties count half; scores beyond 512 different ones are put into as many bins.
    """
    _, places = np.unique(scores, return_inverse=True)
    if places.max() >= _BINS:
        edges = np.quantile(places, np.linspace(0, 1, _BINS)[1:])
        places = np.searchsorted(edges, places)
    keys = kin * _BINS + places
    shape = n_kin, _BINS
    positive = np.bincount(keys[is_positive], minlength=n_kin * _BINS).reshape(shape)
    negative = np.bincount(keys[~is_positive], minlength=n_kin * _BINS).reshape(shape)
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    right = positive.astype(np.float64) @ below.T
    every = np.outer(positive.sum(1), negative.sum(1)).astype(np.float64)
    return np.stack([right, every])


def _strongest(
    features: Features, labels: Bool[np.ndarray, "item label"], n: int
) -> Int64[np.ndarray, "label n"]:
    """Returns the features that differ most with each label, the first the most.

    By the difference of means over the feature's standard deviation, so that a
    feature's scale does not count.
    """
    n_items = features.shape[0]
    y = labels.astype(np.float32)
    with_label = np.asarray(features.T @ y, np.float64)
    total = np.asarray(features.sum(axis=0), np.float64).ravel()
    if isinstance(features, np.ndarray):
        squares = np.einsum("ij,ij->j", features, features, dtype=np.float64)
    else:
        squares = np.asarray(features.multiply(features).sum(axis=0), np.float64)
    variance = squares.ravel() / n_items - (total / n_items) ** 2
    n_with = labels.sum(0)
    means = with_label / n_with
    others = (total[:, None] - with_label) / (n_items - n_with)
    alive = variance > 1e-12
    apart = np.abs(means - others) / np.sqrt(np.where(alive, variance, 1.0))[:, None]
    apart[~alive] = -1.0
    return np.argsort(-apart, axis=0, kind="stable")[:n].T


def _columns(
    features: Features, chosen: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "item n"]:
    columns = features[:, chosen]
    if not isinstance(columns, np.ndarray):
        columns = columns.toarray()
    return np.asarray(columns, np.float64)


def _resample(n_kin: int) -> Float64[np.ndarray, "draw kin"]:
    """Returns how often each clan comes in each draw."""
    generator = np.random.default_rng(0)
    shares = np.full(n_kin, 1 / n_kin)
    return generator.multinomial(n_kin, shares, N_DRAWS).astype(np.float64)


def _reweigh(
    pairs: Float64[np.ndarray, "2 kin kin"], weights: Float64[np.ndarray, "draw kin"]
) -> Float64[np.ndarray, " draw"]:
    """Returns the AUROC of each draw; NaN where a draw has no pair."""
    right, every = (((weights @ table) * weights).sum(1) for table in pairs)
    out: Float64[np.ndarray, " draw"]
    out = np.divide(right, every, out=np.full(len(right), np.nan), where=every > 0)
    return out


def _summarise(
    task: Task,
    k: int,
    points: Float64[np.ndarray, " label"],
    draws: Float64[np.ndarray, "label draw"],
) -> Probed:
    known = ~np.isnan(draws)
    n_known = known.sum(0)
    sums = np.where(known, draws, 0.0).sum(0)
    means = np.where(n_known > 0, sums / np.maximum(n_known, 1), np.nan)
    low, high = interval(means)
    by_label = dict(zip(task.label_names, points.tolist(), strict=True))
    score = ProbeScore(task.name, k, float(points.mean()), low, high, by_label)
    return Probed(score, means)
