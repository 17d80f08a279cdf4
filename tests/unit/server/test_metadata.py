"""Conditions on metadata: the columns say what a look at each RNA says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.server.index.metadata import (
    AnyOf,
    Between,
    Condition,
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
        try:
            number = float(value or "")
        except ValueError:
            return False
        return condition.minimum <= number <= condition.maximum
    has_one = value is not None and any(
        one in (value, *value.split(";")) for one in condition.values
    )
    return has_one is isinstance(condition, AnyOf)


@given(puts=PUTS, conditions=st.lists(CONDITIONS, max_size=3))
def test_columns_say_what_a_look_at_each_rna_says(
    puts: list[tuple[int, dict[str, str], int]], conditions: list[Condition]
) -> None:
    columns = MetadataColumns()
    rnas = {}
    for rna_id, labels, length in puts:
        columns.put(rna_id, labels, length)
        rnas[rna_id] = labels, length
        # Asked in between: no answer may be kept beyond the next change.
        columns.allowed(conditions)
    expected = [
        rna_id
        for rna_id, (labels, length) in sorted(rnas.items())
        if all(passes(one, labels, length) for one in conditions)
    ]
    assert np.flatnonzero(columns.allowed(conditions)).tolist() == expected


@pytest.mark.parametrize("text", ["1e999", "infinity", "0x10", "1 2", "٣٤"])
def test_odd_numbers_are_no_fault(text: str) -> None:
    columns = MetadataColumns()
    columns.put(0, {"year": text}, 5)
    assert columns.allowed([Between("year", 0.0, 1.0)]).tolist() == [False]
    assert columns.allowed([]).tolist() == [True]
