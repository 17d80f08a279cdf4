"""RNAs with labels from tab-separated tables, or from FASTA where there are none.

Which of the two a source is shows in its first line, not in its name. What comes from
here is meant for a collection, where a name stands for one RNA: names differ.
"""

import itertools
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from ribolex.client.errors import CorruptInputError
from ribolex.client.fasta import parse_fasta
from ribolex.client.lines import Line, display_name, read_lines
from ribolex.client.records import Rna

_NEEDED = ("name", "sequence")
_OWN = {*_NEEDED, "structure"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read_rnas(path: Path) -> Iterator[Rna]:
    """Yields the RNAs of a FASTA file or a table; "-" is standard input.

    A table's first line names its columns: name and sequence, structure if there is
    one, and any others, which become metadata where they are not empty.

    Raises:
        CorruptInputError: names the file and the line; both lines where two RNAs have
            one name.
    """
    where = display_name(path)
    with closing(_Names(where)) as names:
        for line, rna in _read(path, where):
            names.add(rna.name, line)
            yield rna


class _Names:
    """The names of a file and their lines, on disk: memory stays bounded."""

    def __init__(self, where: str) -> None:
        self._where = where
        # "" is SQLite's own temporary file, gone when it is closed.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute(
            "CREATE TABLE seen (name TEXT PRIMARY KEY, line) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")

    def add(self, name: str, line: int) -> None:
        try:
            self._db.execute("INSERT INTO seen VALUES (?, ?)", (name, line))
        except sqlite3.IntegrityError as error:
            query = "SELECT line FROM seen WHERE name = ?"
            (first,) = self._db.execute(query, (name,)).fetchone()
            raise CorruptInputError(
                f"{self._where}:{line}",
                f"{name!r} again, as in line {first}: the second of one name would "
                "take the place of the first",
            ) from error

    def close(self) -> None:
        self._db.close()


def _read(path: Path, where: str) -> Iterator[tuple[int, Rna]]:
    """Yields each RNA after its line."""
    lines = (line for line in read_lines(path) if line.text)
    first = next(lines, None)
    if first is None:
        raise CorruptInputError(where, "is empty, expected FASTA or a table")
    if first.text[0] in ">;":
        for record in parse_fasta(itertools.chain([first], lines), where):
            yield record.line, Rna(record.name, record.sequence)
    else:
        yield from _parse_table(first, lines, where)


def _parse_table(
    first: Line, lines: Iterable[Line], where: str
) -> Iterator[tuple[int, Rna]]:
    _check_utf8(first, where)
    columns = first.text.split("\t")
    if missing := [name for name in _NEEDED if name not in columns]:
        raise CorruptInputError(
            f"{where}:{first.number}",
            "neither FASTA, which begins with '>', nor a tab-separated table: "
            f"no column {' and no column '.join(map(repr, missing))}",
        )
    if len(set(columns)) < len(columns) or "" in columns:
        raise CorruptInputError(
            f"{where}:{first.number}", "two columns of one name, or one without a name"
        )
    line = first
    for line in lines:
        _check_utf8(line, where)
        # Trailing tabs were cut off with the line's end: empty last columns.
        cells = line.text.split("\t")
        if len(cells) > len(columns):
            raise CorruptInputError(
                f"{where}:{line.number}",
                f"{len(cells)} columns, expected {len(columns)} as in the first line",
            )
        row = dict(zip(columns, cells, strict=False))
        if not (row.get("name") and row.get("sequence")):
            raise CorruptInputError(f"{where}:{line.number}", "no name or no sequence")
        labels = {key: text for key, text in row.items() if text and key not in _OWN}
        rna = Rna(row["name"], row["sequence"], row.get("structure") or None, labels)
        yield line.number, rna
    if line is first:
        raise CorruptInputError(where, "has no row below the names of its columns")


def _check_utf8(line: Line, where: str) -> None:
    if _LONE_SURROGATE.search(line.text):
        message = "holds bytes that are not UTF-8"
        raise CorruptInputError(f"{where}:{line.number}", message)
