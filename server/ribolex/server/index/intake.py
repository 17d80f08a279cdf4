"""What an RNA must be to be stored, beyond its letters.

Knows nothing of messages or of how it is stored.
"""

import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ribolex.dictionary import Codes
from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.rna.alphabet import GAPS
from ribolex.server.index.records import Place

_MAX_NAME = 256
_MAX_KEYS = 64
_MAX_METADATA = 65_536
"""Characters of all keys and values."""
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"} | dict(
    zip(string.ascii_uppercase, string.ascii_lowercase, strict=True)
)
_OPENING = {closing: opening for opening, closing in _PAIRS.items()}


class Encoded(NamedTuple):
    """An RNA with its codes, ready to be stored."""

    rna: Rna
    codes: Codes
    """One row a nucleotide, all of the dictionary's k."""
    fvu: float


class Storing(NamedTuple):
    """RNAs to be stored; each replaces the one of its name."""

    rnas: Sequence[Encoded]
    places: Sequence[Place] | None = None
    """Where each belongs, if that is decided elsewhere."""


def check_rna(rna: Rna, where: str, *, degap: bool = False) -> str | None:
    """Returns the structure to store, if what comes with an RNA's letters can be.

    Args:
        rna: its letters may be in any state.
        where: what an error calls it: "rnas[3]".
        degap: whether the signs at the gaps of the sequence are taken out.

    Raises:
        InvalidRequestError: names the field.
    """
    if not 1 <= len(rna.name) <= _MAX_NAME:
        raise InvalidRequestError(
            f"{where}.name", f"{len(rna.name)} characters, expected 1 to {_MAX_NAME}"
        )
    if any(map(_is_control, rna.name)):
        raise InvalidRequestError(
            f"{where}.name", "holds a control character, expected none"
        )
    _check_metadata(rna.metadata, f"{where}.metadata")
    if rna.structure is None:
        return None
    if len(rna.structure) != len(rna.sequence):
        raise InvalidRequestError(
            f"{where}.structure",
            f"{len(rna.structure)} signs, expected as many as letters: "
            f"{len(rna.sequence)}",
        )
    structure = rna.structure
    if degap:
        columns = zip(structure, rna.sequence, strict=True)
        structure = "".join(sign for sign, letter in columns if letter not in GAPS)
    _check_structure(structure, f"{where}.structure")
    return structure


def _check_metadata(metadata: Mapping[str, str], where: str) -> None:
    if len(metadata) > _MAX_KEYS:
        raise InvalidRequestError(
            where, f"{len(metadata)} keys, expected at most {_MAX_KEYS}"
        )
    size = 0
    for key, value in metadata.items():
        if not 1 <= len(key) <= _MAX_NAME or any(map(_is_control, key)):
            raise InvalidRequestError(
                where,
                f"{key[:_MAX_NAME]!r} is no key, expected 1 to {_MAX_NAME} characters, "
                "none of them a control character",
            )
        size += len(key) + len(value)
        if size > _MAX_METADATA:
            raise InvalidRequestError(
                f"{where}[{key!r}]",
                f"makes it {size} characters, expected at most {_MAX_METADATA}",
            )


def _is_control(sign: str) -> bool:
    return unicodedata.category(sign) == "Cc"


def _check_structure(structure: str, where: str) -> None:
    depth = dict.fromkeys(_PAIRS, 0)
    for position, sign in enumerate(structure, start=1):
        if sign in depth:
            depth[sign] += 1
        elif sign in _OPENING:
            depth[_OPENING[sign]] -= 1
            if depth[_OPENING[sign]] < 0:
                raise InvalidRequestError(
                    where,
                    f"{sign!r} at position {position} closes nothing, expected what it "
                    "closes before it",
                )
        elif sign != ".":
            raise InvalidRequestError(
                where,
                f"{sign!r} at position {position} is no dot-bracket sign, expected one",
            )
    for sign, open_ones in depth.items():
        if open_ones:
            raise InvalidRequestError(
                where, f"{open_ones} {sign!r} not closed, expected all to be"
            )
