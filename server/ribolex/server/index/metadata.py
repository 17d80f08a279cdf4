"""Which RNAs of a collection to search: conditions on what is known of them.

Labels are kept by column in memory, so that a condition looks at each different value
once. Knows ids, keys and values; nothing of what they mean, or of search.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

LENGTH = "length"
"""Key that stands for the number of nucleotides, whatever the metadata say."""

_PART = ";"
_FIRST_ROOM = 1024
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
        return value in self.values or not self.values.isdisjoint(value.split(_PART))


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
        try:
            return value is not None and self.minimum <= float(value) <= self.maximum
        except ValueError:
            return False


Condition = AnyOf | NoneOf | Between


class _Column:
    """The values of one key, each different one once."""

    def __init__(self) -> None:
        self.values: list[str | None] = [None]
        self._numbers: dict[str | None, int] = {None: 0}
        self.numbers = np.zeros(_FIRST_ROOM, np.int32)
        """By id: place in `values`."""

    def put(self, rna_id: int, value: str | None) -> None:
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        if rna_id >= len(self.numbers):
            if number == 0:
                return
            room = max(2 * len(self.numbers), rna_id + 1)
            self.numbers = np.pad(self.numbers, (0, room - len(self.numbers)))
        self.numbers[rna_id] = number


class MetadataColumns:
    """What is known of the RNAs of a collection, by id. Not thread-safe."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {LENGTH: _Column()}
        self._end = 0
        self._kept: dict[tuple[Condition, ...], Bool[np.ndarray, " id"]] = {}

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

    def allowed(self, conditions: Sequence[Condition]) -> Bool[np.ndarray, " id"]:
        """Returns, for each id, whether an RNA is there and passes all conditions.

        To be read only: it may be given again.
        """
        asked = tuple(conditions)
        if asked not in self._kept:
            if len(self._kept) == _MAX_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[asked] = self._test(asked)
        return self._kept[asked]

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
