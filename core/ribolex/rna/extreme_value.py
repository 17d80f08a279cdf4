"""How likely chance gives a local alignment score: extreme-value statistics.

The best score of two unrelated RNAs follows a Gumbel distribution whose location grows
with the logarithms of their lengths (Karlin and Altschul 1990). The slopes are fitted:
a finite RNA has no room for an alignment that starts near its end, which makes them
steeper than theory's for endless ones. Fitted to the upper half of the scores of
unrelated pairs only, since that is the side that E-values are about. Knows nothing of
how scores are made.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ribolex.errors import InvalidRequestError

_CENSORED = 0.5
"""Lower share of the scores of which the fit only knows that they are low."""
_MOST_STEPS = 200
_FEWEST_SCORES = 50
E_VALUES = 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0

Score = Callable[[Sequence[str], Sequence[str]], Float[np.ndarray, "query target"]]
"""Gives the scores of all queries with all targets."""


@dataclass(frozen=True, slots=True)
class ExtremeValue:
    """Gumbel distribution of the scores of unrelated RNAs.

    Its location is `location + query_slope * ln m + target_slope * ln n`, m and n the
    lengths, plus what is known of this query and this target (`shift`). Scores and
    lengths may be numbers or arrays that go together.
    """

    rate: float
    """Lambda: per unit of score, > 0."""
    location: float
    query_slope: float
    target_slope: float
    query_spread: float = 0.0
    """Standard deviation of the shifts of queries, in units of score."""
    target_spread: float = 0.0

    def log_p_value(
        self,
        score: Float[np.ndarray, "*any"] | float,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
        shift: Float[np.ndarray, "*any"] | float = 0.0,
    ) -> Float[np.ndarray, "*any"]:
        """Returns ln of the probability that chance scores this or more.

        Exact for any score: nothing under- or overflows.
        """
        excess = np.asarray(score, np.float64) - shift - self._locations(m, n)
        z = self.rate * excess
        # P = 1 - exp(-exp(-z)); beyond 30 that is exp(-z) to the last digit.
        rare = np.exp(-np.clip(z, -30.0, 30.0))
        inner = np.log(-np.expm1(-rare))
        out: Float[np.ndarray, "*any"] = np.where(z > 30, -z, inner)
        return out

    def p_value(
        self,
        score: Float[np.ndarray, "*any"] | float,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
        shift: Float[np.ndarray, "*any"] | float = 0.0,
    ) -> Float[np.ndarray, "*any"]:
        """Returns the probability that chance scores this or more; 0 below 1e-308."""
        out: Float[np.ndarray, "*any"] = np.exp(self.log_p_value(score, m, n, shift))
        return out

    def e_value(
        self,
        score: Float[np.ndarray, "*any"] | float,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
        n_targets: int,
        shift: Float[np.ndarray, "*any"] | float = 0.0,
    ) -> Float[np.ndarray, "*any"]:
        """Returns how many of `n_targets` targets chance lets score this or more.

        Args:
            score: of the alignment.
            m: length of the query.
            n: length of the target.
            n_targets: that were searched, found or not.
            shift: of the query and the target together, see `shift`.
        """
        logs = self.log_p_value(score, m, n, shift)
        out: Float[np.ndarray, "*any"] = np.exp(logs + math.log(max(n_targets, 1)))
        return out

    def bits(
        self, score: Float[np.ndarray, "*any"] | float
    ) -> Float[np.ndarray, "*any"]:
        """Returns the score without its unit: one bit more, half as likely."""
        excess = np.asarray(score, np.float64) - self.location
        out: Float[np.ndarray, "*any"] = self.rate * excess / math.log(2)
        return out

    def query_shift(
        self,
        scores: Float[np.ndarray, " decoy"],
        m: int,
        n: Int[np.ndarray, " decoy"],
    ) -> float:
        """Returns how much higher than others this query scores by chance.

        An RNA of few letters or of repeats does. Estimated from its scores with decoys
        (maximum likelihood) and drawn to 0, the more the fewer there are.
        """
        return self._shift(scores, m, n, self.query_spread)

    def target_shift(
        self,
        scores: Float[np.ndarray, " decoy"],
        m: Int[np.ndarray, " decoy"],
        n: int,
    ) -> float:
        """Returns the same for a target, from its scores with decoy queries."""
        return self._shift(scores, m, n, self.target_spread)

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

    def _locations(
        self,
        m: Int[np.ndarray, "*any"] | int,
        n: Int[np.ndarray, "*any"] | int,
    ) -> Float[np.ndarray, "*any"]:
        out: Float[np.ndarray, "*any"] = (
            self.location
            + self.query_slope * np.log(np.maximum(m, 1))
            + self.target_slope * np.log(np.maximum(n, 1))
        )
        return out

    def _shift(
        self,
        scores: Float[np.ndarray, " decoy"],
        m: Int[np.ndarray, " decoy"] | int,
        n: Int[np.ndarray, " decoy"] | int,
        spread: float,
    ) -> float:
        if not len(scores) or spread == 0:
            return 0.0
        raw = _location_of(scores - self._locations(m, n), self.rate)
        error = 1 / (self.rate**2 * len(scores))
        return raw * spread**2 / (spread**2 + error)


def fit(
    scores: Float[np.ndarray, " pair"],
    m: Int[np.ndarray, " pair"],
    n: Int[np.ndarray, " pair"],
) -> ExtremeValue:
    """Returns the most likely statistics of scores of unrelated pairs.

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
    logs = [np.log(np.maximum(x, 1)) for x in (m, n)]
    # A length that never varies has no slope of its own: theory's takes its place.
    fixed = [np.ptp(x) < 1e-9 for x in logs]
    features = np.column_stack(
        [np.ones(len(scores)), *(x * (not f) for x, f in zip(logs, fixed, strict=True))]
    )
    everything = _maximise(scores, features, np.zeros(len(scores), bool))
    # z of the quantile; below it the score counts as "not above the quantile".
    quantile = -math.log(-math.log(_CENSORED))
    limits = (quantile + features @ everything[1:]) / everything[0]
    is_low = scores < limits
    rate, *locations = _maximise(np.maximum(scores, limits), features, is_low)
    location, *slopes = (float(x) / float(rate) for x in locations)
    for i, is_fixed in enumerate(fixed):
        if is_fixed:
            slopes[i] = 1 / float(rate)
            location -= slopes[i] * float(logs[i][0])
    return ExtremeValue(float(rate), location, *slopes)


def calibrate(
    score: Score,
    queries: Sequence[str],
    targets: Sequence[str],
    decoys: Sequence[str],
) -> ExtremeValue:
    """Returns statistics fitted with the shifts that searches will use.

    The shift of each query comes from its scores with the decoys, as at search time,
    so that the noise of its estimate is part of what is fitted.

    Args:
        score: gives scores, as a search would.
        queries: unrelated to all targets: shuffled ones.
        targets: as they will be searched.
        decoys: what queries are compared with at search time; none: no shifts.
    """
    lengths = [np.array([len(x) for x in group]) for group in (queries, targets)]
    scores = np.asarray(score(queries, targets), np.float64)
    m, n = (x.ravel() for x in np.meshgrid(*lengths, indexing="ij"))
    plain = fit(scores.ravel(), m, n)
    if not decoys:
        return plain
    residues = scores - plain._locations(lengths[0][:, None], lengths[1])
    spreads = [_spread_of(rows, plain.rate) for rows in (residues, residues.T)]
    statistics = replace(plain, query_spread=spreads[0], target_spread=spreads[1])
    sizes = np.array([len(x) for x in decoys])
    against = np.asarray(score(queries, decoys), np.float64)
    shifts = np.array(
        [
            statistics.query_shift(own, int(length), sizes)
            for own, length in zip(against, lengths[0], strict=True)
        ]
    )
    again = fit((scores - shifts[:, None]).ravel(), m, n)
    return replace(again, query_spread=spreads[0], target_spread=spreads[1])


class Search(NamedTuple):
    """The scores of a query with targets that it has nothing in common with."""

    scores: Float[np.ndarray, " target"]
    m: int
    n: Int[np.ndarray, " target"]
    shift: Float[np.ndarray, " target"] | float = 0.0


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
        e = statistics.e_value(
            search.scores, search.m, search.n, len(search.scores), search.shift
        )
        observed += (e[:, None] <= np.asarray(e_values)).sum(axis=0)
        n_searches += 1
    return [
        FalseHits(e, e * n_searches, int(count))
        for e, count in zip(e_values, observed, strict=True)
    ]


def _location_of(residues: Float[np.ndarray, " pair"], rate: float) -> float:
    """Returns the most likely location of a Gumbel distribution of known rate."""
    least = float(residues.min())
    return least - math.log(np.exp(-rate * (residues - least)).mean()) / rate


def _spread_of(residues: Float[np.ndarray, "row pair"], rate: float) -> float:
    """Returns the standard deviation of the rows' locations, their error taken off."""
    locations = [_location_of(row, rate) for row in residues]
    error = 1 / (rate**2 * residues.shape[1])
    return math.sqrt(max(float(np.var(locations)) - error, 0.0))


def _maximise(
    scores: Float[np.ndarray, " pair"],
    features: Float[np.ndarray, "pair feature"],
    is_low: np.ndarray,
) -> Float[np.ndarray, " parameter"]:
    """Returns rate and weights with z = rate * score - features @ weights.

    The log-likelihood, sum of ln rate - z - exp(-z), or -exp(-z) where all that is
    known is that the score is not above, is concave in both: Newton's steps, halved
    until they lead up.
    """
    design = np.column_stack([scores, -features])
    is_used = np.abs(design).sum(axis=0) > 0
    counts = ~is_low
    rate = math.pi / math.sqrt(6) / float(scores.std())
    middle = float(scores.mean()) - 0.5772 / rate
    parameters = np.zeros(design.shape[1])
    parameters[:2] = rate, rate * middle

    def likelihood(at: Float[np.ndarray, " parameter"]) -> float:
        if at[0] <= 0:
            return -math.inf
        z = np.clip(design @ at, -700, None)
        return float(counts.sum() * math.log(at[0]) - (z * counts + np.exp(-z)).sum())

    now = likelihood(parameters)
    for _ in range(_MOST_STEPS):
        rare = np.exp(-np.clip(design @ parameters, -700, None))
        gradient = design.T @ (rare - counts)
        gradient[0] += counts.sum() / parameters[0]
        curvature = (design * rare[:, None]).T @ design
        curvature[0, 0] += counts.sum() / parameters[0] ** 2
        step = np.zeros(len(parameters))
        inner = curvature[np.ix_(is_used, is_used)]
        step[is_used] = np.linalg.lstsq(inner, gradient[is_used], rcond=1e-12)[0]
        size = 1.0
        while (after := likelihood(parameters + size * step)) < now and size > 1e-9:
            size /= 2
        if after - now < 1e-9 * abs(now):
            break
        parameters, now = parameters + size * step, after
    return parameters
