"""Tests over whole tables at once: upper tails.

Knows numbers only; nothing of features or labels.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import special, stats

SMALLEST = 1e-300
_RELATIVE = 1e-9


def moment_tail(
    hits: Float[np.ndarray, "*test"],
    moments: Float[np.ndarray, "*test 3"],
    least: Float[np.ndarray, "*_least"] | float = SMALLEST,
    step: float = 1.0,
) -> Float[np.ndarray, "*test"]:
    """Returns P(at least so many hits) where the law is known by its moments.

    Of Pearson's third type (a shifted gamma law), which has the mean, the variance and
    the skewness of a sum over clans, and the longer tail of a sum of few.

    Args:
        hits: as observed.
        moments: mean, variance and third central moment.
        least: what no probability can be below, that of the rarest outcome.
        step: by which hits grow; half of it is taken off. 0 for any number.
    """
    mean, variance, third = np.moveaxis(moments, -1, 0)
    spread = np.sqrt(np.maximum(variance, 1e-12))
    z = (hits - step / 2 - mean) / spread
    # Never taken for lighter than normal above: a sum of bounded parts is, but how
    # much lighter three moments do not tell.
    skewness = np.clip(third / spread**3, 1e-4, None)
    shape = 4 / skewness**2
    tail = special.gammaincc(shape, np.maximum(shape + z * np.sqrt(shape), 0))
    tail = np.where(skewness < 1e-2, stats.norm.sf(z), tail)
    tail = np.where(variance > 1e-12, tail, np.where(z > 0, 0.0, 1.0))
    out: Float[np.ndarray, "*test"] = np.clip(tail, np.maximum(least, SMALLEST), 1.0)
    return out


def hypergeometric_tail(
    hits: Int[np.ndarray, " test"],
    drawn: Int[np.ndarray, " test"],
    labelled: Int[np.ndarray, " test"],
    total: int,
) -> Float[np.ndarray, " test"]:
    """Returns P(at least so many hits): Fisher's exact test, one-sided.

    Sums the tail from `hits` on until what is left cannot matter (scipy's takes 90 us
    a test, this 1 us). At or below the expected number of hits the answer is 1, which
    is never smaller than the truth.

    Args:
        hits: labelled members among those drawn, possible given the rest.
        drawn: members drawn.
        labelled: members with the label.
        total: all members.
    """
    x, n, m = (array.astype(np.float64) for array in (hits, drawn, labelled))
    tail = np.ones(len(x))
    at = np.flatnonzero(x * total > n * m)
    x, n, m = x[at], n[at], m[at]
    first = np.exp(
        _log_choose(m, x)
        + _log_choose(total - m, n - x)
        - _log_choose(np.full_like(n, total), n)
    )
    sums, term = np.ones(len(at)), np.ones(len(at))
    active = np.arange(len(at))
    while len(active):
        a, b, c = x[active], n[active], m[active]
        term[active] *= (c - a) * (b - a) / ((a + 1) * (total - c - b + a + 1))
        sums[active] += term[active]
        x[active] += 1
        active = active[term[active] > _RELATIVE * sums[active]]
    tail[at] = np.clip(first * sums, SMALLEST, 1.0)
    return tail


def drawn_moments(
    values: Float[np.ndarray, "member feature"], n_drawn: Int[np.ndarray, " label"]
) -> Float[np.ndarray, "feature label 3"]:
    """Returns the moments of the sum of so many members drawn without replacement.

    Args:
        values: of every feature for each of three members or more.
        n_drawn: how many are drawn.
    """
    n = len(values)
    mean = values.mean(0)
    off = values - mean
    second, third = (off**2).sum(0), (off**3).sum(0)
    m = n_drawn.astype(np.float64)
    spread = m * (n - m) / (n * (n - 1))
    lean = spread * (n - 2 * m) / (n - 2)
    out = np.empty((values.shape[1], len(m), 3))
    out[..., 0] = mean[:, None] * m
    out[..., 1] = second[:, None] * spread
    out[..., 2] = third[:, None] * lean
    return out


def _log_choose(
    n: Float[np.ndarray, " test"], k: Float[np.ndarray, " test"]
) -> Float[np.ndarray, " test"]:
    out: Float[np.ndarray, " test"]
    out = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return out
