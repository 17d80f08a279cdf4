"""Structure elements follow bpRNA's definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.rna.elements import ELEMENTS, elements, pair_partners

structures = st.recursive(
    st.text(".", max_size=4),
    lambda inner: (
        st.builds("({})".format, inner)
        | st.builds(str.__add__, inner, inner)
        | st.builds(".{}".format, inner)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        ("", ""),
        ("...", "EEE"),
        ("..(...)..", "EESHHHSEE"),
        ("((...))", "SSHHHSS"),
        ("(.(...))", "SBSHHHSS"),
        ("((...)..)", "SSHHHSBBS"),
        ("(.(...).)", "SISHHHSIS"),
        ("(.(...)(..).)", "SMSHHHSSHHSMS"),
        (".(..)..(..).", "ESHHSXXSHHSE"),
        ("(()())", "SSSSSS"),
    ],
)
def test_elements_of_small_structures(structure: str, expected: str) -> None:
    assert elements(structure, "s") == expected


@given(structures)
def test_stems_are_the_pairs_and_all_else_is_a_loop(structure: str) -> None:
    letters = elements(structure, "s")
    partners = pair_partners(structure, "s")
    assert set(letters) <= set(ELEMENTS)
    assert [letter == "S" for letter in letters] == [p >= 0 for p in partners]


@given(structures)
def test_a_structure_read_backwards_has_the_same_elements(structure: str) -> None:
    mirrored = structure[::-1].translate(str.maketrans("()", ")("))
    assert elements(mirrored, "s") == elements(structure, "s")[::-1]


@pytest.mark.parametrize(
    ("structure", "message"),
    [
        ("(()", r"'\(' at 1 is never closed"),
        ("())", r"'\)' at 3 closes"),
        ("<>", "'<' at 1"),
    ],
)
def test_what_is_no_structure_is_refused(structure: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        elements(structure, "s")
