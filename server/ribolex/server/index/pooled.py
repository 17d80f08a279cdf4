"""The fast search: sequence codes compared wherever features fire, and explained.

Joins the weighted codes in memory (`forward`) with their projection for candidates
(`projection`). Knows ids and codes; nothing of names, disks or positions of the query.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from ribolex.server.index.forward import ForwardStore, Parts, Strongest, WeightedCode
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.projection import Projection
from ribolex.server.index.records import PooledCode

_MIN_CANDIDATES = 1024
_CANDIDATES_PER_HIT = 4


class Scored(NamedTuple):
    """RNAs by id, and their likeness to the query, in no order."""

    ids: Int64[np.ndarray, " rna"]
    scores: Float64[np.ndarray, " rna"]


class PooledSearch:
    """The sequence codes of a collection, by id. Not thread-safe."""

    def __init__(
        self, measure: SearchMeasure, idf: Float32[np.ndarray, " n_features"]
    ) -> None:
        self._measure = measure
        self._idf = idf
        self._forward = ForwardStore(len(idf), measure.likeness)
        # exp(-idf) is the share of RNAs that have a feature; what many have, they
        # also have at more nucleotides.
        common = np.exp(-2 * idf) if measure.likeness == "jaccard" else None
        self._projection = Projection(len(idf), common)

    def put(self, ids: Sequence[int], pooled: Sequence[PooledCode]) -> None:
        """Stores codes in place of what their ids had; ids must differ."""
        codes = [self.weigh(code) for code in pooled]
        for rna_id, code in zip(ids, codes, strict=True):
            self._forward.put(rna_id, code)
        self._projection.put(ids, codes)

    def remove(self, ids: Sequence[int]) -> None:
        """Forgets codes that are there."""
        self._forward.remove(ids)
        self._projection.remove(ids)

    def weigh(self, pooled: PooledCode) -> WeightedCode:
        """Returns the search vector of a pooled code."""
        return self._measure.weigh(pooled, self._idf)

    def nearest(
        self,
        query: WeightedCode,
        limit: int,
        allowed: Bool[np.ndarray, " id"] | None = None,
    ) -> Scored:
        """Returns RNAs with a score above 0, among them the `limit` best.

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
        """Returns what makes the score of a query and one RNA; they sum to it."""
        return self._forward.parts(query, rna_id)

    @property
    def has_all_features(self) -> bool:
        """Whether what has no peak of a feature has no nucleotide with it."""
        return self._measure.has_all_features

    def peaks(self, feature: int, n_ids: int) -> Float32[np.ndarray, " id"]:
        """Returns the largest value of a feature by id, 0 where it has none."""
        return self._forward.peaks(feature, n_ids)

    def strongest(self, feature: int, limit: int) -> list[Strongest]:
        """Returns the RNAs in which a feature has its largest peaks, largest first."""
        return self._forward.strongest(feature, limit)
