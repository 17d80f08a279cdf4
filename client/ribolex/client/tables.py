"""RNAs with labels from tab-separated tables, or from FASTA where there are none.

Which of the two a source is shows in its first line, not in its name.
"""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from ribolex.client.errors import CorruptInputError
from ribolex.client.fasta import parse_fasta
from ribolex.client.lines import Line, display_name, read_lines
from ribolex.client.records import Rna

_NEEDED = ("name", "sequence")
_OWN = {*_NEEDED, "structure"}


def read_rnas(path: Path) -> Iterator[Rna]:
    """Yields the RNAs of a FASTA file or a table; "-" is standard input.

    A table's first line names its columns: name and sequence, structure if there is
    one, and any others, which become metadata where they are not empty.

    Raises:
        CorruptInputError: names the file and the line.
    """
    where = display_name(path)
    lines = (line for line in read_lines(path) if line.text)
    first = next(lines, None)
    if first is None:
        raise CorruptInputError(where, "is empty, expected FASTA or a table")
    if first.text.startswith(">"):
        for record in parse_fasta(itertools.chain([first], lines), where):
            yield Rna(record.name, record.sequence)
    else:
        yield from _parse_table(first, lines, where)


def _parse_table(first: Line, lines: Iterable[Line], where: str) -> Iterator[Rna]:
    columns = first.text.split("\t")
    if missing := [name for name in _NEEDED if name not in columns]:
        raise CorruptInputError(
            f"{where}:{first.number}",
            "neither FASTA, which begins with '>', nor a tab-separated table: "
            f"no column {' and no column '.join(map(repr, missing))}",
        )
    line = first
    for line in lines:
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
        yield Rna(row["name"], row["sequence"], row.get("structure") or None, labels)
    if line is first:
        raise CorruptInputError(where, "has no row below the names of its columns")
