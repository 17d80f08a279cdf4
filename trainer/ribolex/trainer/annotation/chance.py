"""Fisher's exact test over whole tables at once: upper tails.

Knows numbers only; nothing of features or labels.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from ribolex.dictionary.drawn_sums import SMALLEST

_RELATIVE = 1e-9


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


def _log_choose(
    n: Float[np.ndarray, " test"], k: Float[np.ndarray, " test"]
) -> Float[np.ndarray, " test"]:
    out: Float[np.ndarray, " test"]
    out = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
    return out
