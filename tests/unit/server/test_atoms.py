"""Near decoder directions: exact, in units of their layers, beside chance."""

from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.server.index.atoms import Atoms


def random_rows(seed: int, n: int, width: int = 8) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((n, width)).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    n=st.integers(1, 40),
    limit=st.integers(0, 50),
    scales=st.lists(st.floats(0.1, 10), min_size=8, max_size=8),
)
def test_nearest_are_those_of_the_simple_way(
    seed: int, n: int, limit: int, scales: list[float]
) -> None:
    sigma = np.array(scales, np.float32)
    decoder = random_rows(seed, n)
    ours, theirs = Atoms(decoder, sigma), Atoms(random_rows(seed + 1, 5))
    rows = decoder / sigma
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    direction = theirs.direction(3)
    cosines = rows @ direction
    found = ours.near(direction, limit)
    order = np.argsort(-cosines)[:limit]
    assert [one.cosine for one in found] == pytest.approx(cosines[order], abs=1e-5)
    assert all(
        one.cosine == pytest.approx(cosines[one.feature], abs=1e-5) for one in found
    )
    of_feature = ours.near_feature(0, limit)
    assert len(of_feature) == min(limit, n - 1)
    assert 0 not in [one.feature for one in of_feature]


def test_layers_that_differ_in_scale_alone_are_the_same() -> None:
    decoder, gain = random_rows(0, 20), np.linspace(0.2, 9, 8, dtype=np.float32)
    plain, stretched = Atoms(decoder), Atoms(decoder * gain, gain)
    for feature in range(20):
        (best, *_) = stretched.near(plain.direction(feature), 1)
        assert best.feature == feature
        assert best.cosine == pytest.approx(1, abs=1e-5)
    vector = (3 * decoder[7] * gain).astype(np.float32)
    assert stretched.near(stretched.direction_of(vector), 1)[0].feature == 7


def test_a_dimension_that_never_varies_is_left_as_it_is() -> None:
    sigma = np.array([0, 1, 1, 1, 1, 1, 1, 1], np.float32)
    assert np.isfinite(Atoms(random_rows(0, 4), sigma).direction(0)).all()


def test_chance_knows_how_directions_lie() -> None:
    random = np.random.default_rng(0)
    even = random_rows(0, 300, 64)
    crowded = even * np.where(np.arange(64) < 3, 10, 1).astype(np.float32)
    alike, apart = Atoms(crowded), Atoms(even)
    # Directions that crowd together are near to each other without any meaning.
    assert alike.chance(alike).median > 0.75 > 0.65 > apart.chance(apart).high
    for one in (alike, apart):
        told = one.chance(one)
        assert told == one.chance(one)
        parts = random.standard_normal((2000, 300)).astype(np.float32)
        drawn = parts @ np.stack([one.direction(i) for i in range(300)])
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        nearest = (drawn @ np.stack([one.direction(i) for i in range(300)]).T).max(1)
        assert told.median == pytest.approx(np.median(nearest), abs=0.03)
        assert told.high == pytest.approx(np.quantile(nearest, 0.95), abs=0.05)


def test_a_card_is_asked_where_faiss_knows_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A card that compares as this CPU does, but only 2,048 at most, as FAISS's do."""
    asked = []

    class Card:
        def __init__(self, _resources: object, number: int, index: Any) -> None:
            assert number == 0
            self._index = index

        def search(self, rows: np.ndarray, k: int) -> Any:
            assert k <= 2048
            asked.append(k)
            return self._index.search(rows, k)

    decoder = random_rows(0, 3000)
    plain = Atoms(decoder)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", Card, raising=False)
    found = Atoms(decoder)
    for limit in (1, 7, 2048, 2500):
        direction = plain.direction(limit)
        assert found.near(direction, limit) == plain.near(direction, limit)
    assert found.chance(plain) == plain.chance(plain)
    assert asked == [1, 7, 2048, 1]
