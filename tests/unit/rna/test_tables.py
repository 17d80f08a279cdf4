"""Tables of RNAs round-trip, and broken ones say where."""

import gzip
from pathlib import Path

import pytest

from ribolex.errors import CorruptInputError, InvalidSequenceError
from ribolex.rna import (
    AlignmentRow,
    Rna,
    read_alignment_rows,
    read_labels,
    read_rnas,
    write_alignment_rows,
    write_rnas,
)

RNAS = [
    Rna("a/1-4", "ACGU", "(..)", {"family_acc": "RF1", "family": "x", "type": "Gene"}),
    Rna("b", "GGG"),
]


def test_what_is_written_is_read_and_bytes_repeat(tmp_path: Path) -> None:
    one, two = tmp_path / "one.tsv.gz", tmp_path / "two.tsv.gz"
    write_rnas(one, RNAS)
    write_rnas(two, RNAS)
    assert list(read_rnas(one)) == RNAS
    assert one.read_bytes() == two.read_bytes()


def test_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("name\tletters\nx\tACGU\n")
    with pytest.raises(
        CorruptInputError, match=r"t\.tsv: the first line lacks: sequence"
    ):
        list(read_rnas(path))


def test_bad_letter_is_named_with_line_and_rna(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("name\tsequence\nx\tACGU\ny\tACQU\n")
    with pytest.raises(InvalidSequenceError, match=r"t\.tsv:3, 'y': 'Q' at position 3"):
        list(read_rnas(path))


def test_short_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("family_acc\tname\taligned\nRF1\tx\n")
    with pytest.raises(CorruptInputError, match=r"t\.tsv:2: the line has too few"):
        list(read_alignment_rows(path))


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv.gz"
    path.write_bytes(gzip.compress(b"name\tsequence\n" + b"x\tACGU\n" * 999)[:-20])
    with pytest.raises(CorruptInputError, match="cannot be read"):
        list(read_rnas(path))


@pytest.mark.parametrize(
    "content",
    [
        b"name\tsequence\nx\t" + b"A" * 200_000 + b"\n",
        gzip.compress(b"name\tsequence\nx\tACGU\n", mtime=0)[:10] + b"\xff" * 40,
        b"name\tsequence\nx\tAC\xffGU\n",
    ],
    ids=["endless field", "gzip that is none", "not UTF-8"],
)
def test_hostile_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"t.tsv{'.gz' if content[:1] == bytes([0x1F]) else ''}"
    path.write_bytes(content)
    with pytest.raises(CorruptInputError, match=r"t\.tsv.*cannot be read"):
        list(read_rnas(path))


def test_refused_rnas_are_told_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("name\tsequence\nx\tAC-U\ny\tACQU\nz\tACGU\n")
    refused: list[InvalidSequenceError] = []
    assert [rna.name for rna in read_rnas(path, refuse=refused.append)] == ["z"]
    assert [error.field for error in refused] == [f"{path}:2, 'x'", f"{path}:3, 'y'"]
    rnas = read_rnas(path, degap=True, refuse=refused.append)
    assert [rna.sequence for rna in rnas] == ["ACU", "ACGU"]


def test_alignment_rows_round_trip(tmp_path: Path) -> None:
    rows = [AlignmentRow("RF1", "a", "AC-GU"), AlignmentRow("RF1", "b", "ACCGU")]
    write_alignment_rows(tmp_path / "t.tsv.gz", rows)
    assert list(read_alignment_rows(tmp_path / "t.tsv.gz")) == rows


def test_gzip_and_byte_order_mark_are_seen_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfname\tsequence\r\nx\tACGU\r\n"))
    assert list(read_rnas(path)) == [Rna("x", "ACGU")]


def test_labels_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("name\tclan\ttype\nx\tCL1\t\ny\t\t\nx\tCL1\t\n")
    assert read_labels(path) == {"x": {"clan": "CL1"}, "y": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("family_acc\nRF1\n", "the first line lacks: name"),
        ("name\tcolour\nx\tred\n", "has no column of labels"),
        ("name\tclan\nx\tCL1\nx\tCL2\n", r":3: other labels of 'x'"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(CorruptInputError, match=message):
        read_labels(path)
