"""How likely two groups' ranks differ so much by chance, when units are dealt anew.

Where each unit lies in one group, whole units are dealt: the law of the difference has
the moments of all deals, its skewness, too, since a group of few units has a long tail.
A unit's mean varies less the more RNAs it has, and the less these have in common; that
is estimated, and units are weighed by it. What few units with several RNAs tell of it
is shrunk towards the worst, RNAs of a unit being all alike: their estimate goes along
with the difference that is tested.

Where units lie in both groups, each is its own control: a score test with clustered
variance (Liang and Zeger 1986) and Student's t of as many degrees of freedom as there
are units that matter (Satterthwaite 1946).

Knows nothing of effects, or of what is ranked.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from ribolex.dictionary.drawn_sums import SMALLEST, moment_tail, normal_tail

_PRIOR_UNITS = 20
"""Units with several RNAs that outweigh the assumption that these are all alike."""


@dataclass(frozen=True, slots=True)
class Units:
    """RNAs of two groups by unit."""

    is_first: Bool[np.ndarray, " rna"]
    order: Int64[np.ndarray, " rna"]
    """RNAs by unit."""
    starts: Int64[np.ndarray, " unit"]
    """Where units begin in that order."""

    @classmethod
    def of(cls, units: Int64[np.ndarray, " rna"], n_first: int) -> "Units":
        """Returns the RNAs of two groups by unit.

        Args:
            units: number of the unit of each RNA, those of the first group first.
            n_first: RNAs of the first group.
        """
        order = np.argsort(units, kind="stable")
        starts = np.flatnonzero(np.diff(units[order], prepend=-1))
        return cls(np.arange(len(units)) < n_first, order, starts)

    def sums(self, rows: Float[np.ndarray, "rna k"]) -> Float64[np.ndarray, "unit k"]:
        """Returns the sums over the RNAs of each unit."""
        ordered = rows[self.order].astype(np.float64)
        out: Float64[np.ndarray, "unit k"] = np.add.reduceat(ordered, self.starts)
        return out

    @property
    def sizes(self) -> Float64[np.ndarray, "unit 1"]:
        """RNAs of each unit."""
        return self.sums(np.ones((len(self.order), 1)))

    @property
    def shares(self) -> Float64[np.ndarray, "unit 1"]:
        """Of each unit's RNAs those in the first group."""
        out: Float64[np.ndarray, "unit 1"]
        out = self.sums(self.is_first[:, None].astype(np.float64)) / self.sizes
        return out

    @property
    def are_apart(self) -> bool:
        """Whether each lies in one group."""
        return bool(np.isin(self.shares, (0, 1)).all())

    @property
    def smallest_p(self) -> float:
        """The p-value of the rarest deal, two-sided; 0 if units lie in both groups."""
        if not self.are_apart:
            return 0.0
        shares = self.shares
        k, m = len(shares), int(shares.sum())
        ways = math.lgamma(k + 1) - math.lgamma(m + 1) - math.lgamma(k - m + 1)
        return min(2 * math.exp(-min(ways, 600.0)), 1.0)


def rank_p_values(
    centred: Float64[np.ndarray, "rna test"], units: Units
) -> Float64[np.ndarray, " test"]:
    """Returns two-sided p of a difference between the groups.

    Args:
        centred: ranks among all RNAs less their mean.
        units: of the RNAs.
    """
    if units.are_apart:
        return _dealt(centred, units)
    return _scored(centred, units)


def _dealt(
    centred: Float64[np.ndarray, "rna test"], units: Units
) -> Float64[np.ndarray, " test"]:
    sizes, k = units.sizes, len(units.starts)
    means = units.sums(centred) / sizes
    off = centred - means.mean(0)  # a unit counts once in the mean, too
    means -= means.mean(0)
    squares = units.sums(off**2) / sizes
    total = np.maximum(squares.mean(0) * k / (k - 1), 1e-12)
    within = _within(squares - means**2, sizes, total)
    ratio = 1 - within / total * (1 - 1 / sizes)
    weight = 1 / ratio
    shares = units.shares
    contrast = weight * (shares - (weight * shares).sum(0) / weight.sum(0))
    cubes = (units.sums(off**3) / sizes).mean(0) * k * k / ((k - 1) * max(k - 2, 1))
    variance = (contrast**2 * ratio).sum(0) * total
    third = (contrast**3 * ratio).sum(0) * cubes
    found = (contrast * means).sum(0)
    tails = [
        moment_tail(
            sign * found,
            np.stack([np.zeros_like(found), variance, sign * third], axis=-1),
            step=0.0,
        )
        for sign in (1.0, -1.0)
    ]
    least = max(units.smallest_p, SMALLEST)
    out: Float64[np.ndarray, " test"]
    out = np.clip(2 * np.minimum(tails[0], tails[1]), least, 1.0)
    return out


def _within(
    inside: Float64[np.ndarray, "unit test"],
    sizes: Float64[np.ndarray, "unit 1"],
    total: Float64[np.ndarray, " test"],
) -> Float64[np.ndarray, " test"]:
    """Returns the variance among RNAs of one unit, shrunk towards none.

    Args:
        inside: mean square of a unit's RNAs about its own mean.
        sizes: RNAs of each unit.
        total: variance of RNAs of different units.
    """
    k, several = len(sizes), int((sizes > 1).sum())
    if not several:
        return np.zeros_like(total)
    within = inside.sum(0) / (1 - 1 / sizes).sum()
    # If all have several there is nothing that these few could misrepresent.
    prior = _PRIOR_UNITS * (1 - several / k)
    out: Float64[np.ndarray, " test"]
    out = np.clip(within, 0, total) * several / (several + prior)
    return out


def _scored(
    centred: Float64[np.ndarray, "rna test"], units: Units
) -> Float64[np.ndarray, " test"]:
    n, m = len(centred), int(units.is_first.sum())
    weight = units.is_first[:, None] - m / n
    parts = weight * centred
    single = (parts**2).sum(0)
    n_units = len(units.starts)
    spread = m * (n - m) / (n * (n - 1)) * (centred**2).sum(0)
    clustered = (units.sums(parts) ** 2).sum(0)
    clustered *= n_units / max(n_units - 1, 1) * (n - 1) / n
    spread = spread * clustered / np.where(single > 0, single, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(spread > 1e-12, np.abs(parts.sum(0)) / np.sqrt(spread), 0.0)
    # What each unit adds to the variance if its RNAs are half alike.
    adds = units.sums(weight) ** 2 + units.sums(weight**2)
    freedom = max(float(adds.sum() ** 2 / (adds**2).sum()) - 1, 1.0)
    # Wallace (1959): Student's t as a normal quantile, right to a few thousandths.
    z = np.sqrt(freedom * np.log1p(z**2 / freedom))
    z = z * (8 * freedom + 1) / (8 * freedom + 3)
    out: Float64[np.ndarray, " test"] = np.clip(2 * normal_tail(z), SMALLEST, 1.0)
    return out
