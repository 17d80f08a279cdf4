"""Which features point the same way: FAISS over unit decoder directions.

Knows directions and ids; nothing of what a feature means.
"""

from typing import NamedTuple

import faiss
import numpy as np
from jaxtyping import Float32


class Neighbour(NamedTuple):
    """A feature and its likeness to what was asked for."""

    feature: int
    cosine: float
    """-1 to 1."""


class Atoms:
    """The decoder directions of one dictionary. Read-only; thread-safe."""

    def __init__(self, decoder: Float32[np.ndarray, "n_features d_in"]) -> None:
        self._directions = _unit(decoder)
        self._index = faiss.IndexFlatIP(decoder.shape[1])
        self._index.add(self._directions)

    def near_feature(self, feature: int, limit: int) -> list[Neighbour]:
        """Returns at most `limit` other features nearest to one, nearest first."""
        found = self._search(self._directions[feature], limit + 1)
        return [each for each in found if each.feature != feature][:limit]

    def near(self, vector: Float32[np.ndarray, " d_in"], limit: int) -> list[Neighbour]:
        """Returns at most `limit` features nearest to a vector, nearest first.

        Equal cosines come in the order of ids. To a vector of zeros all are equal.
        """
        return self._search(_unit(vector[None])[0], limit)

    def _search(
        self, unit: Float32[np.ndarray, " d_in"], limit: int
    ) -> list[Neighbour]:
        limit = min(limit, self._index.ntotal)
        if limit == 0:
            return []
        cosines, features = self._index.search(unit[None], limit)
        order = np.lexsort((features[0], -cosines[0]))
        return [
            Neighbour(int(features[0, i]), float(np.clip(cosines[0, i], -1, 1)))
            for i in order
        ]


def _unit(rows: Float32[np.ndarray, "row d_in"]) -> Float32[np.ndarray, "row d_in"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(norms, 1e-30), np.float32)
