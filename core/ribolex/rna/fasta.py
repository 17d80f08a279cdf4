"""FASTA: names and letters, one RNA in memory at a time.

Read as people write it: a line that begins with ";" is a comment, spaces and the
numbers at the ends of a line (as GenBank and EMBL print them) are none of the letters,
and a "*" may end a sequence. Knows nothing of labels, nor whether names differ.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

from ribolex.errors import CorruptInputError
from ribolex.rna.records import Rna
from ribolex.rna.text import Refuse, accept, open_text

_LONGEST_LINE = 2**24


def read_fasta(
    path: Path, *, degap: bool = False, refuse: Refuse | None = None
) -> Iterator[Rna]:
    """Yields the RNAs of a FASTA file, plain or gzipped, named by their first word.

    Args:
        path: the file.
        degap: remove gaps instead of refusing them.
        refuse: is told of each RNA whose letters are none of RNA, which is then left
            out; if None, the first one is raised.

    Raises:
        CorruptInputError: names the file and the line.
        InvalidSequenceError: names the file, the line of the header and the RNA.
    """
    header: tuple[int, str] | None = None
    parts: list[str] = []
    for number, line in _lines(path):
        if line.startswith(">"):
            if header is not None:
                yield from _rna(path, header, parts, degap, refuse)
            header, parts = (number, line), []
        elif header is not None:
            parts.append(_letters(line))
        elif line and not line.startswith(";"):
            raise CorruptInputError(
                f"{path}:{number}",
                f"{line[:20]!r} found, expected a header that begins with '>'",
            )
    if header is None:
        raise CorruptInputError(path, "is empty, expected FASTA")
    yield from _rna(path, header, parts, degap, refuse)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with open_text(path, "surrogateescape", None) as stream:
            while text := stream.readline(_LONGEST_LINE + 1):
                number += 1
                if len(text) > _LONGEST_LINE:
                    raise CorruptInputError(
                        f"{path}:{number}",
                        f"a line of more than {_LONGEST_LINE:,} characters",
                    )
                yield number, text.rstrip()
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptInputError(
            f"{path}:{number + 1}", f"breaks off: {error}"
        ) from error


def _letters(line: str) -> str:
    if line.startswith(";"):
        return ""
    words = line.split()
    if words and _is_number(words[-1]):
        words.pop()
    if words and _is_number(words[0]):
        words.pop(0)
    return "".join(words)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def _rna(
    path: Path,
    header: tuple[int, str],
    parts: list[str],
    degap: bool,
    refuse: Refuse | None,
) -> Iterator[Rna]:
    number, line = header
    words = line[1:].split(maxsplit=1)
    if not words or not words[0].isprintable():
        problem = "a name that is not UTF-8" if words else "a header without a name"
        raise CorruptInputError(f"{path}:{number}", problem)
    letters = "".join(parts).removesuffix("*")
    where = f"{path}:{number}, {words[0]!r}"
    sequence = accept(letters, where, degap=degap, refuse=refuse)
    if sequence is not None:
        yield Rna(words[0], sequence)
