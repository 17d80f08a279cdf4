"""How the code of an RNA changes when its letters do: nucleotide by nucleotide.

Knows codes and places; nothing of letters, models or likelihoods.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from ribolex.dictionary.codes import Codes

_LEAST = 1e-4
"""Changes below this share of the reference's largest value are rounding."""


class FeatureSums(NamedTuple):
    """What each feature gains and loses over some nucleotides; both >= 0."""

    gained: Float64[np.ndarray, " n_features"]
    """Sum of its increases."""
    lost: Float64[np.ndarray, " n_features"]
    """Sum of its decreases."""


class CodeChange(NamedTuple):
    """Where the code of a variant differs from that of its reference.

    At nucleotide i of the reference, a feature's change is the sum of its values over
    the variant's nucleotides that count there, less its value in the reference.
    """

    positions: Int64[np.ndarray, " entry"]
    """Nucleotide of the reference; rising, and features within one."""
    features: Int64[np.ndarray, " entry"]
    changes: Float32[np.ndarray, " entry"]
    """Never 0: above 0 gained, below 0 lost."""
    n_features: int

    def sums(
        self, is_near: Bool[np.ndarray, " nucleotide"] | None = None
    ) -> FeatureSums:
        """Returns what features gain and lose; over the whole RNA if not told where."""
        changes = self.changes
        if is_near is not None:
            changes = np.where(is_near[self.positions], changes, 0)
        gained, lost = (
            np.bincount(self.features, part, self.n_features)
            for part in (np.maximum(changes, 0), np.maximum(-changes, 0))
        )
        return FeatureSums(gained, lost)

    def by_position(self, n_nucleotides: int) -> Float32[np.ndarray, " nucleotide"]:
        """Returns the sum of what all features gain and lose in each nucleotide."""
        sizes = np.bincount(self.positions, np.abs(self.changes), n_nucleotides)
        return sizes.astype(np.float32)

    def of(
        self, feature: int
    ) -> tuple[Int64[np.ndarray, " place"], Float32[np.ndarray, " place"]]:
        """Returns where one feature changes, and by how much."""
        own = self.features == feature
        return self.positions[own], self.changes[own]


def compare_codes(
    reference: Codes, variant: Codes, anchors: Int64[np.ndarray, " nucleotide"]
) -> CodeChange:
    """Returns how a variant's code differs from its reference's.

    Args:
        reference: one row a nucleotide.
        variant: likewise, of the same dictionary.
        anchors: for each nucleotide of the variant that of the reference where it
            counts; what counts nowhere was deleted.
    """
    width = reference.n_features
    before = reference.rows_of_entries() * width + reference.indices
    after = anchors[variant.rows_of_entries()] * width + variant.indices
    keys, entries = np.unique(np.concatenate([after, before]), return_inverse=True)
    values = np.concatenate([variant.values, -reference.values])
    changes = np.bincount(entries, values, len(keys)).astype(np.float32)
    least = _LEAST * float(reference.values.max(initial=0.0))
    kept = np.abs(changes) > least
    return CodeChange(
        keys[kept] // width, keys[kept] % width, changes[kept], reference.n_features
    )


def near(
    places: Int64[np.ndarray, " place"], reach: int, n_nucleotides: int
) -> Bool[np.ndarray, " nucleotide"]:
    """Returns which nucleotides are at most so many from one of some places."""
    out = np.zeros(n_nucleotides, bool)
    for place in places:
        out[max(0, place - reach) : place + reach + 1] = True
    return out
