"""Conditions on metadata: the columns say what a look at each RNA says."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.server.index import metadata
from ribolex.server.index.metadata import (
    AnyOf,
    Between,
    Condition,
    KeyFacts,
    MetadataColumns,
    NoneOf,
)

KEYS = st.sampled_from(["type", "family", "year", "length"])
VALUES = st.sampled_from(["tRNA", "Gene;tRNA", "Gene", "", "7", "12.5", "nan", "x;7"])
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
SETS = st.frozensets(VALUES, min_size=1, max_size=3)
BOUNDS = st.tuples(st.integers(-5, 20), st.integers(-5, 20)).map(sorted)
CONDITIONS = st.one_of(
    st.builds(AnyOf, KEYS, SETS),
    st.builds(NoneOf, KEYS, SETS),
    st.builds(lambda key, both: Between(key, *map(float, both)), KEYS, BOUNDS),
)
PUTS = st.lists(
    st.tuples(st.integers(1, 40), LABELS, st.integers(1, 15)), min_size=1, max_size=30
)


def passes(condition: Condition, labels: dict[str, str], length: int) -> bool:
    """What the condition means, said plainly."""
    value = {**labels, "length": str(length)}.get(condition.key)
    if isinstance(condition, Between):
        return (
            is_number(value)
            and condition.minimum <= float(value or 0) <= condition.maximum
        )
    has_one = value is not None and any(
        one in (value, *value.split(";")) for one in condition.values
    )
    return has_one is isinstance(condition, AnyOf)


def is_number(value: str | None) -> bool:
    return value is not None and value.replace(".", "", 1).isdecimal()


def can_hold(condition: Condition, known: list[dict[str, str]]) -> bool:
    values = [one[condition.key] for one in known if condition.key in one]
    if isinstance(condition, Between):
        return any(map(is_number, values))
    return bool(values)


@given(PUTS, st.lists(CONDITIONS, max_size=3), st.booleans())
def test_columns_say_what_a_look_at_each_rna_says(
    puts: list[tuple[int, dict[str, str], int]],
    conditions: list[Condition],
    are_packed: bool,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if are_packed:
            patch.setattr(metadata, "_SLACK", 10**6)
        check_columns(puts, conditions)


def check_columns(
    puts: list[tuple[int, dict[str, str], int]], conditions: list[Condition]
) -> None:
    columns = MetadataColumns()
    rnas = {}
    for rna_id, labels, length in puts:
        columns.put(rna_id, labels, length)
        rnas[rna_id] = labels, length
        # Asked in between: no answer may be kept beyond the next change.
        with contextlib.suppress(InvalidRequestError):
            columns.allowed(conditions)
    known = [{**labels, "length": str(n)} for labels, n in rnas.values()]
    if not all(can_hold(one, known) for one in conditions):
        with pytest.raises(InvalidRequestError):
            columns.allowed(conditions)
        return
    expected = [
        rna_id
        for rna_id, (labels, length) in sorted(rnas.items())
        if all(passes(one, labels, length) for one in conditions)
    ]
    assert np.flatnonzero(columns.allowed(conditions)).tolist() == expected

    counts = {one.key: one for one in columns.key_facts()}
    for key in {key for labels, _ in rnas.values() for key in labels} - {"length"}:
        values = [labels[key] for labels, _ in rnas.values() if key in labels]
        told = counts.pop(key)
        assert (told.n_rnas, told.n_values) == (len(values), len(set(values)))
        assert told.is_number == ({*values} <= {"7", "12.5"})
    assert not counts
    assert columns.n_nucleotides == sum(length for _, length in rnas.values())


def test_values_that_no_rna_has_any_more_are_forgotten() -> None:
    columns = MetadataColumns()
    columns.put(0, {"year": "0"}, 5)
    for year in range(1000):
        columns.put(1, {"year": str(year)}, 5)
        column = columns._columns["year"]
        assert len(column.values) <= 30
        # The one that stays is asked for, whatever became of the others.
        passed = columns.allowed([Between("year", year, 9999)])
        assert passed.tolist() == [year == 0, True]
    assert columns.key_facts() == [KeyFacts("year", 2, 2, True)]

    for rna_id in range(3000):
        columns.put(rna_id, {"year": str(rna_id)}, 5)
    columns.remove(range(10, 3000))
    assert len(columns._columns["year"].values) < 100
    assert columns.key_facts() == [KeyFacts("year", 10, 10, True)]
    assert np.flatnonzero(columns.allowed([Between("year", 3, 8)])).tolist() == [
        3, 4, 5, 6, 7, 8,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (AnyOf("famly", frozenset("a")), "where[1].key: no RNA of the collection has "
         "'famly', expected one of length, family, year"),
        (NoneOf("clan", frozenset("a")), "where[1].key: no RNA of the collection has"),
        (Between("family", 0, 9), "where[1].range: no value of 'family' is a number "
         "(one is 'tRNA'), expected values: any_of or none_of"),
    ],
)  # fmt: skip
def test_conditions_on_what_no_rna_has_are_refused_by_name(
    condition: Condition, message: str
) -> None:
    columns, sound = MetadataColumns(), Between("year", 1, 2)
    columns.allowed([sound, condition])  # of an empty collection nothing is known
    columns.put(3, {"family": "tRNA", "year": "x"}, 5)
    columns.put(4, {"family": "rRNA", "year": "-1e3"}, 5)
    columns.put(5, {"clan": "c"}, 5)
    columns.allowed([sound, NoneOf("clan", frozenset("a"))])
    columns.remove([5])
    for _ in range(2):
        with pytest.raises(InvalidRequestError) as caught:
            columns.allowed([sound, condition])
        assert str(caught.value).startswith(message)
    columns.allowed([sound, Between("length", 0, 1)])


@pytest.mark.parametrize(
    "text", ["1e999", "infinity", "nan", "0x10", "1 2", "1_0", "٣٤"]
)
def test_odd_numbers_are_no_fault(text: str) -> None:
    columns = MetadataColumns()
    columns.put(0, {"year": text}, 5)
    columns.put(1, {"year": "0.5"}, 5)
    assert columns.allowed([Between("year", 0.0, 1.0)]).tolist() == [False, True]
    assert columns.allowed([]).tolist() == [True, True]
