"""Tables of labelled RNAs, and FASTA where there are no labels."""

import gzip
from pathlib import Path

import pytest

from ribolex.client import CorruptInputError, Rna
from ribolex.client.tables import read_rnas


def _write(folder: Path, content: bytes) -> Path:
    path = folder / "some.txt"
    path.write_bytes(content)
    return path


def test_columns_become_labels_where_they_are_not_empty(tmp_path: Path) -> None:
    table = (
        b"organism\tname\tsequence\tstructure\tclan\n"
        b"yeast\ta\tGGAAACC\t((...))\n"
        b"\tb\tA\n"
    )
    assert list(read_rnas(_write(tmp_path, table))) == [
        Rna("a", "GGAAACC", "((...))", {"organism": "yeast"}),
        Rna("b", "A", None, {}),
    ]


@pytest.mark.parametrize(
    "content",
    [b">a\nacgu\n>b\nA\n", gzip.compress(b"\r\n>a x\r\nAC\r\nGU\r\n\r\n>b\r\na\r\n")],
    ids=["plain", "gzipped"],
)
def test_fasta_is_told_by_its_first_line(tmp_path: Path, content: bytes) -> None:
    rnas = list(read_rnas(_write(tmp_path, content)))
    assert rnas == [Rna("a", "ACGU"), Rna("b", "A")]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "is empty"),
        (b"ACGU\n", 1, "no column 'name' and no column 'sequence'"),
        (b"name\tletters\na\tACGU\n", 1, "no column 'sequence'"),
        (b"name\tsequence\n", None, "no row"),
        (b"name\tsequence\na\tACGU\tmore\n", 2, "3 columns, expected 2"),
        (b"name\tsequence\n\nlonely\n", 3, "no name or no sequence"),
        (b"name\tsequence\n\tACGU\n", 2, "no name or no sequence"),
        (b"name\tsequence\na\tAC\x00GU\n", 2, "binary data"),
        (b">a\n", 1, "'a' has no sequence"),
    ],
)
def test_broken_file_is_refused_by_line(
    tmp_path: Path, content: bytes, line: int | None, message: str
) -> None:
    path = _write(tmp_path, content)
    with pytest.raises(CorruptInputError) as caught:
        list(read_rnas(path))
    assert caught.value.where == (str(path) if line is None else f"{path}:{line}")
    assert message in str(caught.value)
