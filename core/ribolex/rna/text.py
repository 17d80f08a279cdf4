"""Text from outside: plain or gzipped files, and letters that may be none of RNA.

Knows no format.
"""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ribolex.errors import InvalidSequenceError
from ribolex.rna.alphabet import normalise

Refuse = Callable[[InvalidSequenceError], None]
"""Is told of each RNA that a reader leaves out since its letters are none of RNA."""

_GZIP_MAGIC = b"\x1f\x8b"


def open_text(path: Path, errors: str = "strict", newline: str | None = "") -> TextIO:
    """Returns a text stream of a file, gzipped or not whatever its name."""
    with path.open("rb") as stream:
        is_zipped = stream.read(2) == _GZIP_MAGIC
    if is_zipped:
        return gzip.open(
            path, "rt", encoding="utf-8-sig", errors=errors, newline=newline
        )
    return path.open(encoding="utf-8-sig", errors=errors, newline=newline)


def accept(
    letters: str, where: str, *, degap: bool = False, refuse: Refuse | None = None
) -> str | None:
    """Returns the letters normalised, or None once they are refused.

    Args:
        letters: as they were read.
        where: what the message of an error calls them.
        degap: remove gaps instead of refusing them.
        refuse: is told of what is wrong; if None, it is raised.

    Raises:
        InvalidSequenceError: the letters are none of RNA, and nobody is to be told.
    """
    try:
        return normalise(letters, where, degap=degap)
    except InvalidSequenceError as error:
        if refuse is None:
            raise
        refuse(error)
        return None
