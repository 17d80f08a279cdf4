"""Finding relatives: which queries are asked, and how good a ranking is.

A query is a member of a validation family; what should be found are the other members
of its family, among RNAs of training and validation families. In a near case all of
them may be found; in a remote case those are taken out that share 60 % or more of the
aligned letters with the query, so that what is left no longer looks alike. Knows
nothing of models or of how a ranking is made.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int64

from ribolex.errors import CorruptInputError
from ribolex.rna import AlignmentRow, Rna
from ribolex.rna.alphabet import GAPS

ALIKE = 0.60
"""From this share of equal aligned letters on a relative is too easy to be remote."""
_SMALLEST_FAMILY = 5
_QUERIES_A_FAMILY = 20
_DEPTH = 100
_QUERIES_A_PART = 64


@dataclass(frozen=True, slots=True)
class CasePlan:
    """How much of the tables is used; the defaults use all RNAs up to 512 nt."""

    longest: int = 512
    n_queries: int | None = None
    """Near ones, and remote ones, spread over the families; None for all."""
    members: int | None = None
    """Of each validation family that are asked for; None for all."""
    n_others: int | None = None
    """RNAs of all other families; None for all."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """One query; numbers are places in the database."""

    query: int
    family: str
    excluded: Int64[np.ndarray, " excluded"]
    """Taken out of the ranking, the query itself among them."""
    relatives: Int64[np.ndarray, " relative"]
    """What should be found, one or more."""


@dataclass(frozen=True, slots=True)
class Cases:
    """A database of unique RNAs in random order, and what is asked of it."""

    database: Sequence[str]
    near: Sequence[Case]
    remote: Sequence[Case]

    @property
    def queries(self) -> Int64[np.ndarray, " query"]:
        """Places of all queries, near and remote, each once."""
        asked = {case.query for case in (*self.near, *self.remote)}
        return np.array(sorted(asked), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RetrievalScore:
    """Means over families of means over their queries."""

    p_at_1: float
    """First hit is a relative."""
    recall_at_10: float
    """Relatives among the first 10 hits, over as many as could be there."""
    map_at_100: float
    """Mean average precision of the first 100 hits."""
    n_queries: int
    n_families: int


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """One method's scores."""

    near: RetrievalScore
    remote: RetrievalScore


Ranker = Callable[
    [Int64[np.ndarray, " query"]], Mapping[str, Float32[np.ndarray, "query rna"]]
]
"""Scores queries against the database, higher is nearer, by one method or more."""


def build_cases(
    training: Iterable[Rna],
    validation: Iterable[Rna],
    aligned: Iterable[AlignmentRow] | None,
    plan: CasePlan,
) -> Cases:
    """Returns the near and remote cases of the tables.

    Args:
        training: RNAs of families that are not asked for.
        validation: RNAs of families that are.
        aligned: alignment rows of all of the latter; without them there are no
            remote cases.
        plan: how much is used.

    Raises:
        CorruptInputError: a member of a validation family has no alignment row, or
            one of another length.
    """
    generator = np.random.default_rng(plan.seed)
    unique: dict[str, Rna] = {}
    for rna in validation:
        unique.setdefault(rna.sequence, rna)
    asked = _families(unique.values(), plan, generator)
    members = {rna.sequence for family in asked.values() for rna in family}
    for rna in training:
        unique.setdefault(rna.sequence, rna)
    fitting = [s for s in unique if len(s) <= plan.longest]
    others = [s for s in fitting if s not in members and not _is_of(unique[s], asked)]
    if plan.n_others is not None:
        drawn = generator.permutation(len(others))[: plan.n_others]
        others = [others[i] for i in drawn]
    database = [*sorted(members), *others]
    database = [database[i] for i in generator.permutation(len(database))]
    places = {sequence: i for i, sequence in enumerate(database)}
    rows = {(row.family_acc, row.name): row.aligned for row in aligned or ()}
    near: dict[str, list[Case]] = {}
    remote: dict[str, list[Case]] = {}
    for family, rnas in asked.items():
        own = np.array([places[rna.sequence] for rna in rnas])
        order = generator.permutation(len(rnas))
        near[family] = _cases(family, own, np.eye(len(rnas), dtype=bool), order)
        if aligned is not None:
            identity = identities(_rows_of(rows, family, rnas))
            remote[family] = _cases(family, own, identity >= ALIKE, order)
    return Cases(
        database, _spread(near, plan.n_queries), _spread(remote, plan.n_queries)
    )


def identities(rows: Sequence[str]) -> Float[np.ndarray, "row row"]:
    """Returns the share of equal letters of each pair of alignment rows.

    Over the columns in which neither has a gap; 0 where there are none.
    """
    columns = np.array([list(row.upper().replace("T", "U")) for row in rows])
    is_letter = ~np.isin(columns, list(GAPS))
    shared = is_letter.astype(np.float32) @ is_letter.T.astype(np.float32)
    equal = np.zeros_like(shared)
    for letter in np.unique(columns[is_letter]):
        holds = (columns == letter).astype(np.float32)
        equal += holds @ holds.T
    out: Float[np.ndarray, "row row"] = equal / np.maximum(shared, 1)
    return out


class Measured(NamedTuple):
    """What a method made of one case."""

    is_remote: bool
    family: str
    p_at_1: float
    recall_at_10: float
    average_precision: float


Found = dict[str, list[Measured]]
"""By method."""
Recall = Callable[[str, Callable[[], Found]], Found]
"""Returns what was found in a part of the queries, by its name, or has it found."""


def _forget(part: str, measure: Callable[[], Found]) -> Found:
    return measure()


def score_rankings(
    cases: Cases,
    ranker: Ranker,
    note: Callable[[int, int], None] | None = None,
    recall: Recall = _forget,
) -> dict[str, RetrievalScores]:
    """Returns the scores of every method of a ranker, by its name.

    Args:
        cases: what is asked.
        ranker: called with some queries at a time.
        note: told how many of how many queries are done.
        recall: finds again what an earlier call has found.
    """
    queries = cases.queries
    found: Found = defaultdict(list)
    for start in range(0, len(queries), _QUERIES_A_PART):
        part = queries[start : start + _QUERIES_A_PART]
        name = f"queries {start} to {start + len(part) - 1}"
        for method, rows in recall(name, partial(_find, cases, ranker, part)).items():
            found[method] += rows
        if note is not None:
            note(start + len(part), len(queries))
    return {
        method: RetrievalScores(
            _score([row for row in rows if not row.is_remote]),
            _score([row for row in rows if row.is_remote]),
        )
        for method, rows in found.items()
    }


def _find(cases: Cases, ranker: Ranker, part: Int64[np.ndarray, " query"]) -> Found:
    """Returns what every method of a ranker made of some queries' cases."""
    asked: dict[int, list[tuple[bool, Case]]] = defaultdict(list)
    for is_remote, several in ((False, cases.near), (True, cases.remote)):
        for case in several:
            asked[case.query].append((is_remote, case))
    return {
        method: [
            Measured(is_remote, case.family, *measure_ranking(row, case))
            for query, row in zip(part.tolist(), scores, strict=True)
            for is_remote, case in asked[query]
        ]
        for method, scores in ranker(part).items()
    }


def measure_ranking(
    scores: Float32[np.ndarray, " rna"], case: Case
) -> tuple[float, float, float]:
    """Returns precision at 1, recall at 10 and average precision at 100 of a query."""
    ranked = scores.astype(np.float64)
    ranked[case.excluded] = -np.inf
    return measure_order(np.argsort(-ranked, kind="stable")[:_DEPTH], case)


def measure_order(
    order: Int[np.ndarray, " hit"], case: Case
) -> tuple[float, float, float]:
    """Returns the same of the hits that a search gave, the nearest first.

    Args:
        order: places in the database, without those taken out; may be none.
        case: what was asked.
    """
    hits = np.isin(order[:_DEPTH], case.relatives)
    n = len(case.relatives)
    precisions = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return (
        float(hits[:1].sum()),
        float(hits[:10].sum() / min(10, n)),
        float((precisions * hits).sum() / min(_DEPTH, n)),
    )


def _score(rows: Iterable[Measured]) -> RetrievalScore:
    """Returns the means over families of means over their queries."""
    families: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for row in rows:
        measures = row.p_at_1, row.recall_at_10, row.average_precision
        families[row.family].append(measures)
    means = [np.mean(queries, axis=0) for queries in families.values()]
    p, recall, precision = np.mean(means, axis=0) if means else (np.nan,) * 3
    n_queries = sum(map(len, families.values()))
    return RetrievalScore(
        float(p), float(recall), float(precision), n_queries, len(means)
    )


def _families(
    rnas: Iterable[Rna], plan: CasePlan, generator: np.random.Generator
) -> dict[str, list[Rna]]:
    """Returns the members of the validation families that are large enough."""
    families: dict[str, list[Rna]] = defaultdict(list)
    for rna in rnas:
        if len(rna.sequence) <= plan.longest:
            families[rna.metadata.get("family_acc", "")].append(rna)
    out = {}
    for family, members in families.items():
        if family and len(members) >= _SMALLEST_FAMILY:
            drawn = generator.permutation(len(members))[: plan.members]
            out[family] = [members[i] for i in sorted(drawn)]
    return out


def _is_of(rna: Rna, families: Mapping[str, object]) -> bool:
    return rna.metadata.get("family_acc", "") in families


def _rows_of(
    rows: Mapping[tuple[str, str], str], family: str, rnas: Sequence[Rna]
) -> list[str]:
    found = [rows.get((family, rna.name), "") for rna in rnas]
    for rna, row in zip(rnas, found, strict=True):
        if len(row) != len(found[0]) or not row:
            problem = f"{len(row)} columns, expected {len(found[0])}" if row else "none"
            raise CorruptInputError(f"alignment row of {rna.name}, {family}", problem)
    return found


def _cases(
    family: str,
    own: Int64[np.ndarray, " member"],
    is_out: Bool[np.ndarray, "member member"],
    order: Int64[np.ndarray, " member"],
) -> list[Case]:
    """Returns up to 20 cases of a family, of queries with a relative left."""
    out = []
    for i in order:
        taken = is_out[i].copy()
        taken[i] = True
        if not taken.all():
            out.append(Case(int(own[i]), family, own[taken], own[~taken]))
        if len(out) == _QUERIES_A_FAMILY:
            break
    return out


def _spread(families: Mapping[str, Sequence[Case]], n: int | None) -> list[Case]:
    """Returns n cases: the first of each family, then the second, and so on."""
    deepest = max(map(len, families.values()), default=0)
    out = [
        cases[depth]
        for depth in range(deepest)
        for cases in families.values()
        if depth < len(cases)
    ]
    return out[:n]
