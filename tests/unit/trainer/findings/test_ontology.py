"""Files of terms say what they say, and hostile ones are refused by file and line."""

import gzip
from pathlib import Path

import pytest

from ribolex.errors import CorruptInputError
from ribolex.trainer.findings.ontology import read_obo, read_terms

OBO = """format-version: 1.2

[Term]
id: SO:1
name: RNA

[Term]
id: SO:2
name: tRNA ! of the cell
alt_id: SO:22
is_a: SO:1 {source="x"} ! RNA
relationship: part_of SO:3 ! ribosome cycle
relationship: has_part SO:9 ! not upwards

[Typedef]
id: part_of

[Term]
id: SO:3
name: cycle
is_a: SO:2

[Term]
id: SO:4
name: gone
is_obsolete: true
"""


def gaf(name: str, qualifier: str, term: str) -> str:
    cells = ["RNAcentral", f"URS_{name}", name, qualifier, term, *["x"] * 10]
    return "\t".join(cells)


def test_terms_are_lifted_to_what_they_are_part_of(tmp_path: Path) -> None:
    path = tmp_path / "so.obo"
    path.write_text(OBO)
    found = read_obo(path)
    assert found.names == {"SO:1": "RNA", "SO:2": "tRNA", "SO:3": "cycle"}
    # 2 is part of 3, 3 is a 2: walked once. An old id is the term; a strange one stays.
    assert found.lift(["SO:22"]) == {"SO:1", "SO:2", "SO:3"}
    assert found.lift(["X:1"]) == {"X:1"}


def test_gaf_gives_terms_by_id_and_symbol_without_those_that_are_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "goa.gaf.gz"
    lines = [
        "!gaf-version: 2.2",
        gaf("a", "enables", "GO:1"),
        gaf("a", "NOT|enables", "GO:2"),
        gaf("b", "", "GO:2"),
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert read_terms(path) == {
        "URS_a": {"GO:1"},
        "a": {"GO:1"},
        "URS_b": {"GO:2"},
        "b": {"GO:2"},
    }


def test_table_gives_terms_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_bytes(b"# name\tterm\r\nRF00005\tmine:1\r\n\r\nRF00005\tmine:2\tx\r\n")
    assert read_terms(path) == {"RF00005": {"mine:1", "mine:2"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name only\n", "mine:1: no term"),
        (b"!gaf\nshort\tline\n", "mine:2: 2 columns, expected 15"),
        (b"a\tb\n\xff\xfe\n", "mine: .*expected text"),
        (gzip.compress(b"a\tb\n", mtime=0)[:-9], "mine: .*expected text"),
    ],
)
def test_what_is_no_list_of_terms_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(CorruptInputError, match=message):
        read_terms(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[Term]\nname: x\n", "so:1: a .Term. without"), ("nothing\n", "no .Term.")],
)
def test_what_is_no_ontology_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "so"
    path.write_text(text)
    with pytest.raises(CorruptInputError, match=message):
        read_obo(path)
