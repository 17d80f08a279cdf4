"""What a search is asked and answers, as values: conditions, hits, alignments.

Field by field the messages of `ribolex.v1`, which say more. Knows no gRPC.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from ribolex.client.records import DictionaryRef, Rejection, Rna, Timing

Sensitivity = Literal["fast", "sensitive", "exhaustive"]


@dataclass(frozen=True, slots=True)
class Between:
    """A condition: a number within bounds, both included; None: no bound."""

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class NoneOf:
    """A condition: none of these values, or no value at all."""

    values: Collection[str]


Test = str | Collection[str] | Between | NoneOf
"""A value, or several of which one must be there, or a condition.

A value such as "Gene;tRNA" equals itself, "Gene" and "tRNA".
"""
Where = Mapping[str, Test] | Sequence[tuple[str, Test]]
"""What the metadata of an RNA must be like, by key; "length" is its nucleotides."""


@dataclass(frozen=True, slots=True)
class SharedFeature:
    """A feature that makes a hit one; positions count from 0."""

    feature: int
    contribution: float
    """What it adds to the score."""
    label: str
    query_positions: tuple[int, ...]
    target_positions: tuple[int, ...]


Operation = Literal["pair", "query_only", "target_only"]


@dataclass(frozen=True, slots=True)
class Step:
    """Some columns of one kind in an alignment."""

    operation: Operation
    length: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where two RNAs align and how well; positions from 0, stops exclusive."""

    e_value: float
    """Hits this good to be expected by chance."""
    bit_score: float
    identity: float
    """Fraction of the columns, gaps included, with the same letter twice."""
    query_start: int
    query_stop: int
    target_start: int
    target_stop: int
    steps: tuple[Step, ...]
    letter_contribution: float
    """What pairs of letters add to the score."""
    gap_contribution: float
    """What gaps take from it, <= 0."""

    def columns(self) -> Iterator[tuple[int | None, int | None]]:
        """Yields the nucleotides of query and hit in each column; None: a gap."""
        query, target = self.query_start, self.target_start
        for step in self.steps:
            for _ in range(step.length):
                in_query = step.operation != "target_only"
                in_target = step.operation != "query_only"
                yield query if in_query else None, target if in_target else None
                query, target = query + in_query, target + in_target


@dataclass(frozen=True, slots=True)
class Hit:
    """One similar RNA, explained."""

    rna: Rna
    score: float
    """Of the alignment; or, of a fast search, likeness of the codes, 0 to 1."""
    shared_features: tuple[SharedFeature, ...]
    """Largest contribution first."""
    n_shared_features: int
    other_contribution: float
    """What the features that are not listed add to the score."""
    alignment: Alignment | None = None
    """None if the search was a fast one."""


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Hit]):
    """The answer to one search: a sequence of hits, best first."""

    hits: tuple[Hit, ...]
    dictionary: DictionaryRef
    n_rnas: int
    """RNAs that the collection held."""
    query_fvu: float | None
    """As in `Encoded`; None if the query was a code."""
    timing: Timing
    sensitivity: Sensitivity = "fast"
    """How it was searched."""
    n_searched: int = 0
    """RNAs that fulfilled the conditions."""
    rejection: Rejection | None = None
    """Why there are no hits: the query, of a stream, was refused."""

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def columns(self) -> dict[str, list[Any]]:
        """Returns the hits as a table, column by column, for `pandas.DataFrame`.

        Positions count from 0 and stops are exclusive. What a fast search does not
        know is None.
        """
        rows = [_row(hit) for hit in self.hits]
        return {name: [row[i] for row in rows] for i, name in enumerate(_COLUMNS)}


_COLUMNS = (
    "target", "score", "e_value", "bit_score", "identity", "query_start", "query_stop",
    "target_start", "target_stop", "family", "type",
)  # fmt: skip


def _row(hit: Hit) -> tuple[Any, ...]:
    known = [getattr(hit.alignment, name, None) for name in _COLUMNS[2:9]]
    labels = (hit.rna.metadata.get(name) for name in _COLUMNS[9:])
    return (hit.rna.name, hit.score, *known, *labels)


@dataclass(frozen=True, slots=True)
class Aligned:
    """Two RNAs, aligned and explained."""

    query: Rna
    hit: Hit
    """The other RNA; its alignment is None if nothing in them is alike."""
    dictionary: DictionaryRef
    timing: Timing
