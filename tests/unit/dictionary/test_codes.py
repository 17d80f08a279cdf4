"""Codes survive every way of making, cutting and joining them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ribolex.dictionary import Codes, keep_strongest

N_FEATURES = 50


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Gives a dense [row, N_FEATURES] matrix with few positive entries."""
    n_rows = draw(st.integers(0, 6))
    values = st.sampled_from([0.0, 0.0, 0.0, 0.25, 1.0, 3.5])
    return draw(hnp.arrays(np.float32, (n_rows, N_FEATURES), elements=values))


def to_codes(dense: np.ndarray[Any, Any]) -> Codes:
    rows, features = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum((dense > 0).sum(1))]).astype(np.int64)
    return Codes(indptr, features.astype(np.uint32), dense[rows, features], N_FEATURES)


def to_dense(codes: Codes) -> np.ndarray[Any, Any]:
    dense = np.zeros((len(codes), codes.n_features), np.float32)
    dense[codes.rows_of_entries(), codes.indices] = codes.values
    return dense


@given(matrices(), st.randoms(use_true_random=False))
def test_topk_in_any_order_gives_the_same_codes(dense: Any, random: Any) -> None:
    order = list(range(N_FEATURES))
    random.shuffle(order)
    indices = np.tile(np.array(order, np.int64), (len(dense), 1))
    codes = Codes.from_topk(indices, dense[:, order], N_FEATURES)
    np.testing.assert_array_equal(to_dense(codes), dense)
    for i in range(len(codes)):
        features, values = codes.row(i)
        assert (np.diff(features.astype(np.int64)) > 0).all()
        assert (values > 0).all()
    assert codes.indptr.dtype == np.int64
    assert codes.indices.dtype == np.uint32


@given(matrices(), st.data())
def test_cut_and_joined_codes_are_the_same(dense: Any, data: Any) -> None:
    codes = to_codes(dense)
    cut = data.draw(st.integers(0, len(dense)))
    parts = [codes.slice(0, cut), codes.slice(cut, len(dense))]
    np.testing.assert_array_equal(to_dense(parts[1]), dense[cut:])
    joined = Codes.concatenate(parts)
    np.testing.assert_array_equal(joined.indptr, codes.indptr)
    np.testing.assert_array_equal(joined.indices, codes.indices)
    np.testing.assert_array_equal(joined.values, codes.values)


@given(matrices(), st.integers(1, 8))
def test_strongest_are_the_largest_of_every_row(dense: Any, n: int) -> None:
    kept = to_dense(keep_strongest(to_codes(dense), n))
    for row, strongest in zip(dense, kept, strict=True):
        assert sorted(strongest[strongest > 0]) == sorted(row[row > 0])[-n:]
        assert ((strongest == 0) | (strongest == row)).all()


def test_of_equal_values_the_smaller_feature_is_kept() -> None:
    codes = Codes(
        np.array([0, 3]), np.array([4, 7, 9], np.uint32), np.ones(3, np.float32), 10
    )
    assert keep_strongest(codes, 2).indices.tolist() == [4, 7]


def test_parts_of_different_widths_are_not_joined() -> None:
    empty = np.array([0]), np.empty(0, np.uint32), np.empty(0, np.float32)
    with pytest.raises(ValueError, match="unpack"):
        Codes.concatenate([Codes(*empty, 10), Codes(*empty, 11)])
