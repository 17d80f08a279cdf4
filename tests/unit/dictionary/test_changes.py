"""How codes change: against a loop over nucleotides and features."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ribolex.dictionary import Codes, compare_codes, near
from ribolex.rna.variants import variant_of

rnas = st.text(alphabet="ACGU", min_size=1, max_size=10)
WIDTH = 7


def random_codes(n_rows: int, seed: int) -> Codes:
    random = np.random.default_rng(seed)
    indices = np.array([random.permutation(WIDTH)[:3] for _ in range(n_rows)])
    values = random.integers(0, 4, indices.shape).astype(np.float32)
    return Codes.from_topk(indices, values, WIDTH)


def dense(codes: Codes) -> np.ndarray:
    out = np.zeros((len(codes), WIDTH))
    out[codes.rows_of_entries(), codes.indices] = codes.values
    return out


@given(rnas, rnas, st.integers(0, 99), st.integers(0, 3))
def test_changes_are_what_a_loop_finds(
    one: str, other: str, seed: int, reach: int
) -> None:
    variant = variant_of(other, one, "x")
    before, after = random_codes(len(one), seed), random_codes(len(other), seed + 1)
    found = compare_codes(before, after, variant.anchors())
    expected = -dense(before)
    for row, anchor in zip(dense(after), variant.anchors(), strict=True):
        expected[anchor] += row
    got = np.zeros_like(expected)
    got[found.positions, found.features] = found.changes
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert (found.changes != 0).all()
    places = variant.changed()
    is_near = near(places, reach, len(one))
    for i in range(len(one)):
        assert is_near[i] == any(abs(i - place) <= reach for place in places)
    for rows, sums in (
        (expected, found.sums()),
        (expected[is_near], found.sums(is_near)),
    ):
        np.testing.assert_allclose(sums.gained, np.maximum(rows, 0).sum(0), atol=1e-5)
        np.testing.assert_allclose(sums.lost, np.maximum(-rows, 0).sum(0), atol=1e-5)
    sizes = found.by_position(len(one))
    np.testing.assert_allclose(sizes, np.abs(expected).sum(1), atol=1e-5)
    positions, changes = found.of(3)
    np.testing.assert_allclose(changes, expected[positions, 3], atol=1e-6)


def test_rounding_is_no_change() -> None:
    codes = random_codes(9, 0)
    rounded = Codes(codes.indptr, codes.indices, codes.values * (1 + 1e-6), WIDTH)
    assert len(compare_codes(codes, rounded, np.arange(9)).changes) == 0
