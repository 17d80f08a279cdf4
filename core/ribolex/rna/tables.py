"""Tab-separated corpora: labelled RNAs, and rows of alignments.

The first line names the columns. Plain or gzipped. Knows nothing of models.
"""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ribolex.errors import CorruptInputError
from ribolex.rna.records import Rna
from ribolex.rna.text import Refuse, accept, open_text

_LABELS = ("family_acc", "family", "type", "clan")


class AlignmentRow(NamedTuple):
    """One member of a family with its gaps."""

    family_acc: str
    name: str
    aligned: str


def read_rnas(
    path: Path, *, degap: bool = False, refuse: Refuse | None = None
) -> Iterator[Rna]:
    """Yields the RNAs of a table with the columns `name` and `sequence`.

    `structure`, `family_acc`, `family`, `type` and `clan` are read where present.

    Args:
        path: the table.
        degap: remove gaps of a sequence instead of refusing them.
        refuse: is told of each RNA whose letters are none of RNA, which is then left
            out; if None, the first one is raised.

    Raises:
        CorruptInputError: a column is missing, or the file breaks off.
        InvalidSequenceError: names the file, the line and the RNA.
    """
    for line, row in _rows(path, ("name", "sequence")):
        where = f"{path}:{line}, {row['name']!r}"
        sequence = accept(row["sequence"], where, degap=degap, refuse=refuse)
        if sequence is not None:
            structure = row.get("structure") or None
            yield Rna(row["name"], sequence, structure, _labels(row))


def read_labels(path: Path) -> dict[str, dict[str, str]]:
    """Returns the labels of a table with a column `name`, by name.

    Raises:
        CorruptInputError: it has no column of labels, or the file breaks off.
    """
    labels: dict[str, dict[str, str]] = {}
    for line, row in _rows(path, ("name",)):
        if not any(key in row for key in _LABELS):
            expected = ", ".join(_LABELS)
            raise CorruptInputError(path, f"has no column of labels, of: {expected}")
        found = _labels(row)
        if labels.setdefault(row["name"], found) != found:
            raise CorruptInputError(
                f"{path}:{line}", f"other labels of {row['name']!r} than further up"
            )
    return labels


def read_alignment_rows(path: Path) -> Iterator[AlignmentRow]:
    """Yields the rows of a table with columns `family_acc`, `name`, `aligned`.

    Raises:
        CorruptInputError: a column is missing, or the file breaks off.
    """
    for _, row in _rows(path, AlignmentRow._fields):
        yield AlignmentRow(row["family_acc"], row["name"], row["aligned"])


def write_rnas(path: Path, rnas: Iterable[Rna]) -> None:
    """Writes the gzipped table that `read_rnas` reads, the same bytes always."""
    rows = (
        [rna.metadata.get(key, "") for key in _LABELS]
        + [rna.name, rna.sequence, rna.structure or ""]
        for rna in rnas
    )
    _write(path, [*_LABELS, "name", "sequence", "structure"], rows)


def write_alignment_rows(path: Path, rows: Iterable[AlignmentRow]) -> None:
    """Writes the gzipped table that `read_alignment_rows` reads, the same bytes."""
    _write(path, AlignmentRow._fields, rows)


def _write(path: Path, fields: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
    ):
        for row in chain([fields], rows):
            zipped.write(("\t".join(row) + "\n").encode())


def _labels(row: Mapping[str, str | None]) -> dict[str, str]:
    return {key: text for key in _LABELS if (text := row.get(key))}


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
