"""How likeness is measured: from nucleotide codes to the vector that search compares.

The one place where that is configured. Knows nothing of collections or indexes.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float32

from ribolex.dictionary import (
    Codes,
    Damping,
    Pooling,
    SequenceCode,
    keep_strongest,
    pool,
    weigh,
)
from ribolex.server.index.forward import Likeness, WeightedCode
from ribolex.server.index.records import PooledCode


@dataclass(frozen=True, slots=True)
class SearchMeasure:
    """What a collection compares; frozen with it when it is made."""

    pooling: Pooling = "count"
    keep_strongest: int | None = None
    """Features of each nucleotide that count, the strongest; None for all."""
    damping: Damping = "log1p"
    idf_power: float = 0.0
    """What the dictionary's idf is raised to; 0 leaves features unweighted."""
    likeness: Likeness = "jaccard"

    @property
    def has_all_features(self) -> bool:
        """Whether every feature that fires in an RNA is in its search vector."""
        return self.keep_strongest is None and self.idf_power == 0

    def pool(self, codes: Codes) -> PooledCode:
        """Returns the pooled code of one RNA."""
        if self.keep_strongest is not None:
            codes = keep_strongest(codes, self.keep_strongest)
        features, values = pool(codes, self.pooling)
        # Whatever the pooling, the features are the same.
        peaks = values if self.pooling == "max" else pool(codes, "max").values
        return PooledCode(features, values, peaks)

    def weigh(
        self, pooled: PooledCode, idf: Float32[np.ndarray, " n_features"]
    ) -> WeightedCode:
        """Returns the search vector of a pooled code, of length 1 unless empty."""
        code = SequenceCode(pooled.features, pooled.values)
        features, weights = weigh(code, idf**self.idf_power, self.damping)
        peaks = pooled.peaks[np.isin(pooled.features, features, assume_unique=True)]
        return WeightedCode(features, weights, peaks)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Returns what `to_json` wrote, or did before there was another likeness."""
        return cls(**{"likeness": "cosine", **fields})
