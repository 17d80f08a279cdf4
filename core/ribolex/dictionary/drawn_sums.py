"""Upper tails of sums of members drawn by chance, from three moments.

Knows numbers only; nothing of what the members are. Many tests at once.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int

SMALLEST = 1e-300
"""No probability is given below this."""


def moment_tail(
    hits: Float[np.ndarray, "*test"],
    moments: Float[np.ndarray, "*test 3"],
    least: Float[np.ndarray, "*_least"] | float = SMALLEST,
    step: float = 1.0,
) -> Float[np.ndarray, "*test"]:
    """Returns P(at least so many hits) where the law is known by its moments.

    Of Pearson's third type (a shifted gamma law), which has the mean, the variance and
    the skewness of a sum over members, and the longer tail of a sum of few.

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
    tail = _gamma_tail(shape, np.maximum(shape + z * np.sqrt(shape), 0))
    tail = np.where(skewness < 1e-2, normal_tail(z), tail)
    tail = np.where(variance > 1e-12, tail, np.where(z > 0, 0.0, 1.0))
    out: Float[np.ndarray, "*test"] = np.clip(tail, np.maximum(least, SMALLEST), 1.0)
    return out


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


def _gamma_tail(
    shape: Float[np.ndarray, "*test"], at: Float[np.ndarray, "*test"]
) -> Float[np.ndarray, "*test"]:
    pair = (torch.from_numpy(np.array(each, np.float64)) for each in (shape, at))
    out: Float[np.ndarray, "*test"] = torch.special.gammaincc(*pair).numpy()
    return out


def normal_tail(z: Float[np.ndarray, "*test"]) -> Float[np.ndarray, "*test"]:
    """Returns the probability that a standard normal number is above z."""
    scaled = torch.from_numpy(np.array(z, np.float64)) / math.sqrt(2)
    out: Float[np.ndarray, "*test"] = torch.special.erfc(scaled).numpy() / 2
    return out
