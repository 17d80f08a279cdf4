"""The fast search: sequence codes compared by their cosine, and explained.

Joins the weighted codes in memory (`forward`) with their projection for candidates
(`projection`). Knows ids and codes; nothing of names, disks or positions of the query.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt32

from ribolex.server.index.forward import ForwardStore, Strongest, WeightedCode
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.projection import Projection
from ribolex.server.index.records import PooledCode

_MIN_CANDIDATES = 1024
_CANDIDATES_PER_HIT = 4


class Scored(NamedTuple):
    """RNAs by id, and their cosines with the query, in no order."""

    ids: Int64[np.ndarray, " rna"]
    scores: Float64[np.ndarray, " rna"]


class Parts(NamedTuple):
    """What each shared feature adds to a cosine, the largest first."""

    features: UInt32[np.ndarray, " feature"]
    contributions: Float64[np.ndarray, " feature"]


class PooledSearch:
    """The sequence codes of a collection, by id. Not thread-safe."""

    def __init__(
        self, measure: SearchMeasure, idf: Float32[np.ndarray, " n_features"]
    ) -> None:
        self._measure = measure
        self._idf = idf
        self._forward = ForwardStore(len(idf))
        self._projection = Projection(len(idf))

    def put(self, ids: Sequence[int], pooled: Sequence[PooledCode]) -> None:
        """Stores codes in place of what their ids had; ids must differ."""
        codes = [self.weigh(code) for code in pooled]
        for rna_id, code in zip(ids, codes, strict=True):
            self._forward.put(rna_id, code)
        self._projection.put(ids, codes)

    def weigh(self, pooled: PooledCode) -> WeightedCode:
        """Returns the search vector of a pooled code."""
        return self._measure.weigh(pooled, self._idf)

    def nearest(
        self,
        query: WeightedCode,
        limit: int,
        allowed: Bool[np.ndarray, " id"] | None = None,
    ) -> Scored:
        """Returns RNAs with a cosine above 0, among them the `limit` best.

        Args:
            query: from `weigh`.
            limit: hits that are wanted.
            allowed: by id, whether to look at an RNA; None for all.
        """
        n_candidates = max(_MIN_CANDIDATES, _CANDIDATES_PER_HIT * limit) + 1
        if allowed is not None and np.count_nonzero(allowed) <= n_candidates:
            ids = np.flatnonzero(allowed)
        else:
            ids = self._projection.candidates(query, n_candidates, allowed)
        scores = self._forward.score(query, ids)
        return Scored(ids[scores > 0], scores[scores > 0])

    def parts(self, query: WeightedCode, rna_id: int) -> Parts:
        """Returns what makes the cosine of a query with one RNA; they sum to it."""
        target = self._forward.row(rna_id)
        features, here, there = np.intersect1d(
            query.features, target.features, assume_unique=True, return_indices=True
        )
        parts = query.weights[here].astype(np.float64) * target.weights[there]
        order = np.lexsort((features, -parts))
        return Parts(features[order], parts[order])

    def strongest(self, feature: int, limit: int) -> list[Strongest]:
        """Returns the RNAs in which a feature has its largest peaks, largest first."""
        return self._forward.strongest(feature, limit)
