"""Variants of an RNA: what is changed where, in a plain notation, and what comes of it.

    12A>G            a substitution at the 12th nucleotide
    12del, 12_14del  deletions; letters may follow ("12_13delAC") and are then checked
    12_13insGA       an insertion between two neighbours; 0_1 and n_n+1 are the ends
    12_14delinsGA    other letters in place of some; also written 12ACU>GA
    12A>G;40C>U      several changes of one variant, in any order
    =                no change

As HGVS writes them, positions counted from 1, "r." or "n." allowed in front. Knows
nothing of models.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from ribolex.errors import InvalidRequestError, InvalidSequenceError
from ribolex.rna.alphabet import normalise

LETTERS = "ACGU"
"""What saturation puts in place of a letter."""

_CHANGE = re.compile(
    r"(?P<first>[0-9]{1,9})(?:_(?P<last>[0-9]{1,9}))?"
    r"(?:(?P<from>[A-Z]+)>(?P<to>[A-Z]+)"
    # Up to the first INS, and never back: no text takes more than one look at it.
    r"|DEL(?P<gone>(?:(?!INS)[A-Z])*+)(?:INS(?P<instead>[A-Z]+))?"
    r"|INS(?P<added>[A-Z]+))"
)
_FORMS = "expected such as 12A>G, 12_14del, 12_13insGA or 12_14delinsGA"
_MAX_CELLS = 1 << 22
"""Of the table that two different stretches are compared in."""


class Change(NamedTuple):
    """Letters in place of a stretch of the reference."""

    start: int
    """First nucleotide replaced, 0-based."""
    stop: int
    """One past the last; `start` itself for an insertion in front of it."""
    letters: str
    """As normalised; empty for a deletion."""

    def text(self, reference: str) -> str:
        """Returns it in notation."""
        first, last, old = self.start + 1, self.stop, reference[self.start : self.stop]
        if not old:
            return f"{self.start}_{self.start + 1}ins{self.letters}"
        if len(old) == 1 == len(self.letters):
            return f"{first}{old}>{self.letters}"
        stretch = f"{first}" if len(old) == 1 else f"{first}_{last}"
        return f"{stretch}del{'ins' if self.letters else ''}{self.letters}"


@dataclass(frozen=True, slots=True)
class Variant:
    """A reference with some changes."""

    reference: str
    """Normalised."""
    changes: tuple[Change, ...]
    """From start to end, without overlap; none for the reference itself."""

    @property
    def sequence(self) -> str:
        """The letters after the changes; empty if all are deleted."""
        parts, end = [], 0
        for change in self.changes:
            parts += [self.reference[end : change.start], change.letters]
            end = change.stop
        return "".join([*parts, self.reference[end:]])

    @property
    def text(self) -> str:
        """The changes in notation; "=" if there are none."""
        return ";".join(one.text(self.reference) for one in self.changes) or "="

    @property
    def is_substitution(self) -> bool:
        """Whether no nucleotide moves: as many letters come as go, in each change."""
        return all(one.stop - one.start == len(one.letters) for one in self.changes)

    def anchors(self) -> Int64[np.ndarray, " nucleotide"]:
        """Returns, for each nucleotide of the variant, where it counts.

        That is the place in the reference of the nucleotide that it stands for, and of
        an added one that of the nucleotide before it (of the first one, if it is
        before that). Never falls.
        """
        parts, end = [], 0
        for start, stop, letters in self.changes:
            parts.append(np.arange(end, start))
            # Of more letters than there were, the last ones are the added ones.
            last = max(stop - 1, 0)
            parts.append(np.minimum(np.arange(start, start + len(letters)), last))
            end = stop
        parts.append(np.arange(end, len(self.reference)))
        return np.concatenate(parts).astype(np.int64)

    def changed(self) -> Int64[np.ndarray, " nucleotide"]:
        """Returns which places in the reference change; an insertion has two sides."""
        n = len(self.reference)
        parts = [
            np.arange(one.start, one.stop)
            if one.stop > one.start
            else np.arange(max(one.start - 1, 0), min(one.start + 1, n))
            for one in self.changes
        ]
        return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def parse_variant(text: str, reference: str, where: str) -> Variant:
    """Returns the variant that a notation tells.

    Args:
        text: as the module says; either case, T read as U.
        reference: normalised.
        where: what the message of an error calls the text.

    Raises:
        InvalidRequestError: it is no notation, or does not fit the reference.
    """
    if text.strip() == "=":
        return Variant(reference, ())
    parts = text.strip().removeprefix("r.").removeprefix("n.").strip("[]").split(";")
    changes = sorted(_parse(part.strip(), reference, where) for part in parts)
    for one, other in zip(changes, changes[1:], strict=False):
        if other.start < one.stop or (other.start, other.stop) == (one.start, one.stop):
            raise InvalidRequestError(where, f"two changes overlap: {_short(text)}")
    return _checked(Variant(reference, tuple(changes)), where)


def variant_of(alternative: str, reference: str, where: str) -> Variant:
    """Returns what makes one sequence of another: the fewest changes.

    Each substituted, added or missing letter counts as one (Levenshtein); of equals
    the one with the changes furthest to the end, as in HGVS.

    Args:
        alternative: normalised.
        reference: normalised.
        where: what the message of an error calls the alternative.

    Raises:
        InvalidRequestError: they are too different to be compared.
    """
    start = _common(reference, alternative)
    left = min(len(reference), len(alternative)) - start
    end = min(_common(reference[::-1], alternative[::-1]), left)
    old = reference[start : len(reference) - end]
    new = alternative[start : len(alternative) - end]
    if (len(old) + 1) * (len(new) + 1) > _MAX_CELLS:
        raise InvalidRequestError(
            where,
            f"differs from the reference over {len(old)} nucleotides against "
            f"{len(new)}, expected a variant of it",
        )
    return Variant(reference, tuple(_changes(old, new, start)))


def saturation(reference: str, start: int, stop: int) -> Iterator[Variant]:
    """Yields all substitutions of nucleotides start .. stop - 1, in their order."""
    for place in range(start, stop):
        for letter in LETTERS:
            if letter != reference[place]:
                yield Variant(reference, (Change(place, place + 1, letter),))


def _parse(part: str, reference: str, where: str) -> Change:
    found = _CHANGE.fullmatch(part.upper())
    if found is None:
        raise InvalidRequestError(where, f"{_short(part)!r} is no change, {_FORMS}")
    first, last = int(found["first"]), int(found["last"] or found["first"])
    if found["added"] is not None:
        if last != first + 1 or found["last"] is None or last > len(reference) + 1:
            raise InvalidRequestError(
                where,
                f"{_short(part)!r}: expected two neighbours of 0 to "
                f"{len(reference) + 1} to insert between",
            )
        return Change(first, first, _letters(found["added"], where))
    told = found["from"] or found["gone"] or ""
    if found["from"] and found["last"] is None:
        last = first + len(told) - 1
    if not 1 <= first <= last <= len(reference):
        raise InvalidRequestError(
            where, f"{_short(part)!r} is not within 1 to {len(reference)}"
        )
    old = reference[first - 1 : last]
    if told and _letters(told, where) != old:
        raise InvalidRequestError(
            where, f"{_short(part)!r}: the reference has {_short(old)} there"
        )
    letters = found["to"] or found["instead"] or ""
    new = _letters(letters, where) if letters else ""
    if new == old:
        raise InvalidRequestError(where, f"{_short(part)!r} changes nothing")
    return Change(first - 1, last, new)


def _checked(variant: Variant, where: str) -> Variant:
    if not variant.sequence:
        raise InvalidRequestError(where, "leaves no nucleotide")
    return variant


def _letters(text: str, where: str) -> str:
    try:
        return normalise(text, where)
    except InvalidSequenceError as error:
        raise InvalidRequestError(where, error.message) from error


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _common(one: str, other: str) -> int:
    """Returns how many letters two texts begin with alike."""
    n = min(len(one), len(other))
    ours, theirs = (np.frombuffer(x[:n].encode(), np.uint8) for x in (one, other))
    differ = np.flatnonzero(ours != theirs)
    return int(differ[0]) if len(differ) else n


def _changes(old: str, new: str, offset: int) -> Iterator[Change]:
    """Yields the changes between two stretches, neighbours of one kind joined."""
    table = _distances(old, new)
    i, j = len(old), len(new)
    steps: list[str] = []
    while i or j:
        here = table[i, j]
        if j and here == table[i, j - 1] + 1:
            steps.append("+")
            j -= 1
        elif i and here == table[i - 1, j] + 1:
            steps.append("-")
            i -= 1
        else:
            i, j = i - 1, j - 1
            steps.append("=" if old[i] == new[j] else "x")
    yield from _joined(steps[::-1], new, offset)


def _joined(steps: Sequence[str], new: str, offset: int) -> Iterator[Change]:
    place = at = 0
    while at < len(steps):
        step, n = steps[at], 1
        while step in "+-" and at + n < len(steps) and steps[at + n] == step:
            n += 1
        # steps before `at` used up so many letters of the new stretch
        used = sum(one != "-" for one in steps[:at])
        start = offset + place
        if step == "+":
            yield Change(start, start, new[used : used + n])
        elif step == "-":
            yield Change(start, start + n, "")
        elif step == "x":
            yield Change(start, start + 1, new[used])
        place += 0 if step == "+" else n
        at += n


def _distances(old: str, new: str) -> Int32[np.ndarray, "old_and_one new_and_one"]:
    """Returns how many changes make each beginning of one from each of the other."""
    ours, theirs = (np.frombuffer(x.encode(), np.uint8) for x in (old, new))
    table = np.empty((len(old) + 1, len(new) + 1), np.int32)
    steps = np.arange(len(new) + 1, dtype=np.int32)
    table[0] = steps
    for i, letter in enumerate(ours):
        row = table[i] + 1
        row[1:] = np.minimum(row[1:], table[i, :-1] + (theirs != letter))
        # What an insertion costs more than the step to the left.
        table[i + 1] = np.minimum.accumulate(row - steps) + steps
    return table
