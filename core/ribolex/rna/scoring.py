"""What pairs and gaps are worth, and how that is counted in whole numbers.

Whole numbers give the same scores on every machine, and 16-bit vectors half the time
that float32 ones would. Knows nothing of alignments.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from ribolex.errors import InvalidRequestError
from ribolex.rna.kernels import PADDING
from ribolex.rna.strips import ROWS

_LARGEST_ENTRY = 32_000
"""Of a vector in 16 bits."""
_LARGEST_PAIR = 2.0**30
"""Score of a pair before it is shifted, and of an alignment after it."""


class Scoring(Protocol):
    """What a pair of nucleotides is worth, and what a gap costs.

    A pair scores `letters[its letters] + <v, w>`, v and w the vectors of its
    nucleotides. The first nucleotide of a gap costs `gap_open`, each further one
    `gap_extend`: 0 < gap_extend <= gap_open.
    """

    @property
    def letters(self) -> Float32[np.ndarray, "5 5"]:
        """Query letter (A, C, G, U, unknown) by target letter."""

    @property
    def gap_open(self) -> float:
        """Cost of a gap's first nucleotide."""

    @property
    def gap_extend(self) -> float:
        """Cost of each further one."""


def check_finite(
    scoring: Scoring,
    ours: Float32[np.ndarray, "nucleotide width"],
    theirs: Float32[np.ndarray, "cell width"],
) -> float:
    """Returns a bound on what a pair can score or lose.

    Raises:
        InvalidRequestError: numbers are not finite, or gaps cost nothing or more than
            if opened anew.
    """
    greatest = float(np.abs(scoring.letters).max())
    greatest += _largest_norm(ours) * _largest_norm(theirs)
    costs = scoring.gap_open, scoring.gap_extend
    if not (math.isfinite(greatest + sum(costs)) and 0 < costs[1] <= costs[0]):
        raise InvalidRequestError(
            "scoring",
            f"pairs of up to {greatest}, gap_open and gap_extend {costs}, expected"
            " finite ones and 0 < gap_extend <= gap_open",
        )
    return greatest


class WholeScoring(NamedTuple):
    """How scores are counted in whole numbers."""

    queries: float
    """Times the query's vectors."""
    targets: float
    letters: Int32[np.ndarray, "6 6"]
    """Padding last."""
    costs: Int32[np.ndarray, " three"]
    """How far to shift pair scores to the right, then gap_open, gap_extend."""
    unit: float
    """Worth of 1 after the shift."""

    @classmethod
    def choose(
        cls,
        scoring: Scoring,
        ours: Float32[np.ndarray, "nucleotide width"],
        theirs: Float32[np.ndarray, "cell width"],
        longest: int,
    ) -> "WholeScoring":
        """Returns the finest units in which no sum can leave 32 bits.

        `longest` is the most pairs that an alignment can have.

        Raises:
            InvalidRequestError: numbers are not finite, or a gap costs nothing.
        """
        greatest = check_finite(scoring, ours, theirs)
        norms = [_largest_norm(vectors) for vectors in (ours, theirs)]
        shift = math.ceil(math.log2(max(longest, 2)))
        whole = _LARGEST_PAIR / max(greatest, 1e-6)
        if all(norms):
            scale = _LARGEST_ENTRY / norms[1]
            mine = min(_LARGEST_ENTRY / norms[0], whole / scale)
            whole = mine * scale
        else:
            mine = scale = 0.0
            whole = 2.0 ** math.floor(math.log2(whole))  # halves stay exact
        letters = np.full((6, 6), -_LARGEST_PAIR)
        letters[:5, :5] = np.rint(scoring.letters.astype(np.float64) * whole)
        unit = 2.0**shift / whole
        costs = scoring.gap_open, scoring.gap_extend
        gaps = [min(round(cost / unit), int(_LARGEST_PAIR)) for cost in costs]
        numbers = np.array([shift, *(max(gap, 1) for gap in gaps)], np.int32)
        return cls(mine, scale, letters.astype(np.int32), numbers, unit)


def _largest_norm(vectors: Float32[np.ndarray, "row width"]) -> float:
    if not vectors.size:
        return 0.0
    return math.sqrt(float(np.einsum("rw,rw->r", vectors, vectors).max()))


def strips_of_letters(
    letters: UInt8[np.ndarray, " nucleotide"],
) -> Int64[np.ndarray, "strip row"]:
    """Returns ROWS letters a strip, the last one filled up with padding."""
    n_strips = -(-len(letters) // ROWS)
    out = np.full(n_strips * ROWS, PADDING, np.int64)
    out[: len(letters)] = letters
    return out.reshape(n_strips, ROWS)


def strips_of_vectors(
    vectors: Float32[np.ndarray, "nucleotide width"], scale: float
) -> Int32[np.ndarray, "strip pair row"]:
    """Returns vectors times `scale` as `align_strip` takes them."""
    n_strips, n_pairs = -(-len(vectors) // ROWS), -(-vectors.shape[1] // 2)
    whole = np.zeros((n_strips * ROWS, n_pairs * 2), np.int16)
    whole[: len(vectors), : vectors.shape[1]] = np.rint(vectors * scale)
    pairs = whole.view(np.int32).reshape(n_strips, ROWS, n_pairs)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1))
