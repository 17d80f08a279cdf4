"""What can be asked of a search, and what it gives.

Knows nothing of how RNAs are found.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ribolex.dictionary import Codes
from ribolex.errors import IncompatibleDictionaryError, InvalidRequestError
from ribolex.server.index.hits import Hit
from ribolex.server.index.metadata import Condition
from ribolex.server.index.records import PooledCode

Sensitivity = Literal["fast", "sensitive", "exhaustive"]


class Query(NamedTuple):
    """What to compare the RNAs of a collection with."""

    pooled: PooledCode
    """As the collection's measure pools."""
    codes: Codes | None
    """The nucleotides behind it, where they are known."""
    sequence: str | None = None
    """Their letters, likewise."""
    excluded: int | None = None
    """Id of the RNA that is no hit, being the query itself."""
    fvu: float | None = None


class Rank(NamedTuple):
    """Where a hit stands among others; smaller is better, and no two are equal."""

    e_value: float
    """0 where there is none."""
    minus_score: float
    name: str


Check = Callable[[], None]
"""Called between blocks of work; raises when nobody waits any more."""


def go_on() -> None:
    """Does nothing: nobody ends the search."""


@dataclass(frozen=True, slots=True)
class Search:
    """How to search, and for how much."""

    limit: int
    """Most hits, of all pages."""
    max_shared: int
    """Most features to list in each."""
    sensitivity: Sensitivity | None = None
    """None: what the collection's dictionary allows."""
    max_e_value: float | None = None
    where: tuple[Condition, ...] = ()
    page_size: int = 0
    """Most hits to explain and return; 0 for all."""
    after: Rank | None = None
    """The last hit of the page before."""
    check: Check = go_on
    exact: bool = False
    """Whether a fast search compares all RNAs, not only candidates."""

    def cut(self, ranks: Sequence[Rank]) -> Sequence[Rank]:
        """Returns those ranks of all hits, in their order, that are left to tell."""
        after = self.after
        return ranks if after is None else [rank for rank in ranks if rank > after]


class Found(NamedTuple):
    """One page of hits."""

    hits: list[Hit]
    sensitivity: Sensitivity
    n_rnas: int
    """In the collection."""
    n_searched: int
    """Of these, that the conditions let through."""
    last: Rank | None
    """Of the page; None if no other page follows."""


def cannot_align(ref: str) -> IncompatibleDictionaryError:
    """Returns the error of who wants alignments under a dictionary without a model."""
    return IncompatibleDictionaryError(
        ref, "alignment model", "missing", "one, as ribolex dictionaries align makes"
    )


def choose(query: Query, search: Search, ref: str, can_align: bool) -> Sensitivity:
    """Returns how to search, once it is clear that this can be done.

    Args:
        query: what to look for.
        search: how, and for how much.
        ref: of the dictionary of the collection.
        can_align: whether that has an alignment model.

    Raises:
        IncompatibleDictionaryError: it is to align, and cannot.
        InvalidRequestError: what is asked for contradicts itself.
    """
    wanted = search.sensitivity
    if wanted == "fast" and search.max_e_value is not None:
        raise InvalidRequestError(
            "max_e_value", "a fast search has no E-values, expected another one"
        )
    is_aligned = wanted in ("sensitive", "exhaustive")
    is_aligned = is_aligned or search.max_e_value is not None
    if is_aligned and not can_align:
        raise cannot_align(ref)
    if query.sequence is None and is_aligned:
        raise InvalidRequestError(
            "code", "has nothing to align, expected a sequence or an RNA"
        )
    if wanted is not None:
        return wanted
    return "sensitive" if can_align and query.sequence is not None else "fast"
