"""Codes on the wire: nothing lost, nothing unsound let in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.dictionary import Codes
from ribolex.errors import InvalidRequestError
from ribolex.server.convert.codes import (
    cut_page,
    decode_codes,
    decode_page,
    encode_codes,
)
from ribolex.v1 import codes_pb2 as pb

ROW = st.dictionaries(
    st.integers(0, 49), st.floats(2**-14, 2**15, width=16), max_size=6
)


def codes_of(rows: list[dict[int, float]], n_features: int = 50) -> Codes:
    counts = [len(row) for row in rows]
    entries = [(f, row[f]) for row in rows for f in sorted(row)]
    return Codes(
        np.cumsum([0, *counts], dtype=np.int64),
        np.array([f for f, _ in entries], np.uint32),
        np.array([v for _, v in entries], np.float32),
        n_features,
    )


@given(st.lists(ROW, max_size=5), st.sampled_from([50, 65_536, 65_537, 1 << 20]))
def test_codes_come_back_as_they_were(
    rows: list[dict[int, float]], n_features: int
) -> None:
    codes = codes_of(rows, n_features)
    for value_type in (pb.VALUE_TYPE_FLOAT32, pb.VALUE_TYPE_FLOAT16):
        message = encode_codes(codes, value_type)
        width = 2 if n_features <= 65_536 else 4
        assert len(message.indices) == width * len(codes.indices)
        back = decode_codes(message, "code")
        assert back.indptr.tolist() == codes.indptr.tolist()
        assert back.indices.tolist() == codes.indices.tolist()
        # The drawn values fit float16, so that either type keeps them.
        assert back.values.tolist() == codes.values.tolist()


@pytest.mark.parametrize("value", [1e-30, 1e9])
def test_no_feature_is_lost_to_half_precision(value: float) -> None:
    message = encode_codes(codes_of([{3: value}]), pb.VALUE_TYPE_FLOAT16)
    (kept,) = decode_codes(message, "code").values
    assert kept == np.clip(np.float32(value), np.float32(2**-24), np.float32(65504))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"n_rows": 3}, "code.indptr"),
        ({"indptr": b""}, "code.indptr"),
        ({"indptr": b"\0\0\0"}, "code.indptr"),
        ({"indptr": np.array([1, 2, 3], "<u4").tobytes()}, "code.indptr"),
        ({"indptr": np.array([0, 4, 3], "<u4").tobytes()}, "code.indptr"),
        ({"indices": b"\0\0"}, "code.indices"),
        ({"indices": np.array([2, 1, 4], "<u2").tobytes()}, "code.indices"),
        ({"indices": np.array([1, 1, 4], "<u2").tobytes()}, "code.indices"),
        ({"indices": np.array([1, 2, 50], "<u2").tobytes()}, "code.indices"),
        ({"index_type": 0}, "code.index_type"),
        ({"index_type": 9}, "code.index_type"),
        ({"value_type": 0}, "code.value_type"),
        ({"values": np.array([1, 1], "<f4").tobytes()}, "code.values"),
        ({"values": np.array([1, 0, 1], "<f4").tobytes()}, "code.values"),
        ({"values": np.array([1, -1, 1], "<f4").tobytes()}, "code.values"),
        ({"values": np.array([1, np.nan, 1], "<f4").tobytes()}, "code.values"),
        ({"values": np.array([1, np.inf, 1], "<f4").tobytes()}, "code.values"),
    ],
)
def test_unsound_codes_are_refused(change: dict[str, object], field: str) -> None:
    message = encode_codes(codes_of([{1: 1.0, 2: 1.0}, {4: 1.0}]))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InvalidRequestError) as caught:
        decode_codes(message, "code")
    assert caught.value.field == field


@given(st.lists(st.integers(), unique=True, max_size=20), st.integers(1, 7))
def test_pages_give_every_member_once(members: list[int], size: int) -> None:
    found: list[int] = []
    token = ""
    for _ in range(len(members) + 1):
        part, token = cut_page(members, decode_page(size, token), str)
        found += part
        if not token:
            break
    assert found == members


def test_a_foreign_page_token_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="page_token"):
        cut_page([1, 2], decode_page(1, "nobody"), str)
