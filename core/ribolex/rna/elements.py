"""Structure elements: what each nucleotide of a dot-bracket structure is part of.

The letters of bpRNA (Danaee et al. 2018). Knows nested pairs only: pseudoknots are set
aside, their nucleotides are part of the loop that they lie in. Nothing of how a
structure was found.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from ribolex.errors import InvalidRequestError

ELEMENTS: dict[str, str] = {
    "S": "stem",
    "H": "hairpin",
    "B": "bulge",
    "I": "internal",
    "M": "multiloop",
    "X": "external",
    "E": "end",
}
"""A letter and what it stands for.

stem: paired; hairpin: the loop that a pair closes alone; bulge: unpaired between two
pairs on one strand only; internal: the same on both strands; multiloop: between three
pairs or more; external: between helices and inside none; end: before the first pair
or after the last one.
"""

_SET_ASIDE = frozenset("[]{}<>")


class Loops(NamedTuple):
    """What each nucleotide is part of; all of one length."""

    elements: str
    """Letters of `ELEMENTS`."""
    partners: list[int]
    """The nucleotide that it pairs with, counted from 0; -1 where unpaired."""
    sizes: list[int]
    """Unpaired nucleotides of its loop, of both strands of an internal one; 0 in stems,
    and outside all pairs."""


@dataclass(slots=True)
class _Loop:
    """A loop whose closing pair is open still."""

    opening: int
    loose: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    """Loose nucleotides before each inner pair."""


def elements(structure: str, where: str) -> str:
    """Returns the element letter of every nucleotide; arguments as of `find_loops`."""
    return find_loops(structure, where).elements


def pair_partners(structure: str, where: str) -> list[int]:
    """Returns the partner of every nucleotide; arguments as of `find_loops`."""
    return find_loops(structure, where).partners


def find_loops(structure: str, where: str) -> Loops:
    """Returns elements, partners and loop sizes of all nucleotides.

    Args:
        structure: dot-bracket, "(" and ")" for pairs, "." for what is unpaired. Other
            brackets and letters, which stand for pseudoknots, are set aside.
        where: what the message of an error calls this structure.

    Raises:
        InvalidRequestError: another sign, or brackets that do not match.
    """
    n = len(structure)
    signs, partners, sizes = ["S"] * n, [-1] * n, [0] * n
    loops = [_Loop(-1)]
    for i, sign in enumerate(structure):
        if sign == "(":
            loops[-1].before.append(len(loops[-1].loose))
            loops.append(_Loop(i))
        elif sign == ")":
            if len(loops) == 1:
                raise InvalidRequestError(where, f"')' at {i + 1} closes nothing")
            closed = loops.pop()
            partners[i], partners[closed.opening] = closed.opening, i
            letter = _name(closed)
            for j in closed.loose:
                signs[j], sizes[j] = letter, len(closed.loose)
        elif sign == "." or sign in _SET_ASIDE or (sign.isascii() and sign.isalpha()):
            loops[-1].loose.append(i)
        else:
            raise InvalidRequestError(
                where, f"{sign!r} at {i + 1} is none of '(', ')' and '.'"
            )
    if len(loops) > 1:
        message = f"'(' at {loops[-1].opening + 1} is never closed"
        raise InvalidRequestError(where, message)
    outside = loops[0]
    for rank, j in enumerate(outside.loose):
        is_between = bool(outside.before) and (
            outside.before[0] <= rank < outside.before[-1]
        )
        signs[j] = "X" if is_between else "E"
    return Loops("".join(signs), partners, sizes)


def _name(loop: _Loop) -> str:
    """Returns the element of the loose nucleotides that a pair encloses directly."""
    if not loop.before:
        return "H"
    if len(loop.before) > 1:
        return "M"
    return "I" if 0 < loop.before[0] < len(loop.loose) else "B"
