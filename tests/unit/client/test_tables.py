"""Tables of labelled RNAs, and FASTA where there are no labels."""

import gzip
import tracemalloc
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
    [
        b">a\nacgu\n>b\nA\n",
        gzip.compress(b"\r\n>a x\r\nAC\r\nGU\r\n\r\n>b\r\na\r\n", mtime=0),
    ],
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
        (b"name\tsequence\na\tAC\xffGU\n", 2, "not UTF-8"),
        (b"name\tsequence\nb\xff\tACGU\n", 2, "not UTF-8"),
        (b"name\tsequence\tfamil\xe9\na\tACGU\n", 1, "not UTF-8"),
        (b"name\tsequence\tname\na\tACGU\tb\n", 1, "two columns of one name"),
        (b"name\t\tsequence\na\tb\tACGU\n", 1, "one without a name"),
        (b'"name"\t"sequence"\n"a"\t"ACGU"\n', 1, "no column 'name'"),
        (b"name,sequence\na,ACGU\n", 1, "no column 'name'"),
        ("name\tsequence\na\tAC\u2028GU\n".encode(), 2, "U+2028"),
        (b">a\n", 1, "'a' has no sequence"),
        (b">a x\nAC\n>b\nGG\n>a y\nGU\n", 5, "'a' again, as in line 1:"),
        (b"name\tsequence\na\tA\nb\tA\na\tA\n", 4, "'a' again, as in line 2:"),
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


def test_rnas_before_one_of_a_known_name_are_given(tmp_path: Path) -> None:
    rnas = read_rnas(_write(tmp_path, b">a\nAC\n>A\nGG\n>a\nGU\n"))
    assert [next(rnas).name, next(rnas).name] == ["a", "A"]
    with pytest.raises(CorruptInputError):
        next(rnas)


def test_names_of_a_large_file_are_kept_on_disk(tmp_path: Path) -> None:
    """Held in memory, these names alone would take 20 MB."""
    n_rnas, name = 2000, "n" * 10_000
    path = tmp_path / "many.fasta.gz"
    with gzip.open(path, "wt", compresslevel=1) as stream:
        stream.writelines(f">{i}{name}\nACGU\n" for i in range(n_rnas))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rnas(path)) == n_rnas
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
