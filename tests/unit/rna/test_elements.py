"""Structure elements follow bpRNA's definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.rna.elements import ELEMENTS, elements, find_loops, pair_partners

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
        (".", "E"),
        ("...", "EEE"),
        ("()", "SS"),
        ("(.)", "SHS"),
        ("..(...)..", "EESHHHSEE"),
        ("((...))", "SSHHHSS"),
        ("((((....))))", "SSSSHHHHSSSS"),
        # bulges, 5' and 3', of one and more
        ("(.(...))", "SBSHHHSS"),
        ("((...)..)", "SSHHHSBBS"),
        ("(..((...)))", "SBBSSHHHSSS"),
        ("((.((...))))", "SSBSSHHHSSSS"),
        ("((((...)).))", "SSSSHHHSSBSS"),
        ("(.((..(...))))", "SBSSBBSHHHSSSS"),
        # internal loops, symmetric and not
        ("(.(...).)", "SISHHHSIS"),
        ("(..(...).)", "SIISHHHSIS"),
        ("((..((...))...))", "SSIISSHHHSSIIISS"),
        ("(.(.(...).).)", "SISISHHHSISIS"),
        ("(.(.(...)).)", "SISBSHHHSSIS"),
        # multiloops of two and three branches, and one within another
        ("(.(...)(..).)", "SMSHHHSSHHSMS"),
        ("(()())", "SSSSSS"),
        ("((..)(..))", "SSHHSSHHSS"),
        ("((..).(..))", "SSHHSMSHHSS"),
        ("(.(..).(..).(..).)", "SMSHHSMSHHSMSHHSMS"),
        ("((.(..)(..))(..))", "SSMSHHSSHHSSSHHSS"),
        ("(.((..)(..).).)", "SISSHHSSHHSMSIS"),
        # outside all pairs: ends, and between helices
        (".(..)..(..).", "ESHHSXXSHHSE"),
        ("(..)(..)", "SHHSSHHS"),
        ("(..).(..)..(..)", "SHHSXSHHSXXSHHS"),
        ("...(...)", "EEESHHHS"),
        # a tRNA
        (
            "(((((((..((((........)))).(((((.......))))).....(((((.......))))))))))))....",
            "SSSSSSSMMSSSSHHHHHHHHSSSSMSSSSSHHHHHHHSSSSSMMMMMSSSSSHHHHHHHSSSSSSSSSSSSEEEE",
        ),
        # pseudoknots are set aside: H-type, letters, within a multiloop, beside pairs
        ("((..[[..))..]]", "SSHHHHHHSSEEEE"),
        ("((..AA..))..aa", "SSHHHHHHSSEEEE"),
        ("<<>>", "EEEE"),
        ("(.[(...)(..{).])}", "SMMSHHHSSHHHSMMSE"),
        ("(([[))..(..]])", "SSHHSSXXSHHHHS"),
    ],
)
def test_elements_of_small_structures(structure: str, expected: str) -> None:
    assert elements(structure, "s") == expected


@pytest.mark.parametrize(
    ("structure", "sizes"),
    [
        ("..(...)..", "000333000"),
        ("(..(...).)", "0330333030"),
        ("(.(...)(..).)", "0203330022020"),
        (".(..)..(..).", "002200002200"),
    ],
)
def test_loops_know_how_many_nucleotides_they_have(structure: str, sizes: str) -> None:
    expected = [int(size) for size in sizes]
    assert find_loops(structure, "s").sizes == expected


def test_partners_are_those_of_the_brackets() -> None:
    assert pair_partners(".((.)).", "s") == [-1, 5, 4, -1, 2, 1, -1]


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
        (".,.", "',' at 2"),
    ],
)
def test_what_is_no_structure_is_refused(structure: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        elements(structure, "s")
