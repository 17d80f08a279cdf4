"""The compiled loops of local alignment, on bare arrays.

Targets are taken LANES at a time, one a lane. A lane holds its target's nucleotides,
one a place; places after the target's end are padding.
Compiled at the first call, some ten seconds, and kept on disk where numba may write:
it looks at this file's date only, so touch it after a change of `strips`. They let go
of the interpreter lock.
Arguments are not checked. `local_alignment` says what they mean.
"""

import numpy as np
from jaxtyping import Float32, Int16, Int32, Int64, UInt8, UInt32
from numba import njit

from ribolex.rna.strips import LANES, ROWS, align_strip

PADDING = 5
"""Letter of places outside of a target, and of rows after the query's end."""


@njit(nogil=True, cache=True, error_model="numpy")
def align_targets(
    strips: Int32[np.ndarray, "strip pair row"],
    letters: Int64[np.ndarray, "strip row"],
    target_letters: UInt8[np.ndarray, " nucleotide"],
    target_offsets: Int64[np.ndarray, " boundary"],
    target_vectors: Float32[np.ndarray, "nucleotide width"],
    scale: np.float32,
    table: Int32[np.ndarray, "letter letter"],
    costs: Int32[np.ndarray, " three"],
    order: Int64[np.ndarray, " target"],
    out: Int32[np.ndarray, "three target"],
) -> None:
    """Writes the best score of each target, and the row and position of its cell.

    Args:
        strips: the query's vectors, ROWS nucleotides a strip, two 16-bit numbers in
            each entry.
        letters: the query's letters.
        target_letters: 0 to 4.
        target_offsets: target i owns nucleotides offsets[i] .. offsets[i + 1] - 1.
        target_vectors: times `scale` they fit in 16 bits.
        scale: of the targets' vectors.
        table: score of the query's letters with the targets'.
        costs: shift, gap_open, gap_extend.
        order: all targets, those of like length together.
        out: score, row, position in the target.
    """
    n_letters, n_pairs = len(table), strips.shape[1]
    lengths = np.diff(target_offsets)
    room = lengths.max() if len(lengths) else 0
    rows = np.empty((room, LANES), np.int64)
    pairs = np.empty((room, n_pairs, LANES), np.int32)
    wide = np.zeros((LANES, n_pairs * 2), np.int16)
    scores = np.empty((room, n_letters, LANES), np.int32)
    state = np.empty((2, room, LANES), np.int32)
    best = np.empty((3, LANES), np.int32)
    for start in range(0, len(order), LANES):
        members = order[start : start + LANES]
        n_places = lengths[members].max()
        rows[:n_places] = -1
        for lane in range(len(members)):
            first = target_offsets[members[lane]]
            for place in range(lengths[members[lane]]):
                rows[place, lane] = first + place
        for place in range(n_places):
            _letter(target_letters, rows[place], table, scores[place])
            if n_pairs:
                _quantise(target_vectors, rows[place], scale, wide, pairs[place])
        _align_lanes(strips, letters, pairs, scores, n_places, costs, state, best)
        for lane in range(len(members)):
            out[:, members[lane]] = best[:, lane]


@njit(nogil=True, cache=True, error_model="numpy")
def align_products(
    letters: Int64[np.ndarray, "strip row"],
    products: Int32[np.ndarray, "place strip_row lane"],
    costs: Int32[np.ndarray, " three"],
    best: Int32[np.ndarray, "three lane"],
) -> None:
    """Writes each lane's best score, and the row and place of its cell.

    Args:
        letters: of the query; only their number counts.
        products: score of each row of the query with what is at each place.
        costs: shift, gap_open, gap_extend.
        best: score, row, place.
    """
    rows = np.arange(letters.size).reshape(letters.shape)
    n_places = len(products)
    state = np.empty((2, n_places, LANES), np.int32)
    nothing = np.empty((len(letters), 0, ROWS), np.int32)
    pairs = np.empty((n_places, 0, LANES), np.int32)
    _align_lanes(nothing, rows, pairs, products, n_places, costs, state, best)


@njit(nogil=True, cache=True, error_model="numpy")
def multiply_sparse(
    indptr: Int64[np.ndarray, " boundary"],
    indices: UInt32[np.ndarray, " entry"],
    values: Float32[np.ndarray, " entry"],
    rows: Int64[np.ndarray, "place lane"],
    slots: Int32[np.ndarray, " width"],
    table: Float32[np.ndarray, "slot nucleotide"],
    lettered: Float32[np.ndarray, "letter strip_row"],
    target_letters: UInt8[np.ndarray, " nucleotide"],
    out: Int32[np.ndarray, "place strip_row lane"],
) -> None:
    """Writes the scores of a query's nucleotides with sparse rows to `out`.

    `slots` tells which row of `table` holds the query's values of an index, -1 for
    none; rows of -1 are padding. `lettered` is the score of each letter, padding
    included, with each nucleotide of the query and what fills its last strip.
    """
    n_nucleotides = table.shape[1]
    line = np.empty(lettered.shape[1], np.float32)
    for place in range(len(rows)):
        for lane in range(LANES):
            row = rows[place, lane]
            letter = target_letters[row] if row >= 0 else np.uint8(PADDING)
            line[:] = lettered[letter]
            if row >= 0:
                for entry in range(indptr[row], indptr[row + 1]):
                    slot = slots[indices[entry]]
                    if slot >= 0:
                        value = values[entry]
                        for i in range(n_nucleotides):
                            line[i] += value * table[slot, i]
            for i in range(len(line)):
                out[place, i, lane] = np.int32(np.rint(line[i]))


@njit(nogil=True, error_model="numpy")
def _letter(
    letters: UInt8[np.ndarray, " nucleotide"],
    rows: Int64[np.ndarray, " lane"],
    table: Int32[np.ndarray, "letter letter"],
    out: Int32[np.ndarray, "letter lane"],
) -> None:
    for lane in range(LANES):
        row = rows[lane]
        letter = letters[row] if row >= 0 else np.uint8(PADDING)
        for ours in range(len(table)):
            out[ours, lane] = table[ours, letter]


@njit(nogil=True, error_model="numpy")
def _quantise(
    vectors: Float32[np.ndarray, "nucleotide width"],
    rows: Int64[np.ndarray, " lane"],
    scale: np.float32,
    wide: Int16[np.ndarray, "lane even_width"],
    out: Int32[np.ndarray, "pair lane"],
) -> None:
    """Writes vectors as whole numbers, two entries of 16 bits in each.

    `wide` is scratch; what it holds beyond the width stays.
    """
    n_pairs, width = len(out), vectors.shape[1]
    for lane in range(LANES):
        row = rows[lane]
        if row >= 0:
            for k in range(width):
                wide[lane, k] = np.int16(np.rint(vectors[row, k] * scale))
        else:
            wide[lane] = 0
    pairs = wide.view(np.int32)
    for pair in range(n_pairs):
        for lane in range(LANES):
            out[pair, lane] = pairs[lane, pair]


@njit(nogil=True, error_model="numpy")
def _align_lanes(
    strips: Int32[np.ndarray, "strip pair row"],
    offsets: Int64[np.ndarray, "strip row"],
    pairs: Int32[np.ndarray, "room pair lane"],
    scores: Int32[np.ndarray, "room letter lane"],
    n_places: int,
    costs: Int32[np.ndarray, " three"],
    state: Int32[np.ndarray, "two room lane"],
    best: Int32[np.ndarray, "three lane"],
) -> None:
    """Aligns strip after strip; `state` is scratch."""
    best[:] = 0
    state[:, :n_places] = 0
    for strip in range(len(strips)):
        align_strip(  # type: ignore[call-arg]  # numba adds the first one
            offsets[strip],
            strips[strip],
            pairs,
            scores,
            scores.shape[1],
            state[0],
            state[1],
            best[0],
            best[1],
            best[2],
            n_places,
            strips.shape[1],
            costs[0],
            costs[1],
            costs[2],
            np.int32(strip * ROWS),
        )
