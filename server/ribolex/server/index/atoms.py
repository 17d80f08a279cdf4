"""Which features point the same way: FAISS over unit decoder directions.

Directions of several layers are compared in one space: the model's d_model dimensions,
each divided by its deviation in the layer that a direction lies in. The stream keeps
its dimensions from block to block, but every block begins with a layer norm, whose gain
stretches each dimension differently; dividing takes that out, and lets no dimension
decide because it is large. A cosine between layers means little all the same: `chance`
says what directions without a meaning get. Knows directions and ids; nothing of what a
feature means.
"""

import threading
from functools import cached_property
from typing import Any, NamedTuple

import faiss
import numpy as np
from jaxtyping import Float32, Int64

_N_DRAWN = 256
"""Random directions that chance is told from."""

_MOST_ON_GPU = 2048
"""Neighbours that FAISS finds on a GPU."""


class Neighbour(NamedTuple):
    """A feature and its likeness to what was asked for."""

    feature: int
    cosine: float
    """-1 to 1."""


class Chance(NamedTuple):
    """The nearest cosine that directions without a meaning have."""

    median: float
    high: float
    """The 95th percentile."""


class Atoms:
    """The decoder directions of one dictionary. Read-only; thread-safe."""

    def __init__(
        self,
        decoder: Float32[np.ndarray, "n_features d_model"],
        sigma: Float32[np.ndarray, " d_model"] | None = None,
    ) -> None:
        """Takes what the decoder writes, as it writes it.

        Args:
            decoder: a row a feature.
            sigma: deviation of each dimension of what it rebuilds, where it is none
                taken as 1; None for 1.
        """
        width = decoder.shape[1]
        self._sigma = np.ones(width, np.float32)
        if sigma is not None:
            self._sigma[sigma > 0] = sigma[sigma > 0]
        self._directions = _unit(decoder / self._sigma)
        self._index = faiss.IndexFlatIP(width)
        self._index.add(self._directions)
        self._on_gpu, self._turn = _on_gpu(self._index), threading.Lock()

    def direction(self, feature: int) -> Float32[np.ndarray, " d_model"]:
        """Returns a feature's direction, of length 1."""
        out: Float32[np.ndarray, " d_model"] = self._directions[feature]
        return out

    def direction_of(
        self, vector: Float32[np.ndarray, " d_model"]
    ) -> Float32[np.ndarray, " d_model"]:
        """Returns that of a difference of activations; zeros of none."""
        (out,) = _unit((vector / self._sigma)[None])
        return np.asarray(out, np.float32)

    def near_feature(self, feature: int, limit: int) -> list[Neighbour]:
        """Returns at most `limit` other features nearest to one, nearest first."""
        found = self.near(self._directions[feature], limit + 1)
        return [each for each in found if each.feature != feature][:limit]

    def near(
        self, direction: Float32[np.ndarray, " d_model"], limit: int
    ) -> list[Neighbour]:
        """Returns at most `limit` features nearest to a direction, nearest first.

        Equal cosines come in the order of ids. To zeros all are equal.

        Args:
            direction: of length 1, of these atoms or others of the same model.
            limit: how many.
        """
        limit = min(limit, self._index.ntotal)
        if limit == 0:
            return []
        cosines, features = self._search(direction[None], limit)
        order = np.lexsort((features[0], -cosines[0]))
        return [
            Neighbour(int(features[0, i]), float(np.clip(cosines[0, i], -1, 1)))
            for i in order
        ]

    def chance(self, source: "Atoms") -> Chance:
        """Returns how near features are to what lies as directions of another do."""
        cosines, _ = self._search(source._drawn, 1)
        median, high = np.quantile(cosines[:, 0], [0.5, 0.95])
        return Chance(float(median), float(high))

    def _search(
        self, directions: Float32[np.ndarray, "query d_model"], limit: int
    ) -> tuple[Float32[np.ndarray, "query hit"], Int64[np.ndarray, "query hit"]]:
        if self._on_gpu is None or limit > _MOST_ON_GPU:
            cosines, features = self._index.search(directions, limit)
        else:
            with self._turn:  # a GPU's index is for one thread at a time
                cosines, features = self._on_gpu.search(directions, limit)
        return cosines, features

    @cached_property
    def _drawn(self) -> Float32[np.ndarray, "draw d_model"]:
        """Random directions with the covariance of these; the same every time."""
        random = np.random.default_rng(0)
        parts = random.standard_normal((_N_DRAWN, len(self._directions)), np.float32)
        return _unit(parts @ self._directions)


def _on_gpu(index: Any) -> Any:
    """Returns a copy of an index on the first GPU; None without one or its build."""
    if faiss.get_num_gpus() == 0:
        return None
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)


def _unit(
    rows: Float32[np.ndarray, "row d_model"],
) -> Float32[np.ndarray, "row d_model"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(norms, 1e-30), np.float32)
