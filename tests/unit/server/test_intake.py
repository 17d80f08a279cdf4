"""What may be stored: names that can be shown, structures that fit."""

import re

import pytest

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.server.index.intake import check_rna


@pytest.mark.parametrize("structure", [None, "(((....)))", "((AA..))aa", "[[<<>>]]{}"])
def test_sound_structures_pass(structure: str | None) -> None:
    rna = Rna("x" * 256, "GGGAAAACCC", structure)
    assert check_rna(rna, "rnas[0]") == structure


def test_gaps_take_their_signs_of_the_structure_along() -> None:
    rna = Rna("x", "GG-GA.AC-CC", "((.(...).))")
    assert check_rna(rna, "rnas[0]", degap=True) == "(((..)))"
    rna = Rna("x", "-GGAACC", "(((.)))")
    with pytest.raises(InvalidRequestError, match="'\\)' at position 6 closes"):
        check_rna(rna, "rnas[0]", degap=True)


@pytest.mark.parametrize(
    ("structure", "what"),
    [
        ("(((...)))", "9 signs, expected as many as letters: 10"),
        ("(((....)).", "1 '\\(' not closed"),
        ("((....))).", "'\\)' at position 9 closes nothing"),
        ("(((.,..)))", "',' at position 5 is no dot-bracket sign"),
        ("A........b", "'b' at position 10 closes nothing"),
    ],
)
def test_structures_that_do_not_fit_are_refused(structure: str, what: str) -> None:
    with pytest.raises(InvalidRequestError, match=what) as caught:
        check_rna(Rna("x", "GGGAAAACCC", structure), "rnas[2]")
    assert caught.value.field == "rnas[2].structure"


@pytest.mark.parametrize(
    ("metadata", "field", "what"),
    [
        ({"": "x"}, "metadata", "'' is no key"),
        ({"a\nb": "x"}, "metadata", "is no key"),
        ({"k" * 257: "x"}, "metadata", "is no key"),
        ({"a": "x", "b": "y" * 65_536}, "metadata['b']", "makes it 65539 characters"),
        ({f"{i}": "" for i in range(65)}, "metadata", "65 keys, expected at most 64"),
    ],
)
def test_metadata_that_cannot_be_asked_for_are_refused_by_key(
    metadata: dict[str, str], field: str, what: str
) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(what)) as caught:
        check_rna(Rna("x", "ACGU", None, metadata), "rnas[2]")
    assert caught.value.field == f"rnas[2].{field}"


@pytest.mark.parametrize("name", ["", "x" * 257, "a\tb", "a\x7fb", "a\x85b"])
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_rna(Rna(name, "ACGU"), "rnas[2]")
    assert caught.value.field == "rnas[2].name"
