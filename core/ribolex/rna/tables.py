"""Tab-separated corpora: labelled RNAs, and rows of alignments.

The first line names the columns. Plain or gzipped. Knows nothing of models.
"""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from ribolex.errors import CorruptInputError
from ribolex.rna.alphabet import normalise
from ribolex.rna.records import Rna

_LABELS = ("family_acc", "family", "type", "clan")


class AlignmentRow(NamedTuple):
    """One member of a family with its gaps."""

    family_acc: str
    name: str
    aligned: str


def open_text(path: Path) -> TextIO:
    """Returns a text stream of a plain or gzipped file."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def read_rnas(path: Path) -> Iterator[Rna]:
    """Yields the RNAs of a table with the columns `name` and `sequence`.

    `structure`, `family_acc`, `family`, `type` and `clan` are read where present.

    Raises:
        CorruptInputError: a column is missing, or the file breaks off.
        InvalidSequenceError: names the file, the line and the RNA.
    """
    for line, row in _rows(path, ("name", "sequence")):
        sequence = normalise(row["sequence"], f"{path}:{line}, {row['name']!r}")
        labels = {key: row[key] for key in _LABELS if row.get(key)}
        yield Rna(row["name"], sequence, row.get("structure") or None, labels)


def read_alignment_rows(path: Path) -> Iterator[AlignmentRow]:
    """Yields the rows of a table with columns `family_acc`, `name`, `aligned`.

    Raises:
        CorruptInputError: a column is missing, or the file breaks off.
    """
    for _, row in _rows(path, AlignmentRow._fields):
        yield AlignmentRow(row["family_acc"], row["name"], row["aligned"])


def write_rnas(path: Path, rnas: Iterable[Rna]) -> None:
    """Writes the gzipped table that `read_rnas` reads, the same bytes always."""
    fields = [*_LABELS, "name", "sequence", "structure"]
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
    ):
        lines = ["\t".join(fields)]
        for rna in rnas:
            labels = [rna.metadata.get(key, "") for key in _LABELS]
            row = [*labels, rna.name, rna.sequence, rna.structure or ""]
            lines.append("\t".join(row))
        zipped.write(("\n".join(lines) + "\n").encode())


def _rows(path: Path, needed: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with open_text(path) as stream:
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            if missing := set(needed) - set(reader.fieldnames or ()):
                names = ", ".join(sorted(missing))
                raise CorruptInputError(str(path), f"the first line lacks: {names}")
            for row in reader:
                if any(row[name] is None for name in needed):
                    raise CorruptInputError(
                        f"{path}:{reader.line_num}", "the line has too few columns"
                    )
                yield reader.line_num, row
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise CorruptInputError(str(path), f"cannot be read: {error}") from error
