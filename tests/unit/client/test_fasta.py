"""The FASTA reader: what goes in comes out, and what is broken is named by line."""

import gzip
import io
import itertools
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.client import CorruptInputError, FastaRecord, read_fasta
from ribolex.client.fasta import parse_fasta
from ribolex.client.lines import MAX_CHARACTERS, Line, read_lines

NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1
).filter(str.isprintable)
SEQUENCES = st.text("ACGUTNacgutn", min_size=1, max_size=200)


def _read(path: Path) -> list[tuple[str, str]]:
    return [(record.name, record.sequence) for record in read_fasta(path)]


def _write(folder: Path, content: bytes, name: str = "some.fasta") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@settings(deadline=None)  # a file a time, on whatever disk
@given(
    rnas=st.lists(st.tuples(NAMES, SEQUENCES), min_size=1, max_size=20),
    width=st.integers(1, 80),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    description=st.sampled_from(["", " Homo sapiens", "\tµ 5'"]),
    gap=st.sampled_from([0, 1]),
    wrap=st.sampled_from([bytes, gzip.compress]),
    bom=st.booleans(),
)
def test_whatever_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rnas: list[tuple[str, str]],
    width: int,
    newline: str,
    description: str,
    gap: int,
    wrap: Callable[[bytes], bytes],
    bom: bool,
) -> None:
    lines = []
    for name, sequence in rnas:
        lines.append(f">{name}{description}")
        lines += [sequence[i : i + width] for i in range(0, len(sequence), width)]
        lines += [""] * gap
    text = newline.join(lines)
    content = wrap(text.encode("utf-8-sig" if bom else "utf-8"))
    path = _write(tmp_path_factory.getbasetemp(), content)
    assert _read(path) == [(name, letters.upper()) for name, letters in rnas]


@settings(deadline=None)
@given(content=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = _write(tmp_path_factory.getbasetemp(), content)
    try:
        records = list(read_fasta(path))
    except CorruptInputError:
        return
    assert records
    assert all(record.name and record.sequence for record in records)
    assert all(record.name.isprintable() for record in records)
    assert all(record.sequence.isascii() for record in records)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", None, "is empty"),
        (b"\n\n  \n", None, "is empty"),
        (b"ACGU\n>a\nACGU\n", 1, "'ACGU' found, expected a header"),
        (b"\n@read\nACGU\n+\nIIII\n", 2, "'@read' found, expected a header"),
        (b"; comment\n\n; another\n", None, "is empty"),
        (b">a\n*\n", 1, "'a' has no sequence"),
        (b">a\n  61 \n", 1, "'a' has no sequence"),
        (">a\u2028ACGU\nGG\n".encode(), 1, "U+2028, which ends no line here"),
        (">a\nAC\u2029GU\n".encode(), 2, "U+2029, which ends no line here"),
        (">a\nAC\x85GU\n".encode(), 2, "U+0085, which ends no line here"),
        (">a\nAC\u200bGU\n".encode(), 2, "not ASCII"),
        (b"BZh91AY&SY\x00\x01", 1, "binary data"),
        (b">a\nACGU\n>\nACGU\n", 3, "a header without a name"),
        (b">a\n>b\nACGU\n", 1, "'a' has no sequence"),
        (b">a\nACGU\n>b\n\n", 3, "'b' has no sequence"),
        (b">a\nAC\x00GU\n", 2, "binary data"),
        (b">a\nACGU\x1b[2J\n", 2, "binary data"),
        (b"\x7fELF\x02\x01\x01\x00\n", 1, "binary data"),
        (b">a\nAC\xff\xfeGU\n", 2, "not ASCII"),
        (">a\nACĞU\n".encode(), 2, "not ASCII"),
        (b">a\xff\nACGU\n", 1, "a name that is not UTF-8"),
        (">a\nACGU\n".encode("utf-16"), 1, "binary data"),
        (
            gzip.compress(b">a\nACGU\n" * 9, mtime=0)[:-9],
            19,
            "the gzipped data break off",
        ),
        (b"\x1f\x8b", 1, "the gzipped data break off"),
        (
            b"\x1f\x8b\x08\x00garbage that is no gzip at all",
            1,
            "gzipped data break off",
        ),
        (
            gzip.compress(b">a\nACGU\n", mtime=0)[:-8] + bytes(8),
            3,
            "gzipped data break off",
        ),
    ],
)
def test_broken_file_is_refused_by_line(
    tmp_path: Path, content: bytes, line: int | None, message: str
) -> None:
    path = _write(tmp_path, content)
    with pytest.raises(CorruptInputError) as caught:
        list(read_fasta(path))
    assert caught.value.where == (str(path) if line is None else f"{path}:{line}")
    assert message in caught.value.message


def test_records_before_the_break_are_given(tmp_path: Path) -> None:
    records = read_fasta(_write(tmp_path, b">a\nACGU\n>b\n>c\nA\n"))
    assert next(records) == FastaRecord("a", "ACGU", 1)
    with pytest.raises(CorruptInputError, match=":3: 'b' has no sequence"):
        next(records)


@pytest.mark.parametrize(
    "content",
    [
        b"> a b\nAC GU\tAC \n",
        ">a\nACG\u00a0UAC\n".encode(),
        b"\n\r\n \n>a\nACGUAC\n",
        b"; of a time before\n>a\n;and its letters\nACGU\n; so\nAC\n",
        b">a\n        1 acg\n        4 uac\n",
        b">a\n     acg uac        6\n",
        b">a\n1\nACGUAC\n",
        b">a\nACG\nUAC*\n",
        b">a\nACGUAC\n*\n",
        ">a\nACG\n\ufeffUAC\n".encode("utf-8-sig"),
        gzip.compress(b">a\nACG", mtime=0) + gzip.compress(b"UAC\n", mtime=0),
    ],
    ids=range(11),
)
def test_what_people_put_between_letters_is_left_out(
    tmp_path: Path, content: bytes
) -> None:
    assert _read(_write(tmp_path, content)) == [("a", "ACGUAC")]


@pytest.mark.parametrize("letters", ["AC1GU", "*ACGU", "AC*GU", "1AC", "AC>GU", "AC;"])
def test_the_same_signs_among_letters_are_left_for_the_server_to_refuse(
    tmp_path: Path, letters: str
) -> None:
    assert _read(_write(tmp_path, f">a\n{letters}\n".encode())) == [("a", letters)]


def test_names_may_repeat(tmp_path: Path) -> None:
    path = _write(tmp_path, b">a\nACGU\n>a\nGG\n")
    assert _read(path) == [("a", "ACGU"), ("a", "GG")]


def test_files_of_windows_can_be_put_together(tmp_path: Path) -> None:
    one = ">a\r\nACGU\r\n".encode("utf-8-sig")
    two = ">b\r\nGG\r\n".encode("utf-8-sig")
    assert _read(_write(tmp_path, one + two)) == [("a", "ACGU"), ("b", "GG")]


@pytest.mark.parametrize("name", ["none.fasta", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorruptInputError, match=r"No such file|Is a directory"):
        list(read_fasta(tmp_path / name))


@pytest.mark.parametrize("wrap", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_standard_input_is_read_and_left_open(
    monkeypatch: pytest.MonkeyPatch, wrap: Callable[[bytes], bytes]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(wrap(b">a\r\nacgu\r\n")))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert _read(Path("-")) == [("a", "ACGU")]
    assert not stdin.closed


def test_standard_input_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ACGU\n")))
    with pytest.raises(CorruptInputError, match="standard input:1"):
        _read(Path("-"))


def test_endless_line_is_refused_early(tmp_path: Path) -> None:
    content = gzip.compress(b">a\n" + b"A" * (MAX_CHARACTERS * 3))
    with pytest.raises(CorruptInputError, match=":2: a line of more than 1,048,576"):
        _read(_write(tmp_path, content))


def test_endless_sequence_is_refused_early() -> None:
    letters = "A" * 1000
    lines = (Line(n, letters) if n > 1 else Line(1, ">a") for n in itertools.count(1))
    with pytest.raises(
        CorruptInputError, match="x:1: a sequence of more than 1,048,576"
    ):
        list(parse_fasta(lines, "x"))


@pytest.mark.parametrize(
    ("piece", "n_pieces", "most_bytes"),
    [(b"A" * 2**20, 64, 12 << 20), (b"\n" * 2**16, 1, 1 << 20)],
    ids=["line", "lines"],
)
def test_memory_stays_bounded_whatever_unpacks(
    tmp_path: Path, piece: bytes, n_pieces: int, most_bytes: int
) -> None:
    """A line of 64 MiB, and 65,536 empty ones, each gzipped to a few kB."""
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(b">a\n")
        for _ in range(n_pieces):
            stream.write(piece)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptInputError):
            list(read_fasta(path))
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()


def test_file_is_closed_when_left_early(tmp_path: Path) -> None:
    lines = read_lines(_write(tmp_path, b">a\nACGU\n"))
    next(lines)
    lines.close()  # type: ignore[attr-defined]
