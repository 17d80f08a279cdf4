"""Sparse codes: rows in, rows out, and the same matrix for scipy."""

import numpy as np
import pytest
import scipy.sparse  # noqa: F401  # takes longer than an example may
from hypothesis import given
from hypothesis import strategies as st

from ribolex.client import ServerError, SparseCodes, convert
from ribolex.v1 import codes_pb2

ROWS = st.lists(
    st.dictionaries(st.integers(0, 99), st.floats(0.125, 9, width=16), max_size=9),
    max_size=9,
)


def _codes(rows: list[dict[int, float]], n_features: int = 100) -> SparseCodes:
    return SparseCodes(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([feature for row in rows for feature in sorted(row)], np.uint32),
        np.array([row[feature] for row in rows for feature in sorted(row)], np.float32),
        n_features,
    )


def _dense(rows: list[dict[int, float]]) -> np.ndarray[tuple[int, int], np.dtype]:
    dense = np.zeros((len(rows), 100), np.float32)
    for row, features in enumerate(rows):
        dense[row, list(features)] = list(features.values())
    return dense


@given(rows=ROWS)
def test_scipy_sees_the_same_matrix(rows: list[dict[int, float]]) -> None:
    np.testing.assert_array_equal(_codes(rows).toscipy().toarray(), _dense(rows))


@given(rows=ROWS, n_features=st.sampled_from([100, 65536, 65537]))
def test_codes_survive_the_wire(rows: list[dict[int, float]], n_features: int) -> None:
    codes = _codes(rows, n_features)
    message = convert.codes_to_pb(codes)
    back = convert.codes(codes_pb2.Codes.FromString(message.SerializeToString()))
    assert back.shape == codes.shape
    np.testing.assert_array_equal(back.indptr, codes.indptr)
    np.testing.assert_array_equal(back.indices, codes.indices)
    np.testing.assert_array_equal(back.values, codes.values)


@given(rows=ROWS, cut=st.integers(0, 9))
def test_slices_put_together_are_the_whole(
    rows: list[dict[int, float]], cut: int
) -> None:
    codes, cut = _codes(rows), min(cut, len(rows))
    parts = [codes.slice(0, cut), codes.slice(cut, len(codes))]
    whole = SparseCodes.concatenate(parts)
    np.testing.assert_array_equal(whole.toscipy().toarray(), _dense(rows))


def test_row_counts_from_both_ends() -> None:
    codes = _codes([{1: 1.0}, {}, {3: 2.0, 2: 0.5}])
    assert [list(part) for part in codes.row(-1)] == [[2, 3], [0.5, 2.0]]
    assert len(codes.row(1).indices) == 0
    with pytest.raises(IndexError, match="row 3 of 3"):
        codes.row(3)


def test_rows_of_different_widths_are_not_put_together() -> None:
    with pytest.raises(ValueError, match="one width"):
        SparseCodes.concatenate([SparseCodes.empty(1, 5), SparseCodes.empty(1, 6)])


@pytest.mark.parametrize(
    "change",
    [
        {"n_rows": 7},
        {"indptr": b"\0\0\0"},
        {"values": b""},
        {"index_type": codes_pb2.INDEX_TYPE_UNSPECIFIED},
        {"value_type": codes_pb2.VALUE_TYPE_UNSPECIFIED},
    ],
    ids=lambda change: next(iter(change)),
)
def test_codes_that_contradict_themselves_are_refused(
    change: dict[str, object],
) -> None:
    message = convert.codes_to_pb(_codes([{1: 1.0}, {2: 1.0}]))
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ServerError, match="codes"):
        convert.codes(message)
