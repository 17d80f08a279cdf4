"""What a collection is made with, and keeps until it is indexed anew."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from ribolex.dictionary import Dictionary
from ribolex.server.index.measure import SearchMeasure


@dataclass(frozen=True, slots=True)
class Facts:
    """What a collection was made with; never changes."""

    name: str
    dictionary: str
    version: int
    content_id: str
    """Of that dictionary version."""
    n_features: int
    measure: SearchMeasure
    created_at_s: float
    """Seconds since 1970, UTC."""

    @classmethod
    def of(cls, name: str, dictionary: Dictionary, measure: SearchMeasure) -> "Facts":
        """Returns the facts of a collection made now."""
        return cls(
            name,
            dictionary.name,
            dictionary.version,
            dictionary.content_id,
            dictionary.sae.n_features,
            measure,
            time.time(),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Facts":
        """Returns what `to_json` wrote."""
        measure = SearchMeasure.from_json(fields["measure"])
        return cls(**{**fields, "measure": measure})
