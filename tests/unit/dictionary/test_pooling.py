"""Pooling and weighing do what their names say."""

import numpy as np
import pytest

from ribolex.dictionary import Codes, Pooling, SequenceCode, pool, weigh

CODES = Codes(
    np.array([0, 2, 3, 3, 4]),
    np.array([1, 4, 4, 0], np.uint32),
    np.array([2.0, 1.0, 3.0, 0.5], np.float32),
    6,
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("max", [0.5, 2.0, 3.0]),
        ("mean", [0.125, 0.5, 1.0]),
        ("count", [1.0, 1.0, 2.0]),
    ],
)
def test_pooled_values(kind: Pooling, expected: list[float]) -> None:
    code = pool(CODES, kind)
    assert code.indices.tolist() == [0, 1, 4]
    assert code.values.tolist() == expected
    assert code.indices.dtype == np.uint32
    assert code.values.dtype == np.float32


def test_rna_without_firings_has_an_empty_code() -> None:
    silent = CODES.slice(2, 3)
    assert len(pool(silent, "mean").indices) == 0
    assert len(weigh(pool(silent, "max"), np.ones(6, np.float32)).values) == 0


def test_search_vector_is_damped_weighted_and_of_length_1() -> None:
    idf = np.array([0.0, 1.0, 1.0, 1.0, 2.0, 1.0], np.float32)
    vector = weigh(pool(CODES, "max"), idf)
    expected = np.array([np.log(3.0), 2 * np.log(4.0)])
    assert vector.indices.tolist() == [1, 4]  # feature 0 has idf 0
    np.testing.assert_allclose(
        vector.values, expected / np.linalg.norm(expected), rtol=1e-6
    )


def test_damping_can_be_chosen() -> None:
    code = SequenceCode(np.array([0, 1], np.uint32), np.array([9.0, 16.0], np.float32))
    idf = np.ones(2, np.float32)
    np.testing.assert_allclose(weigh(code, idf, "sqrt").values, [0.6, 0.8], rtol=1e-6)
    ratio = np.divide(*weigh(code, idf, "none").values)
    assert ratio == pytest.approx(9 / 16)
