"""Two groups of RNAs compared, feature by feature, with what chance would do.

An RNA stands for its pooled code, as a rule the largest value of each feature. Groups
are compared by ranks, so any rising function of values gives the same.

RNAs that are related are drawn together: each belongs to a unit, a clan or a family or
itself. Intervals draw units, and what chance would do is dealing them (`rank_tests`).
So ten families of a hundred RNAs each are about as much evidence as ten RNAs, if the
feature is the family's.

Knows nothing of where RNAs come from, or of what features mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from ribolex.dictionary.codes import SequenceCode
from ribolex.dictionary.false_discovery import benjamini_hochberg
from ribolex.dictionary.rank_tests import Units, rank_p_values

MIN_RNAS = 5
"""A feature is tested if it fires in so many RNAs of both groups together."""
N_DRAWS = 500
_BLOCK = 256
"""Features at a time."""
_INTERVAL = (2.5, 97.5)

Table = Float[np.ndarray, "rna feature"]


class Interval(NamedTuple):
    """A number for each feature, and its 95 % interval when units are drawn anew."""

    value: Float64[np.ndarray, " test"]
    low: Float64[np.ndarray, " test"]
    high: Float64[np.ndarray, " test"]


@dataclass(frozen=True, slots=True)
class Contrast:
    """How the features that were tested differ; one row a feature, by id."""

    features: Int64[np.ndarray, " test"]
    effect: Interval
    """Rank-biserial correlation, -1..1: twice the AUROC less 1. Above 0: larger in the
    first group."""
    log_ratio: Interval
    """log2 of the ratio of the shares of RNAs in which it fires, each share
    (n + 0.5) / (RNAs + 1)."""
    shares: Float64[np.ndarray, "2 test"]
    """Of the RNAs of each group in which it fires."""
    p_value: Float64[np.ndarray, " test"]
    q_value: Float64[np.ndarray, " test"]
    shuffled: Float64[np.ndarray, " test"] | None
    """The effect between the same RNAs shuffled; None if they were not read."""
    is_composition_only: Bool[np.ndarray, " test"] | None
    """Whether the effect is not more than that: the interval of the difference, in the
    direction of the effect, reaches 0."""
    smallest_p: float
    """Of any feature with such units: that of the rarest deal; 0 if units lie in both
    groups."""


class Sample(NamedTuple):
    """The RNAs of both groups, those of the first before those of the second."""

    codes: Sequence[SequenceCode]
    shuffled: Sequence[SequenceCode] | None
    """Of the same RNAs with their letters shuffled, in their order."""
    n_first: int
    units: Int64[np.ndarray, " rna"]
    """Number of the unit of each, 0 to the number of units less 1."""


def compare_groups(
    sample: Sample,
    n_features: int,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> Contrast:
    """Returns how two groups differ in every feature that fires often enough.

    Args:
        sample: at least two RNAs in each group.
        n_features: of the dictionary.
        seed: of the draws of units.
        check: called between blocks of features; raises to end it.
    """
    n = len(sample.codes)
    design = _Design.of(sample.n_first, n, sample.units, seed)
    counts = np.zeros(n_features, np.int64)
    for code in sample.codes:
        counts[code.indices] += 1
    tested = np.flatnonzero(counts >= min(MIN_RNAS, n))
    blocks = []
    for start in range(0, len(tested), _BLOCK):
        check()
        own = tested[start : start + _BLOCK]
        table = _table(sample.codes, own, n_features)
        other = None
        if sample.shuffled is not None:
            other = _table(sample.shuffled, own, n_features)
        blocks.append(_compare(table, other, design))
    joined = _Block(
        *(np.concatenate(parts, axis=-1) for parts in zip(*blocks, strict=True))
    ) if blocks else _Block(*[np.empty((3, 0)) for _ in _Block._fields])  # fmt: skip
    has_control = sample.shuffled is not None
    p_value = joined.p_value[0]
    return Contrast(
        tested,
        Interval(*joined.effect),
        Interval(*joined.log_ratio),
        joined.shares[:2],
        p_value,
        benjamini_hochberg(p_value, len(p_value)),
        joined.shuffled[0] if has_control else None,
        joined.excess[0] <= 0 if has_control else None,
        design.units.smallest_p,
    )


class _Block(NamedTuple):
    """What is known of some features."""

    effect: Float64[np.ndarray, "3 test"]
    log_ratio: Float64[np.ndarray, "3 test"]
    shares: Float64[np.ndarray, "_row test"]
    p_value: Float64[np.ndarray, "_row test"]
    shuffled: Float64[np.ndarray, "_row test"]
    excess: Float64[np.ndarray, "_row test"]
    """Lower end of the interval of the effect beyond the shuffled one."""


@dataclass(frozen=True, slots=True)
class _Design:
    """Groups and units, the same for all features."""

    n_first: int
    n: int
    units: Units
    draws: Float64[np.ndarray, "draw unit"]
    """How often each unit is drawn."""

    @classmethod
    def of(
        cls, n_first: int, n: int, units: Int64[np.ndarray, " rna"], seed: int
    ) -> "_Design":
        by_unit = Units.of(units, n_first)
        generator = np.random.default_rng(seed)
        n_units = len(by_unit.starts)
        draws = generator.multinomial(n_units, np.full(n_units, 1 / n_units), N_DRAWS)
        return cls(n_first, n, by_unit, draws.astype(np.float64))

    @property
    def n_second(self) -> int:
        return self.n - self.n_first

    def mean_in(
        self, rows: Float[np.ndarray, "rna k"], group: int
    ) -> Float64[np.ndarray, "draw k"]:
        """Returns the mean over one group in each draw; NaN where it has no RNA."""
        is_own = np.zeros((self.n, 1))
        is_own[: self.n_first] = 1.0
        if group:
            is_own = 1 - is_own
        under = self.draws @ self.units.sums(is_own)
        over = self.draws @ self.units.sums(rows * is_own)
        with np.errstate(invalid="ignore"):
            out: Float64[np.ndarray, "draw k"] = over / np.where(
                under > 0, under, np.nan
            )
        return out

    def size_of(self, group: int) -> Float64[np.ndarray, "draw 1"]:
        """Returns how many RNAs of a group are in each draw."""
        is_own = np.zeros((self.n, 1))
        is_own[: self.n_first] = 1.0
        out: Float64[np.ndarray, "draw 1"]
        out = self.draws @ self.units.sums(1 - is_own if group else is_own)
        return out


def _compare(table: Table, shuffled: Table | None, design: _Design) -> _Block:
    ranked = _Ranked.of(table, design.n_first)
    drawn = _effect_draws(ranked, design)
    fires = (table > 0).astype(np.float64)
    m = design.n_first
    shares = np.stack([fires[:m].mean(0), fires[m:].mean(0)])
    sizes = np.array([[m], [design.n_second]])
    smooth = (shares * sizes + 0.5) / (sizes + 1)
    ratio = np.log2(smooth[0] / smooth[1])
    totals = [design.size_of(group) for group in (0, 1)]
    counts = [design.mean_in(fires, group) * totals[group] for group in (0, 1)]
    parts = [(counts[g] + 0.5) / (totals[g] + 1) for g in (0, 1)]
    block = _Block(
        _interval(ranked.effect, drawn),
        _interval(ratio, np.log2(parts[0] / parts[1])),
        shares,
        rank_p_values(ranked.centred, design.units)[None],
        *np.full((2, 1, table.shape[1]), np.nan),
    )
    if shuffled is None:
        return block
    control = _Ranked.of(shuffled, m)
    sign = np.where(ranked.effect < 0, -1.0, 1.0)
    beyond = sign * (drawn - _effect_draws(control, design))
    low = np.nanpercentile(beyond, _INTERVAL[0], axis=0)
    return block._replace(shuffled=control.effect[None], excess=low[None])


class _Ranked(NamedTuple):
    """Values as ranks, and what they say of two groups."""

    centred: Float64[np.ndarray, "rna test"]
    """Ranks among all RNAs, equal values sharing theirs, less their mean."""
    wins: Float64[np.ndarray, "rna test"]
    """Of each RNA the share of the other group's RNAs with smaller values, equal ones
    counted half."""
    effect: Float64[np.ndarray, " test"]

    @classmethod
    def of(cls, table: Table, n_first: int) -> "_Ranked":
        n, m = len(table), n_first
        ranks = mid_ranks(table)
        first, second = table[:m], table[m:]
        wins = np.concatenate(
            [
                (ranks[:m] - mid_ranks(first)) / (n - m),
                (ranks[m:] - mid_ranks(second)) / m,
            ]
        )
        return cls(ranks - (n + 1) / 2, wins, 2 * wins[:m].mean(0) - 1)


def mid_ranks(table: Table) -> Float64[np.ndarray, "rna feature"]:
    """Returns the rank of each value in its column, from 1; equal ones share theirs."""
    n = len(table)
    order = np.argsort(table, axis=0, kind="stable")
    ordered = np.take_along_axis(table, order, 0)
    places = np.arange(n)[:, None]
    is_new = np.ones(table.shape, bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    firsts = np.maximum.accumulate(np.where(is_new, places, 0), axis=0)
    is_last = np.ones(table.shape, bool)
    is_last[:-1] = is_new[1:]
    lasts = np.where(is_last, places, n)[::-1]
    lasts = np.minimum.accumulate(lasts, axis=0)[::-1]
    out = np.empty(table.shape)
    np.put_along_axis(out, order, (firsts + lasts) / 2 + 1, 0)
    return out


def _effect_draws(ranked: _Ranked, design: _Design) -> Float64[np.ndarray, "draw test"]:
    """Returns the effect in each draw of units, to first order.

    With A the AUROC: mean wins of the first group + (1 - mean wins of the second) - A,
    Hoeffding's projection, which is off from the effect of the drawn RNAs by what is
    of the order of 1 / RNAs.
    """
    auroc = (ranked.effect + 1) / 2
    first = design.mean_in(ranked.wins, 0)
    second = 1 - design.mean_in(ranked.wins, 1)
    out: Float64[np.ndarray, "draw test"]
    out = 2 * np.clip(first + second - auroc, 0, 1) - 1
    return out


def _interval(
    value: Float64[np.ndarray, " test"], drawn: Float64[np.ndarray, "draw test"]
) -> Float64[np.ndarray, "3 test"]:
    low, high = np.nanpercentile(drawn, _INTERVAL, axis=0)
    return np.stack([value, np.minimum(low, value), np.maximum(high, value)])


def _table(
    codes: Sequence[SequenceCode], features: Int64[np.ndarray, " test"], width: int
) -> Table:
    """Returns the values of some features, rising, in all codes."""
    column = np.full(width, -1)
    column[features] = np.arange(len(features))
    out = np.zeros((len(codes), len(features)), np.float32)
    for row, code in enumerate(codes):
        at = column[code.indices]
        own = at >= 0
        out[row, at[own]] = code.values[own]
    return out
