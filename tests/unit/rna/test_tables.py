"""Tables of RNAs round-trip, and broken ones say where."""

import gzip
from pathlib import Path

import pytest

from ribolex.errors import CorruptInputError, InvalidSequenceError
from ribolex.rna import Rna, read_alignment_rows, read_rnas, write_rnas

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
        gzip.compress(b"name\tsequence\nx\tACGU\n")[:10] + b"\xff" * 40,
        b"name\tsequence\nx\tAC\xffGU\n",
    ],
    ids=["endless field", "gzip that is none", "not UTF-8"],
)
def test_hostile_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"t.tsv{'.gz' if content[:1] == bytes([0x1F]) else ''}"
    path.write_bytes(content)
    with pytest.raises(CorruptInputError, match=r"t\.tsv.*cannot be read"):
        list(read_rnas(path))
