"""Lines of text from outside: a file or standard input, plain or gzipped.

Memory stays bounded whatever comes in. Knows no format of RNAs.
"""

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ribolex.client.errors import CorruptInputError

STDIN = Path("-")
MAX_CHARACTERS = 2**20
"""Longest line, and longest sequence, that a reader takes."""

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = "\ufeff"
# Some programs end a line with these; taken for spaces they would swallow letters.
_SEPARATORS = "\x85\u2028\u2029"
_REFUSED = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f{_SEPARATORS}]")


class Line(NamedTuple):
    """One line with its number, counted from 1, without its end and byte order mark."""

    number: int
    text: str
    """Bytes that are not UTF-8 stand as lone surrogates."""


def display_name(path: Path) -> str:
    """Returns what messages call the file."""
    return "standard input" if path == STDIN else str(path)


def read_lines(path: Path) -> Iterator[Line]:
    r"""Yields the lines of a file, whichever of \n, \r\n and \r ends them.

    Args:
        path: the file, gzipped or not whatever its name; "-" is standard input.

    Raises:
        CorruptInputError: it cannot be opened or read, breaks off, is not text, or
            has a line longer than MAX_CHARACTERS. Names file and line.
    """
    name = display_name(path)
    number = 0
    try:
        with ExitStack() as stack:
            stream = _open(path, stack)
            while text := stream.readline(MAX_CHARACTERS + 1):
                number += 1
                where = f"{name}:{number}"
                if len(text) > MAX_CHARACTERS and not text.endswith("\n"):
                    message = f"a line of more than {MAX_CHARACTERS:,} characters"
                    raise CorruptInputError(where, message)
                _check_text(text, where)
                # Also within a file: two of Windows' put together have two.
                yield Line(number, text.removeprefix(_BYTE_ORDER_MARK).rstrip())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        where = f"{name}:{number + 1}"
        raise CorruptInputError(
            where, f"the gzipped data break off: {error}"
        ) from error
    except OSError as error:
        raise CorruptInputError(name, error.strerror or str(error)) from error


def _check_text(text: str, where: str) -> None:
    found = _REFUSED.search(text)
    if found is None:
        return
    if found.group() in _SEPARATORS:
        code = f"U+{ord(found.group()):04X}"
        raise CorruptInputError(where, f"holds {code}, which ends no line here")
    raise CorruptInputError(where, "holds binary data, expected text")


def _open(path: Path, stack: ExitStack) -> io.TextIOWrapper:
    """Returns the text of a file; closing the stack closes all but standard input."""
    raw: Any = (
        sys.stdin.buffer if path == STDIN else stack.enter_context(path.open("rb"))
    )
    buffered = io.BufferedReader(_Unclosed(raw))
    is_zipped = buffered.peek(2)[:2] == _GZIP_MAGIC
    binary: Any = gzip.GzipFile(fileobj=buffered) if is_zipped else buffered
    text = io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape")
    return stack.enter_context(text)


class _Unclosed(io.RawIOBase):
    """A byte stream that stays open when what reads it is closed."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills as much of the buffer as is there, at least a byte if there is one."""
        piece = self._stream.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)
