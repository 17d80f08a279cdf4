"""The core's FASTA reader reads what the client's reads, and checks the letters."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.client import CorruptInputError as LightError
from ribolex.client import read_fasta as read_light
from ribolex.errors import CorruptInputError, InvalidSequenceError
from ribolex.rna import Rna, read_fasta

LINES = st.sampled_from(
    [">a", ">b c", ">µ 5'", ";note", "", "  ", "ACGU", "acg u", "1 ACG 60", "GG*", "N"]
)


@settings(deadline=None)  # a file a time, on whatever disk
@given(
    lines=st.lists(LINES, max_size=8),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    is_zipped=st.booleans(),
)
def test_what_the_light_reader_accepts_is_read_alike(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    newline: str,
    bom: bool,
    is_zipped: bool,
) -> None:
    content = newline.join([">first", "ACG", *lines, "U"]).encode(
        "utf-8-sig" if bom else "utf-8"
    )
    path = tmp_path_factory.getbasetemp() / "some.fa"
    path.write_bytes(gzip.compress(content) if is_zipped else content)
    try:
        light = [
            (r.name, r.sequence.upper().replace("T", "U")) for r in read_light(path)
        ]
    except LightError:
        with pytest.raises((CorruptInputError, InvalidSequenceError)):
            list(read_fasta(path))
        return
    refused: list[InvalidSequenceError] = []
    rnas = list(read_fasta(path, refuse=refused.append))
    if not refused:  # a "*" inside a sequence is the server's to refuse
        assert [(rna.name, rna.sequence) for rna in rnas] == light


def test_wrong_letters_are_named_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "some.fa"
    path.write_text(">a\nACGU\n>b x\nAC\nQU\n>c\n>d\nGG-A\n>e\nggt\n")
    refused: list[InvalidSequenceError] = []
    rnas = list(read_fasta(path, refuse=refused.append))
    assert rnas == [Rna("a", "ACGU"), Rna("e", "GGU")]
    assert [str(error) for error in refused] == [
        f"{path}:3, 'b': 'Q' at position 3 is not an RNA letter",
        f"{path}:6, 'c': the sequence is empty",
        f"{path}:7, 'd': '-' at position 3 is not an RNA letter "
        "(gaps can be removed on request)",
    ]
    with pytest.raises(InvalidSequenceError, match=":3, 'b': 'Q'"):
        list(read_fasta(path))


def test_gaps_are_removed_on_request(tmp_path: Path) -> None:
    path = tmp_path / "some.fa"
    path.write_text(">a\nAC--G.U\n")
    assert list(read_fasta(path, degap=True)) == [Rna("a", "ACGU")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "some.fa: is empty"),
        (b"\n; only a note\n", "some.fa: is empty"),
        (b"ACGU\n>a\nACGU\n", "some.fa:1: 'ACGU' found, expected a header"),
        (b">a\nACGU\n>\nACGU\n", "some.fa:3: a header without a name"),
        (b">a\xff\nACGU\n", "some.fa:1: a name that is not UTF-8"),
        (gzip.compress(b">a\nACGU\n" * 9, mtime=0)[:-9], "some.fa:19: breaks off"),
        (b"\x1f\x8bno gzip", "some.fa:1: breaks off"),
        (b">a\n" + b"A" * (2**24 + 1), "some.fa:2: a line of more than"),
    ],
)
def test_broken_file_is_refused_by_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "some.fa"
    path.write_bytes(content)
    with pytest.raises(CorruptInputError) as caught:
        list(read_fasta(path))
    assert message in str(caught.value)
