"""The compiled loops of local alignment, on bare arrays.

Targets are taken LANES at a time, one a lane. A lane holds its target's nucleotides
from position `first` on, one a place; places outside of the target are padding.
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
    diagonals: Int64[np.ndarray, " banded"],
    half_band: int,
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
        order: all targets, similar ones together.
        diagonals: of the targets, or empty: align in full.
        half_band: how far from the diagonal to look.
        out: score, row, position in the target.
    """
    n_letters, n_rows = len(table), letters.size
    n_pairs = strips.shape[1]
    lengths = np.diff(target_offsets)
    room = _room(n_rows, lengths, diagonals, half_band)
    rows = np.empty((room, LANES), np.int64)
    pairs = np.empty((room, n_pairs, LANES), np.int32)
    wide = np.zeros((LANES, n_pairs * 2), np.int16)
    scores = np.empty((room, n_letters, LANES), np.int32)
    state = np.empty((2, room, LANES), np.int32)
    best = np.empty((3, LANES), np.int32)
    firsts = np.empty(LANES, np.int64)
    spans = np.empty((len(letters), 2), np.int64)
    for start in range(0, len(order), LANES):
        members = order[start : start + LANES]
        _span(members, lengths, diagonals, half_band, firsts, spans)
        _place(members, firsts, target_offsets, spans, rows)
        begin, end = spans[:, 0].min(), spans[:, 1].max()
        for place in range(begin, end):
            _letter(target_letters, rows[place], table, scores[place])
            if n_pairs:
                _quantise(target_vectors, rows[place], scale, wide, pairs[place])
        _align_lanes(strips, letters, pairs, scores, spans, costs, state, best)
        for lane in range(len(members)):
            out[:2, members[lane]] = best[:2, lane]
            out[2, members[lane]] = best[2, lane] + firsts[lane]


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
    spans = np.zeros((len(letters), 2), np.int64)
    spans[:, 1] = len(products)
    state = np.empty((2, len(products), LANES), np.int32)
    nothing = np.empty((len(letters), 0, ROWS), np.int32)
    pairs = np.empty((len(products), 0, LANES), np.int32)
    _align_lanes(nothing, rows, pairs, products, spans, costs, state, best)


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
def _room(
    n_rows: int,
    lengths: Int64[np.ndarray, " target"],
    diagonals: Int64[np.ndarray, " banded"],
    half_band: int,
) -> int:
    """Returns the most places that a group of targets can need."""
    longest = lengths.max() if len(lengths) else 0
    if len(diagonals) and longest > 2 * half_band + ROWS:
        return max(2 * half_band + ROWS, n_rows + 2 * half_band)
    return longest


@njit(nogil=True, error_model="numpy")
def _span(
    members: Int64[np.ndarray, " lane"],
    lengths: Int64[np.ndarray, " target"],
    diagonals: Int64[np.ndarray, " banded"],
    half_band: int,
    firsts: Int64[np.ndarray, " lane"],
    spans: Int64[np.ndarray, "strip two"],
) -> None:
    """Writes where lanes begin in their targets, and each strip's places.

    In a band lanes begin where its first row does, so that all have theirs at the
    same places: those from the row's own number on.
    """
    longest = lengths[members].max()
    firsts[:] = 0
    spans[:, 0], spans[:, 1] = 0, longest
    if not len(diagonals) or longest <= 2 * half_band + ROWS:
        return
    first_row, last_row = spans.size * ROWS, 0
    for lane in range(len(members)):
        diagonal = diagonals[members[lane]]
        firsts[lane] = diagonal - half_band
        first_row = min(first_row, -diagonal - half_band)
        last_row = max(last_row, lengths[members[lane]] - diagonal + half_band)
    for strip in range(len(spans)):
        row = strip * ROWS
        is_used = row + ROWS > first_row and row < last_row
        spans[strip, 0] = max(row - 1, 0)  # where the corner of the first cell lies
        spans[strip, 1] = row + ROWS + 2 * half_band if is_used else 0


@njit(nogil=True, error_model="numpy")
def _place(
    members: Int64[np.ndarray, " lane"],
    firsts: Int64[np.ndarray, " lane"],
    offsets: Int64[np.ndarray, " boundary"],
    spans: Int64[np.ndarray, "strip two"],
    rows: Int64[np.ndarray, "room lane"],
) -> None:
    """Writes which nucleotide is at each place of each lane, -1 for padding."""
    rows[:] = -1
    for lane in range(len(members)):
        start, stop = offsets[members[lane]], offsets[members[lane] + 1]
        start += firsts[lane]
        first = max(0, -firsts[lane])
        for place in range(first, min(spans[:, 1].max(), stop - start)):
            rows[place, lane] = start + place


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
    spans: Int64[np.ndarray, "strip two"],
    costs: Int32[np.ndarray, " three"],
    state: Int32[np.ndarray, "two room lane"],
    best: Int32[np.ndarray, "three lane"],
) -> None:
    """Aligns strip after strip, each at its places; `state` is scratch."""
    best[:] = 0
    state[:] = 0
    for strip in range(len(strips)):
        start, stop = spans[strip]
        if start < stop:
            align_strip(  # type: ignore[call-arg]  # numba adds the first one
                offsets[strip],
                strips[strip],
                pairs[start:],
                scores[start:],
                scores.shape[1],
                state[0, start:],
                state[1, start:],
                best[0],
                best[1],
                best[2],
                stop - start,
                strips.shape[1],
                costs[0],
                costs[1],
                costs[2],
                np.int32(strip * ROWS),
                np.int32(start),
            )
