"""How likely chance gives a local alignment score: extreme-value statistics.

The best score of two unrelated RNAs has a tail like that of a Gumbel distribution.
For scorings that break alignments off early its location grows with the logarithms of
the lengths (Karlin and Altschul 1990); for generous ones, which rank remote relatives
better, also in proportion to the length that two RNAs can share, and the scores spread
the more, the longer that is. All of it is fitted; the tail to the highest scores of
unrelated pairs only, since it is what E-values are about. Knows nothing of how scores
are made.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ribolex.errors import InvalidRequestError

_TAIL = 0.0015
"""Upper share of the scores that the tail is fitted to."""
_ENOUGH_IN_TAIL = 1000
"""So many are taken of fewer scores, but no more than a twentieth of all."""
_FEWEST_IN_TAIL = 20
_FEWEST_SCORES = 50
_ROUNDS = 3
_LONGEST = 1024, 4096
"""Of a query and of a target: what lies beyond is aligned as RNAs of their own, so
that chance has more tries there, not better ones."""
_OVERLAP_UNIT = 100.0
E_VALUES = 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0

Score = Callable[[Sequence[str], Sequence[str]], Float[np.ndarray, "query target"]]
"""Gives the scores of all queries with all targets."""


@dataclass(frozen=True, slots=True)
class ExtremeValue:
    """Distribution of the scores of unrelated RNAs, of m and n nucleotides.

    With h = m n / (m + n) / 100, what the score is above `location + query_slope * ln m
    + target_slope * ln n + overlap_slope * h`, over `h ** growth`, follows Gumbel's
    distribution with that rate and mode: P = 1 - exp(-exp(-rate * (that - mode))).
    Scores and lengths may be numbers or arrays that go together.
    """

    rate: float
    """Lambda: per unit of score, > 0."""
    location: float
    query_slope: float
    target_slope: float
    overlap_slope: float = 0.0
    growth: float = 0.0
    mode: float = 0.0

    def log_p_value(
        self,
        score: Float[np.ndarray, "*any"] | float,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
    ) -> Float[np.ndarray, "*any"]:
        """Returns ln of the probability that chance scores this or more.

        Exact for any score: nothing under- or overflows.
        """
        z = self.standardise(score, m, n)
        # P = 1 - exp(-exp(-z)); beyond 30 that is exp(-z) to the last digit.
        rare = np.exp(-np.clip(z, -30.0, 30.0))
        inner = np.log(-np.expm1(-rare))
        out: Float[np.ndarray, "*any"] = np.where(z > 30, -z, inner)
        return out

    def standardise(
        self,
        score: Float[np.ndarray, "*any"] | float,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
    ) -> Float[np.ndarray, "*any"]:
        """Returns z of P = 1 - exp(-exp(-z)), which is linear in `score`."""
        m, n = (np.maximum(np.asarray(x, np.float64), 1) for x in (m, n))
        used_m, used_n = np.minimum(m, _LONGEST[0]), np.minimum(n, _LONGEST[1])
        tries = np.log(m / used_m) + np.log(n / used_n)
        features, spread = _features(used_m, used_n, self.growth)
        weights = self.location, self.query_slope, self.target_slope, self.overlap_slope
        excess = np.asarray(score, np.float64) - features @ np.array(weights)
        out: Float[np.ndarray, "*any"] = (
            self.rate * (excess / spread - self.mode) - tries
        )
        return out

    def p_value(
        self,
        score: Float[np.ndarray, "*any"] | float,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
    ) -> Float[np.ndarray, "*any"]:
        """Returns the probability that chance scores this or more; 0 below 1e-308."""
        out: Float[np.ndarray, "*any"] = np.exp(self.log_p_value(score, m, n))
        return out

    def e_value(
        self,
        score: Float[np.ndarray, "*any"] | float,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
        n_targets: int,
    ) -> Float[np.ndarray, "*any"]:
        """Returns how many of `n_targets` targets chance lets score this or more.

        Args:
            score: of the alignment.
            m: length of the query.
            n: length of the target.
            n_targets: that were searched, found or not.
        """
        logs = self.log_p_value(score, m, n)
        out: Float[np.ndarray, "*any"] = np.exp(logs + math.log(max(n_targets, 1)))
        return out

    def bits(
        self,
        score: Float[np.ndarray, "*any"] | float,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
    ) -> Float[np.ndarray, "*any"]:
        """Returns how improbable the score is: one bit more, half as likely."""
        out: Float[np.ndarray, "*any"] = -self.log_p_value(score, m, n) / math.log(2)
        return out

    def to_numbers(self) -> dict[str, float]:
        """Returns the fields by name, to be stored."""
        return asdict(self)

    @classmethod
    def from_numbers(cls, numbers: dict[str, float], where: str) -> "ExtremeValue":
        """Returns what `to_numbers` was given.

        Raises:
            InvalidRequestError: fields are lacking, unknown or not finite.
        """
        names = set(cls.__dataclass_fields__)
        if set(numbers) != names or not all(map(math.isfinite, numbers.values())):
            raise InvalidRequestError(
                where, f"{numbers}, expected finite {', '.join(sorted(names))}"
            )
        if numbers["rate"] <= 0:
            raise InvalidRequestError(where, f"rate {numbers['rate']}, expected > 0")
        return cls(**numbers)


def fit(
    scores: Float[np.ndarray, " pair"],
    m: Int[np.ndarray, " pair"],
    n: Int[np.ndarray, " pair"],
) -> ExtremeValue:
    """Returns the statistics of scores of unrelated pairs.

    Least squares give location and spread, in turns; the mean excess of the highest
    scores over the lowest of them gives the rate.

    Args:
        scores: of pairs that chance alone made alike, shuffled ones for example.
        m: lengths of the queries.
        n: lengths of the targets.

    Raises:
        InvalidRequestError: too few scores, not finite, or all the same.
    """
    scores = np.asarray(scores, np.float64)
    if len(scores) < _FEWEST_SCORES or not np.isfinite(scores).all():
        raise InvalidRequestError(
            "scores", f"{len(scores)}, expected {_FEWEST_SCORES} or more finite ones"
        )
    if np.ptp(scores) == 0:
        raise InvalidRequestError("scores", f"all {scores[0]}, expected various ones")
    m, n = (
        np.clip(np.asarray(x, np.float64), 1, longest)
        for x, longest in zip((m, n), _LONGEST, strict=True)
    )
    growth = 0.0
    for _ in range(_ROUNDS):
        features, spread = _features(m, n, growth)
        weighed = features / spread[:, None]
        # Of lengths that never vary, lstsq takes the smallest weights that will do.
        weights = np.linalg.lstsq(weighed, scores / spread, rcond=1e-10)[0]
        residues = scores - features @ weights
        growth = _growth(residues, features[:, 3])
    spread = _features(m, n, growth)[1]
    standard = np.sort(residues / spread)
    enough = min(_ENOUGH_IN_TAIL, len(standard) // 20)
    n_tail = max(int(_TAIL * len(standard)), enough, _FEWEST_IN_TAIL)
    tail = standard[-n_tail:]
    rate = 1 / max(float((tail - tail[0]).mean()), 1e-9)
    # Where the tail begins, Gumbel's distribution has its share above.
    begins = -math.log(-math.log1p(-n_tail / len(standard)))
    mode = float(tail[0]) - begins / rate
    location, of_query, of_target, of_overlap = (float(x) for x in weights)
    return ExtremeValue(rate, location, of_query, of_target, of_overlap, growth, mode)


def calibrate(
    score: Score, queries: Sequence[str], targets: Sequence[str]
) -> ExtremeValue:
    """Returns statistics of the scores of queries and targets.

    Args:
        score: gives scores, as a search would.
        queries: unrelated to all targets: shuffled ones.
        targets: as they will be searched.
    """
    scores = np.asarray(score(queries, targets), np.float64)
    lengths = [np.array([len(x) for x in group]) for group in (queries, targets)]
    m, n = (x.ravel() for x in np.meshgrid(*lengths, indexing="ij"))
    return fit(scores.ravel(), m, n)


class Search(NamedTuple):
    """The scores of a query with targets that it has nothing in common with."""

    scores: Float[np.ndarray, " target"]
    m: int
    n: Int[np.ndarray, " target"]


class FalseHits(NamedTuple):
    """Hits of searches that should have none."""

    e_value: float
    """Hits of at most this E-value are counted."""
    expected: float
    observed: int

    @property
    def ratio(self) -> float:
        """Observed over expected: 1 where E-values are right."""
        return self.observed / self.expected


def count_false_hits(
    statistics: ExtremeValue,
    searches: Iterable[Search],
    e_values: Sequence[float] = E_VALUES,
) -> list[FalseHits]:
    """Returns how many false hits there are, and how many there should be.

    Args:
        statistics: under test.
        searches: read once, one at a time: shuffled or reversed queries.
        e_values: at which to count.
    """
    observed, n_searches = np.zeros(len(e_values), np.int64), 0
    for search in searches:
        e = statistics.e_value(search.scores, search.m, search.n, len(search.scores))
        observed += (e[:, None] <= np.asarray(e_values)).sum(axis=0)
        n_searches += 1
    return [
        FalseHits(e, e * n_searches, int(count))
        for e, count in zip(e_values, observed, strict=True)
    ]


def _features(
    m: Float[np.ndarray, "*any"], n: Float[np.ndarray, "*any"], growth: float
) -> tuple[Float[np.ndarray, "*any four"], Float[np.ndarray, "*any"]]:
    """Returns what the location depends on, and how much scores spread."""
    overlap = m * n / (m + n) / _OVERLAP_UNIT
    ones = np.ones_like(overlap)
    features = np.stack([ones, np.log(m) * ones, np.log(n) * ones, overlap], axis=-1)
    return features, overlap**growth


def _growth(
    residues: Float[np.ndarray, " pair"], overlaps: Float[np.ndarray, " pair"]
) -> float:
    """Returns the power of the overlap that the size of residues grows with."""
    sizes = np.log(np.abs(residues) + 1e-3 * residues.std())
    logs = np.log(overlaps)
    logs = logs - logs.mean()
    variance = float((logs**2).mean())
    if variance < 1e-9:
        return 0.0
    return float(np.clip((logs * sizes).mean() / variance, 0.0, 1.0))
