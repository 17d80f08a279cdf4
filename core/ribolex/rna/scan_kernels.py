"""The compiled loops of the scan, on bare arrays.

Compiled at the first call, some seconds, and kept on disk where numba may write: it
looks at this file's date only, so touch it after a change of `byte_strips`. They let
go of the interpreter lock. Arguments are not checked.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int8, Int32, Int64, UInt8
from numba import njit

from ribolex.rna.byte_strips import LANES, ROWS, scan_strip

MOST = 255
"""The highest level: a score in units, as 8 bits count it."""


@njit(nogil=True, cache=True, error_model="numpy")
def scan_lanes(
    tables: Int8[np.ndarray, "row state"],
    gap: np.int8,
    states: UInt8[np.ndarray, "place lane"],
    bounds: Int64[np.ndarray, " group_boundary"],
    is_chosen: Bool[np.ndarray, " lane"],
    levels: UInt8[np.ndarray, " lane"],
) -> None:
    """Writes the best score of each chosen lane; 0 of the others.

    Args:
        tables: of each row of the query; rows a multiple of ROWS.
        gap: cost of each nucleotide in a gap.
        states: group g owns places bounds[g] .. bounds[g + 1] - 1.
        bounds: of the groups.
        is_chosen: LANES a group.
        levels: likewise.
    """
    room = np.diff(bounds).max() if len(bounds) > 1 else 0
    above = np.empty((room, LANES), np.int8)
    best = np.empty(LANES, np.int8)
    for group in range(len(bounds) - 1):
        own = slice(group * LANES, (group + 1) * LANES)
        if not is_chosen[own].any():
            levels[own] = np.uint8(0)
            continue
        start, stop = bounds[group], bounds[group + 1]
        above[: stop - start] = np.int8(-128)
        best[:] = np.int8(-128)
        for row in range(0, len(tables), ROWS):
            scan_strip(  # type: ignore[call-arg]  # numba adds the first one
                tables[row:],
                states[start:],
                above,
                best,
                stop - start,
                gap,
            )
        for i in range(LANES):
            lane = group * LANES + i
            levels[lane] = np.uint8(best[i] + 128) if is_chosen[lane] else np.uint8(0)


@njit(nogil=True, cache=True, error_model="numpy")
def judge_lanes(
    levels: UInt8[np.ndarray, " lane"],
    lane_pieces: Int32[np.ndarray, " lane"],
    totals: Int32[np.ndarray, " piece"],
    zero: Float32[np.ndarray, " length"],
    slope: Float32[np.ndarray, " length"],
    out: Float32[np.ndarray, " lane"],
) -> None:
    """Writes `zero + level * slope` at the length of each lane's RNA; -inf for level 0.

    Longer RNAs count as the longest that `zero` and `slope` have.
    """
    longest = len(zero) - 1
    for lane in range(len(levels)):
        out[lane] = -np.inf
        if levels[lane]:
            n = min(totals[lane_pieces[lane]], longest)
            out[lane] = zero[n] + levels[lane] * slope[n]
