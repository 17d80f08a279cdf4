"""The compiled loops of local alignment, on bare arrays.

Compiled at the first call, a second or so; they let go of the interpreter lock.
Arguments are not checked. `local_alignment` says what they mean.
"""

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8, UInt32
from numba import njit

LANES = 64
"""Targets aligned at once. Measured (AVX-512, GCell/s): 16 1.9, 32 3.1, 64 3.7."""

_ROWS_A_TILE = 16


@njit(nogil=True, error_model="numpy")
def align_lanes(
    query: UInt8[np.ndarray, " nucleotide"],
    lettered: Float32[np.ndarray, "letter cell"],
    products: Float32[np.ndarray, "nucleotide cell"],
    weight: np.float32,
    gap_open: np.float32,
    gap_extend: np.float32,
) -> Float32[np.ndarray, " lane"]:
    """Returns each lane's best local score (Gotoh 1982; lanes as in Rognes 2011).

    Cells are position-major, LANES to a position. `products` is empty or is added
    to the letters' scores with `weight`. All arrays C-contiguous.
    """
    n_cells = lettered.shape[1]
    zero = np.float32(0)
    above = np.zeros(n_cells, np.float32)
    down = np.full(n_cells, -gap_open, np.float32)
    pairs = np.empty(n_cells, np.float32)
    best = np.zeros(LANES, np.float32)
    across, left = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    corner = np.empty(LANES, np.float32)
    for i in range(len(query)):
        row = lettered[query[i]]
        if products.shape[0]:
            for cell in range(n_cells):
                pairs[cell] = row[cell] + weight * products[i, cell]
            row = pairs
        across[:] = -gap_open
        left[:] = zero
        corner[:] = zero
        for place in range(n_cells // LANES):
            for lane in range(LANES):
                # Counted so that no index may seem negative: else no wide registers.
                cell = place * LANES + lane
                up = above[cell]
                vertical = np.float32(down[cell] - gap_extend)
                opened = np.float32(up - gap_open)
                vertical = vertical if vertical > opened else opened
                level = np.float32(across[lane] - gap_extend)
                opened = np.float32(left[lane] - gap_open)
                level = level if level > opened else opened
                score = np.float32(corner[lane] + row[cell])
                score = score if score > vertical else vertical
                score = score if score > level else level
                score = score if score > zero else zero
                corner[lane] = up
                left[lane] = score
                across[lane] = level
                above[cell] = score
                down[cell] = vertical
                best[lane] = score if score > best[lane] else best[lane]
    return best


@njit(nogil=True, error_model="numpy")
def multiply_sparse(
    indptr: Int64[np.ndarray, " boundary"],
    indices: UInt32[np.ndarray, " entry"],
    values: Float32[np.ndarray, " entry"],
    rows: Int64[np.ndarray, " cell"],
    slots: Int32[np.ndarray, " width"],
    table: Float32[np.ndarray, "slot nucleotide"],
    out: Float32[np.ndarray, "nucleotide cell"],
) -> None:
    """Writes the products of a query's nucleotides with sparse rows to `out`.

    `slots` tells which row of `table` holds the query's values of an index, -1 for
    none; rows of -1 give 0. Cells are a multiple of LANES. Works in tiles, so that the
    transposition stays in cache.
    """
    n_nucleotides = table.shape[1]
    tile = np.empty((_ROWS_A_TILE, n_nucleotides), np.float32)
    for block in range(len(rows) // _ROWS_A_TILE):
        tile[:] = np.float32(0)
        for k in range(_ROWS_A_TILE):
            row = rows[block * _ROWS_A_TILE + k]
            if row < 0:
                continue
            for entry in range(indptr[row], indptr[row + 1]):
                slot = slots[indices[entry]]
                if slot >= 0:
                    value = values[entry]
                    for i in range(n_nucleotides):
                        tile[k, i] += value * table[slot, i]
        for i in range(n_nucleotides):
            for k in range(_ROWS_A_TILE):
                out[i, block * _ROWS_A_TILE + k] = tile[k, i]
