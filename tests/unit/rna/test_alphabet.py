"""Letters in, tokens out, everything else refused with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidSequenceError
from ribolex.rna import VOCABULARY, normalise, tokenise

LETTERS = "ACGUTIRYKMSWBDHVN"


@given(st.text(LETTERS + LETTERS.lower(), min_size=1, max_size=200))
def test_every_iupac_letter_keeps_its_place(sequence: str) -> None:
    tokens = tokenise(normalise(sequence, "x"))
    assert VOCABULARY[tokens[0]] == "<cls>"
    assert VOCABULARY[tokens[-1]] == "<eos>"
    read = "".join(VOCABULARY[t] for t in tokens[1:-1])
    assert read == sequence.upper().replace("U", "T")


@given(st.text(min_size=1, max_size=50))
def test_whatever_is_accepted_has_no_unknown_token(sequence: str) -> None:
    try:
        text = normalise(sequence, "x")
    except InvalidSequenceError:
        return
    assert "<unk>" not in {VOCABULARY[t] for t in tokenise(text)}
    assert len(text) == len(sequence)


@pytest.mark.parametrize(
    ("sequence", "position"), [("ACXG", 3), ("1", 1), ("AC G", 3), ("ACGß", 4)]
)
def test_bad_letter_is_named_with_its_position(sequence: str, position: int) -> None:
    with pytest.raises(InvalidSequenceError, match=f"myRNA: .* position {position} "):
        normalise(sequence, "myRNA")


def test_gaps_are_refused_unless_asked_for() -> None:
    with pytest.raises(InvalidSequenceError, match="gaps can be removed on request"):
        normalise("AC-G", "x")
    assert normalise("a.C--gt", "x", degap=True) == "ACGU"


def test_position_counts_the_gaps_of_the_original() -> None:
    with pytest.raises(InvalidSequenceError, match="position 4"):
        normalise("--AXG", "x", degap=True)


@pytest.mark.parametrize("sequence", ["", "--."])
def test_nothing_is_refused(sequence: str) -> None:
    with pytest.raises(InvalidSequenceError, match="empty"):
        normalise(sequence, "x", degap=True)
