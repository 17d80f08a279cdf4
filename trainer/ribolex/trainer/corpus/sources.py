"""Reads RNAs of any format that a corpus is made from, told apart by their beginning.

Knows nothing of parts, or of which RNAs are wanted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from ribolex.errors import CorruptInputError
from ribolex.rna import (
    AlignmentRow,
    Rna,
    read_alignments,
    read_fasta,
    read_rnas,
)
from ribolex.rna.stockholm import Alignment
from ribolex.rna.text import Refuse, open_text

Format = Literal["FASTA", "Stockholm", "table"]
_PEEKED = 4096


class Piece(NamedTuple):
    """RNAs of one file, or of one alignment in it."""

    rnas: Iterable[Rna]
    rows: tuple[AlignmentRow, ...] = ()
    """Of the same RNAs, if they are aligned; gaps as "-"."""


def read_source(
    path: Path,
    *,
    degap: bool,
    refuse: Refuse | None,
    labels: Mapping[str, Mapping[str, str]],
) -> Iterator[Piece]:
    """Yields the RNAs of a file, each with the accession of its family if it has one.

    An alignment without accession goes by its ID, one without either by its file and
    line. Blocking; reads on as the RNAs of a piece are taken.

    Args:
        path: FASTA, Stockholm or a table, gzipped or not.
        degap: remove gaps of FASTA and tables instead of refusing them.
        refuse: is told of each RNA whose letters are none of RNA, which is then left
            out; if None, the first one is raised.
        labels: by the names of the RNAs; for FASTA, which has none itself.

    Raises:
        CorruptInputError: names the file and the line.
        InvalidSequenceError: names the file, the line and the RNA.
    """
    found = find_format(path)
    if found == "Stockholm":
        for alignment in read_alignments(path):
            yield _of_alignment(alignment, path, refuse)
    elif found == "FASTA":
        rnas = read_fasta(path, degap=degap, refuse=refuse)
        yield Piece(_named(replace(r, metadata=labels.get(r.name, {})) for r in rnas))
    else:
        yield Piece(_named(read_rnas(path, degap=degap, refuse=refuse)))


def find_format(path: Path) -> Format:
    """Returns the format of a file, whatever its name.

    Raises:
        CorruptInputError: it is of none that is known, or cannot be read.
    """
    try:
        with open_text(path, "replace", None) as stream:
            start = stream.read(_PEEKED).lstrip()
    except (OSError, EOFError) as error:
        raise CorruptInputError(path, f"cannot be read: {error}") from error
    if not start:
        raise CorruptInputError(path, "is empty, expected RNAs")
    if start.startswith("# STOCKHOLM"):
        return "Stockholm"
    if start[0] in ">;":
        return "FASTA"
    columns = start.splitlines()[0].split("\t")
    if "name" in columns and "sequence" in columns:
        return "table"
    raise CorruptInputError(
        path,
        f"begins with {start[:20]!r}, expected FASTA ('>'), Stockholm "
        "('# STOCKHOLM 1.0') or a table with the columns 'name' and 'sequence'",
    )


def _of_alignment(alignment: Alignment, path: Path, refuse: Refuse | None) -> Piece:
    rnas = list(_named(alignment.rnas(refuse)))
    if rnas and "family_acc" not in rnas[0].metadata:
        line = alignment.where.removeprefix(f"{path}:")
        family = {**rnas[0].metadata, "family_acc": f"{path.name}:{line}"}
        rnas = [replace(rna, metadata=family) for rna in rnas]
    rows = (
        AlignmentRow(rna.metadata["family_acc"], rna.name, alignment.rows[rna.name])
        for rna in rnas
    )
    return Piece(rnas, tuple(row._replace(aligned=_plain(row.aligned)) for row in rows))


def _named(rnas: Iterable[Rna]) -> Iterator[Rna]:
    """Yields the RNAs with a family's name for its accession where it has none.

    RNAs of the same labels share one mapping: a corpus holds many and few labels.
    """
    shared: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for rna in rnas:
        labels = dict(rna.metadata)
        if "family" in labels:
            labels.setdefault("family_acc", labels["family"])
        metadata = shared.setdefault(tuple(labels.items()), labels)
        yield replace(rna, metadata=metadata)


def _plain(aligned: str) -> str:
    return aligned.upper().replace("T", "U").replace(".", "-")
