"""What a server tells of variants, as values.

Field by field the messages of variants.proto, which define the numbers. Positions
count from 0. Knows no gRPC.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ribolex.client.records import DictionaryRef, Rejection


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """What a variant does to one feature."""

    feature: int
    label: str
    gained: float
    lost: float
    near_gained: float
    near_lost: float
    positions: tuple[int, ...]
    """Where it changes, in the reference."""
    changes: tuple[float, ...]
    """By how much, there."""


@dataclass(frozen=True, slots=True, eq=False)
class VariantEffect:
    """What a variant does to the code, and what the language model thinks of it."""

    index: int
    """Its place among those asked for."""
    changes: str
    """In notation, positions counted from 1: "12A>G"."""
    positions: tuple[int, ...]
    masked_marginal: float | None
    """log p(its letters) - log p(the reference's), hidden from the model; in nats.
    None where it is not defined."""
    log_likelihood_ratio: float
    """Pseudo-log-likelihood less the reference's, each in one run."""
    gained: float
    lost: float
    near_gained: float
    near_lost: float
    features: tuple[FeatureChange, ...]
    """Most changed first."""
    position_changes: npt.NDArray[np.float32] | None
    """What all features gain and lose in each nucleotide of the reference; None unless
    asked for."""

    @property
    def substitution(self) -> tuple[int, str] | None:
        """The place and the new letter, if it is one substitution."""
        number, _, letter = self.changes.partition(">")
        if len(self.positions) != 1 or not letter or not number[:-1].isdecimal():
            return None
        return self.positions[0], letter


@dataclass(frozen=True, slots=True, eq=False)
class VariantScan:
    """A reference, and what its variants do, in the order in which they were asked."""

    dictionary: DictionaryRef
    sequence: str
    """As the server read it."""
    reach: int
    """Nucleotides to either side of a change that are "near"."""
    fvu: float
    code_sum: float
    """Sum of the reference's code: what gained and lost are to be held against."""
    log_likelihood: float
    """Of the reference."""
    variants: tuple[VariantEffect, ...]
    rejections: tuple[Rejection, ...]

    def __len__(self) -> int:
        return len(self.variants)

    def __iter__(self) -> Iterator[VariantEffect]:
        return iter(self.variants)

    def grid(self, measure: str) -> npt.NDArray[np.float64]:
        """Returns one number a substitution, [letter A C G U, nucleotide]; else nan.

        Args:
            measure: "masked_marginal", "log_likelihood_ratio", or "change", which is
                all that is gained and lost.
        """
        out = np.full((4, len(self.sequence)), np.nan)
        for one in self.variants:
            if one.substitution is None or one.substitution[1] not in "ACGU":
                continue
            place, letter = one.substitution
            if measure == "change":
                value: float | None = one.gained + one.lost
            else:
                value = getattr(one, measure)
            out["ACGU".index(letter), place] = np.nan if value is None else value
        return out
