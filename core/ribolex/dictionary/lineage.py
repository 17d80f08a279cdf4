"""Features of one dictionary in another, through the lineage that versions store.

Each version stores one step: which features of its ancestor its own go on
(`FeatureTable.ancestor`). Steps are put one behind the other, and two ways to one
ancestor together. Knows nothing of registries, nor of how a step was found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

from ribolex.dictionary.features import FeatureTable


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """For each feature of a dictionary, which of another it is; read-only."""

    counterpart: Int32[np.ndarray, " n_features"]
    """-1 for none."""
    confidence: Float32[np.ndarray, " n_features"]
    """0..1; 0 where there is none."""

    @classmethod
    def back(cls, n_features: int, tables: Iterable[FeatureTable]) -> "FeatureMap":
        """Returns the map to an ancestor; confidences of steps are multiplied.

        Args:
            n_features: of the dictionary that is mapped.
            tables: its own, its ancestor's and so on, without the last one's; none
                maps every feature to itself.
        """
        ids = np.arange(n_features, dtype=np.int32)
        found = cls(ids, np.ones(n_features, np.float32))
        for table in tables:
            found = found._then(table)
        return found

    def meet(self, other: "FeatureMap") -> "FeatureMap":
        """Returns the map to the dictionary that `other` maps; both lead to one third.

        Of several features of `other` that are the same there the surest counts, of
        equals the one with the lowest id.
        """
        keys, features = other._surest()
        places = np.searchsorted(keys, self.counterpart)
        is_there = places < len(keys)
        places[~is_there] = 0
        if len(keys):
            is_there &= keys[places] == self.counterpart
        counterpart = np.full(len(places), -1, np.int32)
        counterpart[is_there] = features[places[is_there]]
        confidence = np.zeros(len(places), np.float32)
        sure = other.confidence[counterpart[is_there]]
        confidence[is_there] = self.confidence[is_there] * sure
        return FeatureMap(counterpart, confidence)

    def _then(self, table: FeatureTable) -> "FeatureMap":
        """Returns the map one step further; ids that the table has not lead nowhere."""
        is_there = (self.counterpart >= 0) & (self.counterpart < len(table))
        place = np.where(is_there, self.counterpart, 0)
        ancestor = np.where(is_there, table.ancestor[place], -1).astype(np.int32)
        sure = self.confidence * table.ancestor_confidence[place]
        return FeatureMap(ancestor, np.where(ancestor >= 0, sure, 0).astype(np.float32))

    def _surest(self) -> tuple[Int64[np.ndarray, " key"], Int64[np.ndarray, " key"]]:
        """Returns all counterparts, rising, and the surest feature of each."""
        order = np.lexsort((-self.confidence, self.counterpart))
        order = order[self.counterpart[order] >= 0]
        keys, first = np.unique(self.counterpart[order], return_index=True)
        return keys.astype(np.int64), order[first]
