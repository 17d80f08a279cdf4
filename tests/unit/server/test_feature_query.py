"""The language of feature queries: what is read, and where the fault is if not."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.server.index.feature_query import (
    MAX_CHARACTERS,
    All,
    Chain,
    Edge,
    Fires,
    Not,
    Reach,
    Some,
    features_of,
    parse,
)

FAR = 2**31 - 1


def one(feature: int) -> Chain:
    return Chain(((Fires(feature),),))


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("812", one(812)),
        ("  F812 ", one(812)),
        ("5 and 6 or 7", Some((All((one(5), one(6))), one(7)))),
        ("5 or 6, not 7", All((Some((one(5), one(6))), Not(one(7))))),
        ("not not 5", one(5)),
        ("not 5 before 6", Not(Chain(((Fires(5),), (Fires(6),)), (Reach(1, FAR),)))),
        ("5>1.5", Chain(((Fires(5, 1.5),),))),
        ("5 >= 2e-1", Chain(((Fires(5, float(np.float32(0.2)), True),),))),
        (
            "812 within 30 nt before 77, not 5",
            All(
                (
                    Chain(((Fires(812),), (Fires(77),)), (Reach(1, 30),)),
                    Not(one(5)),
                )
            ),
        ),
        (
            "(1 or (2 or start)) after 3 NOT WITHIN 4 OF end",
            Chain(
                (
                    (Fires(1), Fires(2), Edge("start")),
                    (Fires(3),),
                    (Edge("end"),),
                ),
                (Reach(-FAR, -1), Reach(-4, 4, True)),
            ),
        ),
    ],
)
def test_what_is_asked_is_read(text: str, query: object) -> None:
    assert parse(text) == query


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("", 0, "the end found"),
        ("   ", 0, "the end found"),
        ("812 withn 30", 4, "'withn' found, expected and, or"),
        ("1 and", 5, "the end found, expected a feature"),
        ("1, , 2", 3, "',' found"),
        ("(1, 2", 5, "the ) of the ( at character 1"),
        ("1)", 1, "')' found"),
        ("812>x", 4, "'x' found, expected a number"),
        ("812>-1", 4, "'-1' found, expected a number"),
        ("812>1e99", 4, "'1e99' found, expected a number"),
        ("812>nan", 4, "'nan' found"),
        ("812=3", 3, "'=3' found"),
        ("812.5", 0, "'812.5' found, expected a feature"),
        ("99999999999", 0, "'99999999999' found, expected a feature"),
        ("7x", 0, "'7x' found"),
        ("tRNA", 0, "'tRNA' found"),
        ("caf\u00e9 \U0001f9ec", 0, "found, expected a feature"),
        ("1 within of 2", 9, "a whole number of nucleotides"),
        ("1 within 3.5 of 2", 9, "a whole number of nucleotides"),
        ("1 within 3 2", 11, "of, before or after"),
        ("3 not 4", 2, "'not' found"),
        ("(1 and 2) before 3", 0, "several with or in brackets"),
        ("3 before (not 1)", 9, "several with or in brackets"),
        ("3 before (1 before 2)", 9, "several with or in brackets"),
        ("1 not before 2 before 3", 15, "no further place"),
        ("(" * 33 + "1" + ")" * 33, 32, "more than 32 brackets"),
        (" or ".join(["1"] * 33), 32 * 5, "at most 32"),
    ],
)
def test_a_fault_is_told_by_its_character(text: str, at: int, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(text)
    assert caught.value.field == f"query[{at}]"
    assert message in caught.value.message


def test_a_text_of_any_length_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse("(" * 10_000_000)
    assert caught.value.field == "query"
    assert parse("not " * (MAX_CHARACTERS // 4 - 1) + "812") == Not(one(812))


def test_features_are_told_once_in_their_order() -> None:
    assert features_of(parse("9 before (3 or 9), not 4 within 2 of start")) == (9, 3, 4)


WORDS = [*"(),", ">", ">=", "not", "and", "or", "within", "before", "after", "of"]


@given(st.lists(st.sampled_from([*WORDS, "12", "f7", "3.5", "nt", "start", "end"])))
def test_any_words_are_read_or_refused_within_the_text(words: list[str]) -> None:
    text = " ".join(words)
    try:
        parse(text)
    except InvalidRequestError as error:
        at = int(error.field.removeprefix("query[").removesuffix("]"))
        assert 0 <= at <= len(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidRequestError):
        parse(text)
