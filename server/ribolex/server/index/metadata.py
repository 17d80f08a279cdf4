"""Which RNAs of a collection to search: conditions on what is known of them.

Labels are kept by column in memory, so that a condition looks at each different value
once. Knows ids, keys and values; nothing of what they mean, or of search.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from ribolex.errors import InvalidRequestError

LENGTH = "length"
"""Key that stands for the number of nucleotides, whatever the metadata say."""

MAX_KEYS = 256
"""Different ones that the RNAs of a collection may have: each is a column."""

_PART = ";"
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.I)
_MAX_TOLD = 10
_FIRST_ROOM = 1024
_SLACK = 64
"""Ids for each value that a column may hold beyond twice those that RNAs have: so
many are looked at, at most, for each that is forgotten."""
_MAX_KEPT = 16
"""Answers to conditions that are kept until the next change."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A value must be one of these, or have one of them among its parts.

    The parts of "Gene;tRNA" are "Gene" and "tRNA".
    """

    key: str
    values: frozenset[str]

    def accepts(self, value: str | None) -> bool:
        """Returns whether an RNA with that value passes; None: it has none."""
        if value is None:
            return False
        return not self.values.isdisjoint(parts_of_value(value))


@dataclass(frozen=True, slots=True)
class NoneOf:
    """A value must not pass `AnyOf` these; an RNA without a value passes."""

    key: str
    values: frozenset[str]

    def accepts(self, value: str | None) -> bool:
        """Returns whether an RNA with that value passes; None: it has none."""
        return not AnyOf(self.key, self.values).accepts(value)


@dataclass(frozen=True, slots=True)
class Between:
    """A value must be a number within bounds, both included."""

    key: str
    minimum: float
    maximum: float

    def accepts(self, value: str | None) -> bool:
        """Returns whether an RNA with that value passes; None: it has none."""
        number = None if value is None else number_of(value)
        return number is not None and self.minimum <= number <= self.maximum


Condition = AnyOf | NoneOf | Between


class KeyFacts(NamedTuple):
    """What RNAs of a collection have under one key."""

    key: str
    n_rnas: int
    """That have a value."""
    n_values: int
    """Different ones."""
    is_number: bool
    """Whether every value is a number."""


def parts_of_value(value: str) -> set[str]:
    """Returns what a condition may call a value: itself, and each of its parts."""
    return {value, *value.split(_PART)}


def number_of(value: str) -> float | None:
    """Returns the number that a text is, if it is one: "7", "-0.5", "1e9"."""
    return float(value) if _NUMBER.fullmatch(value) else None


class _Column:
    """The values of one key, each different one once; few that no RNA has any more."""

    def __init__(self) -> None:
        self.values: list[str | None] = [None]
        self._numbers: dict[str | None, int] = {None: 0}
        self.numbers = np.zeros(_FIRST_ROOM, np.int32)
        """By id: place in `values`."""
        self._counts = [0]
        """By number: RNAs that have the value; of None not told."""
        self._n_live = 0
        self.n_rnas = 0
        """That have a value."""

    def put(self, rna_id: int, value: str | None) -> None:
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
            self._counts.append(0)
        if rna_id >= len(self.numbers):
            if number == 0:
                return
            room = max(2 * len(self.numbers), rna_id + 1)
            self.numbers = np.pad(self.numbers, (0, room - len(self.numbers)))
        before = int(self.numbers[rna_id])
        self.numbers[rna_id] = number
        self._count(number, 1)
        self._count(before, -1)
        if len(self.values) > 2 * self._n_live + len(self.numbers) // _SLACK:
            self._pack()

    def counts(self) -> dict[str, int]:
        """Returns how many RNAs have each value that one has."""
        pairs = zip(self.values, self._counts, strict=True)
        return {value: n for value, n in pairs if n and value is not None}

    def _count(self, number: int, more: int) -> None:
        if number:
            n = self._counts[number] + more
            self._counts[number] = n
            self.n_rnas += more
            if n == max(more, 0):  # the first one that has it, or the last one had
                self._n_live += more

    def _pack(self) -> None:
        """Forgets the values that no RNA has any more."""
        kept = [0, *(i for i, n in enumerate(self._counts) if n)]
        numbers = np.zeros(len(self.values), np.int32)
        numbers[kept] = np.arange(len(kept))
        self.numbers = numbers[self.numbers]
        self.values = [self.values[i] for i in kept]
        self._counts = [self._counts[i] for i in kept]
        self._numbers = {value: i for i, value in enumerate(self.values)}


class MetadataColumns:
    """What is known of the RNAs of a collection, by id. Not thread-safe."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {LENGTH: _Column()}
        self._end = 0
        self._kept: dict[tuple[Condition, ...], Bool[np.ndarray, " id"]] = {}

    def check_keys(self, keys: Iterable[str]) -> None:
        """Does nothing if RNAs with such keys may come to those that are there.

        Raises:
            InvalidRequestError: there would be too many; names the first too many.
        """
        there = {key for key, column in self._columns.items() if column.n_rnas}
        there |= {LENGTH}
        self._columns = {key: self._columns[key] for key in there}
        new = sorted(set(keys) - there)
        room = MAX_KEYS + 1 - len(there)
        if len(new) > room:
            raise InvalidRequestError(
                f"metadata[{new[room]!r}]",
                f"makes it {MAX_KEYS - room + len(new)} different keys in the "
                f"collection, expected at most {MAX_KEYS}: what differs from RNA to "
                "RNA belongs in values",
            )

    def put(self, rna_id: int, metadata: Mapping[str, str], length: int) -> None:
        """Stores what is known of an RNA in place of what was."""
        known = {**metadata, LENGTH: str(length)}
        for key in known.keys() - self._columns.keys():
            self._columns[key] = _Column()
        for key, column in self._columns.items():
            column.put(rna_id, known.get(key))
        self._end = max(self._end, rna_id + 1)
        self._kept.clear()

    def remove(self, rna_ids: Iterable[int]) -> None:
        """Forgets RNAs that are there."""
        for rna_id in rna_ids:
            for column in self._columns.values():
                column.put(rna_id, None)
        self._kept.clear()

    @property
    def n_nucleotides(self) -> int:
        """Of all RNAs together."""
        return sum(int(v) * n for v, n in self._columns[LENGTH].counts().items())

    def key_facts(self) -> list[KeyFacts]:
        """Returns what there is to ask for, what most RNAs have first."""
        facts = [
            self._facts(key, column)
            for key, column in self._columns.items()
            if key != LENGTH
        ]
        there = [one for one in facts if one.n_rnas]
        return sorted(there, key=lambda one: (-one.n_rnas, one.key))

    def _facts(self, key: str, column: _Column) -> KeyFacts:
        counts = column.counts()
        is_number = all(number_of(value) is not None for value in counts)
        return KeyFacts(key, column.n_rnas, len(counts), is_number)

    def allowed(self, conditions: Sequence[Condition]) -> Bool[np.ndarray, " id"]:
        """Returns, for each id, whether an RNA is there and passes all conditions.

        To be read only: it may be given again.

        Raises:
            InvalidRequestError: there are RNAs, but none has such a key, or none a
                number under it; names both the condition and the key.
        """
        asked = tuple(conditions)
        if asked not in self._kept:
            self._check(asked)
            if len(self._kept) == _MAX_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[asked] = self._test(asked)
        return self._kept[asked]

    def _check(self, conditions: Sequence[Condition]) -> None:
        """Does nothing if conditions are about what some RNA has.

        Nothing is known of an empty collection, so that any will do.
        """
        if not self._columns[LENGTH].n_rnas:
            return
        for i, condition in enumerate(conditions):
            key = condition.key
            values = self._columns.get(key, _Column()).counts()
            if not values:
                known = [LENGTH, *(one.key for one in self.key_facts())][:_MAX_TOLD]
                raise InvalidRequestError(
                    f"where[{i}].key",
                    f"no RNA of the collection has {key!r}, expected one of "
                    f"{', '.join(known)}",
                )
            is_range = isinstance(condition, Between)
            if is_range and all(number_of(value) is None for value in values):
                raise InvalidRequestError(
                    f"where[{i}].range",
                    f"no value of {key!r} is a number (one is {next(iter(values))!r}), "
                    "expected values: any_of or none_of",
                )

    def _test(self, conditions: tuple[Condition, ...]) -> Bool[np.ndarray, " id"]:
        # Every RNA has a length, so its column tells which ids are in use.
        passed = self._by_id(self._columns[LENGTH]) > 0
        for condition in conditions:
            column = self._columns.get(condition.key, _Column())
            verdicts = np.array([condition.accepts(value) for value in column.values])
            passed &= verdicts[self._by_id(column)]
        return passed

    def _by_id(self, column: _Column) -> np.ndarray:
        numbers = column.numbers[: self._end]
        return np.pad(numbers, (0, self._end - len(numbers)))
