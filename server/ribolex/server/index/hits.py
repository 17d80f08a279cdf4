"""What a search gives: RNAs that are like the query, and what makes them so.

Knows nothing of how they are found.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt32

from ribolex.dictionary import Codes
from ribolex.rna import Rna
from ribolex.rna.traceback import Alignment


@dataclass(frozen=True, slots=True)
class SharedFeature:
    """A feature of the query and a hit, and what it adds to the score."""

    feature: int
    contribution: float
    query_positions: Int64[np.ndarray, " position"]
    """Nucleotides from 0, rising; empty if the query's are not known."""
    target_positions: Int64[np.ndarray, " position"]


@dataclass(frozen=True, slots=True)
class Judged:
    """An alignment, how good it is, and what it is made of beside features."""

    alignment: Alignment
    e_value: float
    bit_score: float
    identity: float
    """Share of the columns with the same letter twice."""
    letters: float
    gaps: float
    """<= 0. Both are contributions to the score."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One similar RNA; all contributions sum to the score."""

    rna: Rna
    score: float
    """Of the alignment; without one the likeness of the codes, 0 to 1, exact."""
    shared: list[SharedFeature]
    """Largest contribution first; not more than were asked for."""
    n_shared: int
    """All of them."""
    other_contribution: float
    """Of those that are not listed."""
    judged: Judged | None = None
    """None if the search was a fast one."""


class Firing:
    """Where each feature fires in one RNA. Read-only."""

    def __init__(self, codes: Codes) -> None:
        order = np.argsort(codes.indices, kind="stable")
        self._features = codes.indices[order]
        self._rows = codes.rows_of_entries()[order]

    def of(
        self, features: Int64[np.ndarray, " feature"] | UInt32[np.ndarray, " feature"]
    ) -> list[Int64[np.ndarray, " position"]]:
        """Returns, for each feature, its nucleotides from 0, rising; maybe none."""
        first = np.searchsorted(self._features, features, "left")
        after = np.searchsorted(self._features, features, "right")
        return [self._rows[i:j] for i, j in zip(first, after, strict=True)]
