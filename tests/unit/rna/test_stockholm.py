"""The Stockholm reader: what it reads, what it projects, how it refuses."""

import gzip
from pathlib import Path

import pytest

from ribolex.errors import CorruptInputError, InvalidSequenceError
from ribolex.rna.stockholm import Alignment, read_alignments

TWO = """\
# STOCKHOLM 1.0

#=GF AC   RF00001
#=GF ID   first
#=GF TP   Gene; snRNA; snoRNA;
#=GF CL   CL00110
#=GF CC   one line
#=GF CC   and another
#=GS a/1-8 DE a description

a/1-8          GGC-AAAAGCC
b/2-9          ggct.aaagct
#=GR b/2-9 SS  ...........
#=GC SS_cons   <<<.___.>>>
#=GC RF        gggaaaaaccc
//

# STOCKHOLM 1.0
#=GF ID second
c GGAAACC
//
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "some.stk"
    path.write_text(text)
    return path


def _one(folder: Path, rows: str, consensus: str) -> Alignment:
    text = f"# STOCKHOLM 1.0\n{rows}\n#=GC SS_cons {consensus}\n//\n"
    return next(iter(read_alignments(_write(folder, text))))


def test_every_alignment_of_a_file_is_read(tmp_path: Path) -> None:
    first, second = read_alignments(_write(tmp_path, TWO))
    assert list(first.rows) == ["a/1-8", "b/2-9"]
    assert first.consensus == "<<<.___.>>>"
    assert first.labels["CC"] == "one line and another"
    assert list(second.rows.items()) == [("c", "GGAAACC")]
    assert second.consensus is None
    assert second.where.endswith("some.stk:18")


def test_members_carry_labels_where_the_file_has_them(tmp_path: Path) -> None:
    first, second = read_alignments(_write(tmp_path, TWO))
    assert next(first.rnas()).metadata == {
        "family_acc": "RF00001",
        "family": "first",
        "type": "Gene;snRNA;snoRNA",
        "clan": "CL00110",
    }
    assert next(second.rnas()).metadata == {"family": "second"}


def test_consensus_is_projected_without_gaps_and_odd_pairs(tmp_path: Path) -> None:
    a, b = next(iter(read_alignments(_write(tmp_path, TWO)))).rnas()
    assert (a.sequence, a.structure) == ("GGCAAAAGCC", "(((....)))")
    # The outermost pair is G with U, the innermost C with G: both stay.
    assert (b.sequence, b.structure) == ("GGCUAAAGCU", "(((....)))")


@pytest.mark.parametrize(
    ("row", "consensus", "structure"),
    [
        ("GA-AAAUC", "<<<..>>>", "((...))"),
        ("GAAAAUUC", "<<<..>>>", "(((..)))"),
        ("GGAAAAUC", "<<<..>>>", "((....))"),
        ("GNAAAANC", "<<<..>>>", "(......)"),
        ("GTAAAAGC", "([{,,}])", "((....))"),
        ("GAAAAAAC", "<A:_~a->", "(......)"),
        ("GAAAAAAA", "<......>", None),
    ],
    ids=["gap", "canonical", "odd", "ambiguous", "brackets", "pseudoknot", "no pair"],
)
def test_projection(
    tmp_path: Path, row: str, consensus: str, structure: str | None
) -> None:
    (rna,) = _one(tmp_path, f"a {row}", consensus).rnas()
    assert rna.structure == structure


def test_interleaved_blocks_are_joined(tmp_path: Path) -> None:
    rows = "a GGG\nb GGA\n#=GC SS_cons <<<\n\na CCC\nb UCC"
    alignment = _one(tmp_path, rows, ">>>")
    assert alignment.rows == {"a": "GGGCCC", "b": "GGAUCC"}
    assert alignment.consensus == "<<<>>>"


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "dos"])
def test_plain_and_gzipped_read_the_same(tmp_path: Path, newline: str) -> None:
    plain = _write(tmp_path, TWO)
    zipped = tmp_path / "some.stk.gz"
    zipped.write_bytes(gzip.compress(TWO.replace("\n", newline).encode()))
    pairs = zip(read_alignments(plain), read_alignments(zipped), strict=True)
    assert all(a.rows == b.rows and a.labels == b.labels for a, b in pairs)


def test_bytes_that_are_not_utf8_do_no_harm_in_text(tmp_path: Path) -> None:
    path = tmp_path / "old.stk"
    path.write_bytes(b"# STOCKHOLM 1.0\n#=GF AU M\xfcller\na ACGU\n//\n")
    assert [r.sequence for a in read_alignments(path) for r in a.rnas()] == ["ACGU"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "is empty"),
        (">a\nACGU\n", 1, "'>a' found, expected '# STOCKHOLM 1.0'"),
        ("# STOCKHOLM 1.0\na ACGU\n", 2, "ends within the alignment"),
        ("# STOCKHOLM 1.0\n//\n", 2, "no row"),
        ("# STOCKHOLM 1.0\na ACGU\nb ACG\n//\n", 4, "'b' of the alignment above has 3"),
        ("# STOCKHOLM 1.0\na ACGU\n#=GC SS_cons ...\n//\n", 4, "'SS_cons' of"),
        ("# STOCKHOLM 1.0\na AC GU\n//\n", 2, "3 words, expected a name"),
        ("# STOCKHOLM 1.0\n#=GC SS_cons\na ACGU\n//\n", 2, "2 words, expected #=GC"),
        ("# STOCKHOLM 1.0\na ACGU\n# STOCKHOLM 1.0\n", 3, "before the '//'"),
        ("# STOCKHOLM 1.0\na A\n//\nb C\n", 4, "'b C' found, expected"),
        ("# STOCKHOLM 1.0\na ACGU\n#=GC SS_cons <..>>\n//\n", 4, "has 5 columns"),
        ("# STOCKHOLM 1.0\na ACGU\n#=GC SS_cons <.>>\n//\n", 4, "'>' in column 4 clo"),
        ("# STOCKHOLM 1.0\na ACGU\n#=GC SS_cons <(>)\n//\n", 4, "'>' in column 3 clo"),
        ("# STOCKHOLM 1.0\na ACGU\n#=GC SS_cons <<.>\n//\n", 4, "'<' in column 1 is n"),
        ("# STOCKHOLM 1.0\na ACGU\n#=GC SS_cons .?..\n//\n", 4, "'?' in column 2 is n"),
    ],
)
def test_broken_file_is_refused_by_line(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(CorruptInputError) as caught:
        list(read_alignments(path))
    assert caught.value.where == (str(path) if line is None else f"{path}:{line}")
    assert message in caught.value.message


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.stk.gz"
    path.write_bytes(gzip.compress(TWO.encode())[:-20])
    with pytest.raises(CorruptInputError, match="breaks off"):
        list(read_alignments(path))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptInputError, match="No such file"):
        list(read_alignments(tmp_path / "none.stk"))


def test_letter_of_no_rna_is_named_with_its_row(tmp_path: Path) -> None:
    alignment = _one(tmp_path, "a ACGU\nb ACJU", "....")
    with pytest.raises(InvalidSequenceError, match=r"some\.stk:1, row 'b': 'J' at"):
        list(alignment.rnas())


def test_refused_members_are_told_and_the_others_given(tmp_path: Path) -> None:
    alignment = _one(tmp_path, "a ACGU\nb ACJU\nc ----", "....")
    refused: list[InvalidSequenceError] = []
    assert [rna.name for rna in alignment.rnas(refused.append)] == ["a"]
    assert [error.message for error in refused] == [
        "'J' at position 3 is not an RNA letter",
        "the sequence is empty",
    ]


def test_labels_hold_no_tabs(tmp_path: Path) -> None:
    (rna,) = _one(tmp_path, "#=GF ID my\tfamily\na ACGU", "....").rnas()
    assert rna.metadata == {"family": "my family"}
