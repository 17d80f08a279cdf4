"""FASTA: names and letters, one RNA in memory at a time.

Read as people write it: a line that begins with ";" is a comment, spaces and the
numbers at the ends of a line (as GenBank and EMBL print them) are none of the letters,
and a "*" may end a sequence. Which letters are of RNA is the server's to say, so that
there is one rule; nor is it known here whether names differ.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ribolex.client.errors import CorruptInputError
from ribolex.client.lines import MAX_CHARACTERS, Line, display_name, read_lines


class FastaRecord(NamedTuple):
    """One RNA of a FASTA file."""

    name: str
    """First word of its header."""
    sequence: str
    """Its letters in upper case, not looked at otherwise."""
    line: int
    """Line of its header, counted from 1."""


def read_fasta(path: Path) -> Iterator[FastaRecord]:
    """Yields the RNAs of a FASTA file, plain or gzipped; "-" is standard input.

    Raises:
        CorruptInputError: names the file and the line.
    """
    return parse_fasta(read_lines(path), display_name(path))


def parse_fasta(lines: Iterable[Line], where: str) -> Iterator[FastaRecord]:
    """Yields the RNAs of lines of FASTA.

    Args:
        lines: the lines.
        where: what messages call their source.

    Raises:
        CorruptInputError: names the source and the line.
    """
    header: Line | None = None
    parts: list[str] = []
    n_letters = 0
    for line in lines:
        if line.text.startswith(">"):
            if header is not None:
                yield _record(header, parts, where)
            header, parts, n_letters = line, [], 0
        elif not line.text or line.text.startswith(";"):
            continue
        elif header is None:
            raise CorruptInputError(
                f"{where}:{line.number}",
                f"{line.text[:20]!r} found, expected a header that begins with '>'",
            )
        else:
            letters = _letters(line, where)
            n_letters += len(letters)
            if n_letters > MAX_CHARACTERS:
                message = f"a sequence of more than {MAX_CHARACTERS:,} letters"
                raise CorruptInputError(f"{where}:{header.number}", message)
            parts.append(letters)
    if header is None:
        raise CorruptInputError(where, "is empty, expected FASTA")
    yield _record(header, parts, where)


def _letters(line: Line, where: str) -> str:
    words = line.text.split()
    if _is_number(words[-1]):
        words.pop()
    if words and _is_number(words[0]):
        words.pop(0)
    letters = "".join(words).upper()
    if not letters.isascii():
        raise CorruptInputError(
            f"{where}:{line.number}", "holds signs that are not ASCII, expected letters"
        )
    return letters


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def _record(header: Line, parts: list[str], where: str) -> FastaRecord:
    words = header.text[1:].split(maxsplit=1)
    if not words:
        raise CorruptInputError(f"{where}:{header.number}", "a header without a name")
    if not words[0].isprintable():
        raise CorruptInputError(f"{where}:{header.number}", "a name that is not UTF-8")
    sequence = "".join(parts).removesuffix("*")
    if not sequence:
        message = f"{words[0]!r} has no sequence"
        raise CorruptInputError(f"{where}:{header.number}", message)
    return FastaRecord(words[0], sequence, header.number)
