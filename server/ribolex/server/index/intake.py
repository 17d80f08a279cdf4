"""What an RNA must be to be stored, beyond its letters.

Knows nothing of messages or of how it is stored.
"""

import string
import unicodedata

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna

_MAX_NAME = 256
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"} | dict(
    zip(string.ascii_uppercase, string.ascii_lowercase, strict=True)
)
_OPENING = {closing: opening for opening, closing in _PAIRS.items()}


def check_rna(rna: Rna, where: str) -> None:
    """Does nothing if name and structure of an RNA can be stored.

    Args:
        rna: its letters may be in any state.
        where: what an error calls it: "rnas[3]".

    Raises:
        InvalidRequestError: names the field.
    """
    if not 1 <= len(rna.name) <= _MAX_NAME:
        raise InvalidRequestError(
            f"{where}.name", f"{len(rna.name)} characters, expected 1 to {_MAX_NAME}"
        )
    if any(unicodedata.category(sign) == "Cc" for sign in rna.name):
        raise InvalidRequestError(f"{where}.name", "holds a control character")
    if rna.structure is not None:
        _check_structure(rna.structure, len(rna.sequence), f"{where}.structure")


def _check_structure(structure: str, n_letters: int, where: str) -> None:
    if len(structure) != n_letters:
        raise InvalidRequestError(
            where,
            f"{len(structure)} signs, expected as many as letters: {n_letters}",
        )
    depth = dict.fromkeys(_PAIRS, 0)
    for position, sign in enumerate(structure, start=1):
        if sign in depth:
            depth[sign] += 1
        elif sign in _OPENING:
            depth[_OPENING[sign]] -= 1
            if depth[_OPENING[sign]] < 0:
                raise InvalidRequestError(
                    where, f"{sign!r} at position {position} closes nothing"
                )
        elif sign != ".":
            raise InvalidRequestError(
                where, f"{sign!r} at position {position} is no dot-bracket sign"
            )
    for sign, open_ones in depth.items():
        if open_ones:
            raise InvalidRequestError(where, f"{open_ones} {sign!r} not closed")
