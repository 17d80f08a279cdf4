"""Structure elements: what each nucleotide of a dot-bracket structure is part of.

The letters of bpRNA (Danaee et al. 2018). Knows nested pairs only; nothing of
pseudoknots, or of how a structure was found.
"""

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


def elements(structure: str, where: str) -> str:
    """Returns the element letter of every nucleotide.

    Args:
        structure: dot-bracket, "(" and ")" for pairs, "." for everything else.
        where: what the message of an error calls this structure.

    Raises:
        InvalidRequestError: another sign, or brackets that do not match.
    """
    partners = pair_partners(structure, where)
    out = ["E"] * len(structure)
    _fill_outside(partners, out)
    for opening, closing in enumerate(partners):
        if closing > opening:
            out[opening] = out[closing] = "S"
            _fill_loop(partners, opening, closing, out)
    return "".join(out)


def pair_partners(structure: str, where: str) -> list[int]:
    """Returns the partner of every nucleotide, counted from 0; -1 where unpaired.

    Raises:
        InvalidRequestError: another sign, or brackets that do not match.
    """
    partners = [-1] * len(structure)
    opened: list[int] = []
    for i, sign in enumerate(structure):
        if sign == "(":
            opened.append(i)
        elif sign == ")":
            if not opened:
                raise InvalidRequestError(where, f"')' at {i + 1} closes nothing")
            partners[i] = opened.pop()
            partners[partners[i]] = i
        elif sign != ".":
            raise InvalidRequestError(
                where, f"{sign!r} at {i + 1} is none of '(', ')' and '.'"
            )
    if opened:
        raise InvalidRequestError(where, f"'(' at {opened[-1] + 1} is never closed")
    return partners


def _fill_outside(partners: list[int], out: list[str]) -> None:
    paired = [i for i, partner in enumerate(partners) if partner >= 0]
    if paired:
        for i in _unpaired(partners, paired[0], paired[-1] + 1):
            out[i] = "X"


def _fill_loop(partners: list[int], opening: int, closing: int, out: list[str]) -> None:
    """Names the unpaired nucleotides that the pair encloses directly."""
    loose = _unpaired(partners, opening + 1, closing)
    if not loose:
        return
    n_inner, i = 0, opening + 1
    while i < closing:
        n_inner += partners[i] > i
        i = partners[i] + 1 if partners[i] > i else i + 1
    if n_inner == 1:
        is_left = loose[0] == opening + 1
        is_right = loose[-1] == closing - 1
        letter = "I" if is_left and is_right else "B"
    else:
        letter = "M" if n_inner else "H"
    for i in loose:
        out[i] = letter


def _unpaired(partners: list[int], start: int, stop: int) -> list[int]:
    """Returns the unpaired positions of a stretch that no pair inside it encloses."""
    out, i = [], start
    while i < stop:
        if partners[i] > i:
            i = partners[i] + 1
        else:
            out.append(i)
            i += 1
    return out
