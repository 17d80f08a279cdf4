"""The compiled loops of the positional index, on bare arrays.

Compiled at the first call, some seconds, and kept in `__pycache__`; they let go of the
interpreter lock. Arguments are not checked. `position_blocks` says what they mean.
"""

import numpy as np
from jaxtyping import Float32, Int8, Int64, UInt8
from numba import njit

from ribolex.rna.byte_strips import LANES


@njit(nogil=True, cache=True, error_model="numpy")
def fill_lanes(
    states: UInt8[np.ndarray, " slot"],
    firsts: Int64[np.ndarray, " lane"],
    sizes: Int64[np.ndarray, " lane"],
    group_places: Int64[np.ndarray, " group_boundary"],
    lanes: UInt8[np.ndarray, "place 64"],
) -> None:
    """Copies lane i's `sizes[i]` states, from slot firsts[i] on, to its column."""
    for lane in range(len(firsts)):
        place, column = group_places[lane // LANES], lane % LANES
        for i in range(sizes[lane]):
            lanes[place + i, column] = states[firsts[lane] + i]


@njit(nogil=True, cache=True, error_model="numpy")
def widen(
    states: UInt8[np.ndarray, " slot"],
    vectors: Int8[np.ndarray, "slot width"],
    rows: Int64[np.ndarray, " row"],
    scales: Float32[np.ndarray, " row"],
    out_states: UInt8[np.ndarray, " row"],
    out: Float32[np.ndarray, "row width"],
) -> None:
    """Writes the states of some slots, and their vectors times `scales`."""
    for i in range(len(rows)):
        row, scale = rows[i], scales[i]
        out_states[i] = states[row]
        for k in range(vectors.shape[1]):
            out[i, k] = vectors[row, k] * scale
