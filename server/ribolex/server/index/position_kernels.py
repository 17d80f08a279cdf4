"""The compiled loops of the positional index, on bare arrays.

Compiled at the first call, some seconds, and kept in `__pycache__`; they let go of the
interpreter lock.
Arguments are not checked. `position_blocks` and `voting` say what they mean.

A list holds the slots of a block at which one feature fires, or at which one word
begins. The accumulator has a cell for every diagonal of
every piece: for a query of n nucleotides piece p owns the cells from its first slot
+ p * n on, one more than it has diagonals, the last of them always 0.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt8, UInt16, UInt32
from numba import njit

_LINE = 16
"""Postings between two that are read ahead; a line of the cache has 32."""


@njit(nogil=True, cache=True, error_model="numpy")
def strongest_entries(
    indptr: Int64[np.ndarray, " boundary"],
    indices: UInt32[np.ndarray, " entry"],
    values: Float32[np.ndarray, " entry"],
    is_voter: Bool[np.ndarray, " n_features"],
    n_kept: int,
    rows: Int32[np.ndarray, " kept"],
    features: Int32[np.ndarray, " kept"],
) -> int:
    """Writes row and feature of the largest values of voters in each row.

    Of equal values the first are kept. Returns how many entries were written.
    """
    n_written = 0
    best = np.empty(n_kept, np.float32)
    for row in range(len(indptr) - 1):
        start, stop = indptr[row], indptr[row + 1]
        best[:] = np.float32(0)
        for entry in range(start, stop):
            if not is_voter[indices[entry]]:
                continue
            value, place = values[entry], n_kept
            while place > 0 and best[place - 1] < value:
                if place < n_kept:
                    best[place] = best[place - 1]
                place -= 1
            if place < n_kept:
                best[place] = value
        floor, n_equal = best[n_kept - 1], 0
        for place in range(n_kept):
            n_equal += best[place] == floor
        for entry in range(start, stop):
            value = values[entry]
            is_out = value < floor or (value == floor and n_equal == 0)
            if is_out or not is_voter[indices[entry]]:
                continue
            n_equal -= value == floor
            rows[n_written] = row
            features[n_written] = indices[entry]
            n_written += 1
    return n_written


@njit(nogil=True, cache=True, error_model="numpy")
def words(
    letters: UInt8[np.ndarray, " nucleotide"], length: int
) -> Int32[np.ndarray, " nucleotide"]:
    """Returns the number of the word that begins at each nucleotide, -1 for none.

    Letters are 0 to 3; with any other in it, or cut off by the end, it is no word.
    """
    out = np.full(len(letters), -1, np.int32)
    word, n_known, size = 0, 0, 4**length
    for i in range(len(letters)):
        n_known = n_known + 1 if letters[i] < 4 else 0
        word = (word * 4 + letters[i]) % size
        if n_known >= length:
            out[i + 1 - length] = word
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def sort_postings(
    lists: Int32[np.ndarray, " entry"],
    slots: Int32[np.ndarray, " entry"],
    n_lists: int,
) -> tuple[UInt32[np.ndarray, " boundary"], UInt16[np.ndarray, " entry"]]:
    """Returns the bounds of all lists, and their slots in the order they came."""
    bounds = np.zeros(n_lists + 1, np.uint32)
    for entry in range(len(lists)):
        bounds[lists[entry] + 1] += np.uint32(1)
    for k in range(n_lists):
        bounds[k + 1] += bounds[k]
    ends = bounds[:-1].copy()
    postings = np.empty(len(lists), np.uint16)
    for entry in range(len(lists)):
        k = lists[entry]
        postings[ends[k]] = slots[entry]
        ends[k] += np.uint32(1)
    return bounds, postings


@njit(nogil=True, cache=True, error_model="numpy")
def unsort_postings(
    bounds: UInt32[np.ndarray, " boundary"],
    postings: UInt16[np.ndarray, " entry"],
    kept: Bool[np.ndarray, " slot"],
) -> tuple[Int32[np.ndarray, " left"], Int32[np.ndarray, " left"]]:
    """Returns list and slot of all entries at kept slots, by slot, then by list."""
    starts = np.zeros(len(kept) + 1, np.int64)
    for entry in range(len(postings)):
        starts[postings[entry] + 1] += kept[postings[entry]]
    for slot in range(len(kept)):
        starts[slot + 1] += starts[slot]
    lists = np.empty(starts[-1], np.int32)
    slots = np.empty(starts[-1], np.int32)
    for k in range(len(bounds) - 1):
        for entry in range(bounds[k], bounds[k + 1]):
            slot = postings[entry]
            if kept[slot]:
                lists[starts[slot]] = k
                slots[starts[slot]] = slot
                starts[slot] += 1
    return lists, slots


@njit(nogil=True, cache=True, error_model="numpy")
def vote(
    bounds: UInt32[np.ndarray, " boundary"],
    postings: UInt16[np.ndarray, " entry"],
    piece_slots: Int32[np.ndarray, " piece_boundary"],
    n_nucleotides: int,
    lists: Int32[np.ndarray, " group"],
    firsts: Int32[np.ndarray, " group_boundary"],
    positions: Int32[np.ndarray, " ballot"],
    weights: UInt16[np.ndarray, " ballot"],
    cells: UInt32[np.ndarray, " slot"],
    votes: UInt16[np.ndarray, " cell"],
) -> int:
    """Adds every ballot's weight to the diagonals that its list's slots lie on.

    Ballot b of group g stands for nucleotide positions[b] of the query and votes with
    list lists[g]. `cells` is room for one number a slot.

    What is returned only keeps the compiler from leaving out the reading ahead: lists
    that are fetched from memory side by side cost a third less than in turn.
    """
    for piece in range(len(piece_slots) - 1):
        shift = np.uint32(piece * n_nucleotides + n_nucleotides - 1)
        first = np.uint32(piece_slots[piece])
        for slot in range(first, np.uint32(piece_slots[piece + 1])):
            cells[slot] = np.uint32(slot) + shift
    touched = 0
    for group in range(len(lists)):
        touched += bounds[lists[group]] + bounds[lists[group] + 1]
    for group in range(len(lists)):
        for entry in range(bounds[lists[group]], bounds[lists[group] + 1], _LINE):
            touched += postings[entry]
    for group in range(len(lists)):
        start, stop = bounds[lists[group]], bounds[lists[group] + 1]
        for ballot in range(firsts[group], firsts[group + 1]):
            position, weight = np.uint32(positions[ballot]), weights[ballot]
            for entry in range(start, stop):
                # Unsigned, so that no index may seem negative and need a check.
                cell = np.uint64(np.uint32(cells[postings[entry]] - position))
                votes[cell] += weight
    return touched


@njit(nogil=True, cache=True, error_model="numpy")
def take_best(
    votes: UInt16[np.ndarray, " cell"],
    piece_slots: Int32[np.ndarray, " piece_boundary"],
    n_nucleotides: int,
    corrections: Float32[np.ndarray, " piece"],
    is_allowed: Bool[np.ndarray, " piece"],
    floor: float,
    scores: Float32[np.ndarray, " room"],
    pieces: Int32[np.ndarray, " room"],
    diagonals: Int32[np.ndarray, " room"],
) -> int:
    """Clears the accumulator and writes the allowed pieces that score above `floor`.

    A piece scores the most votes of a diagonal with its neighbour, times its
    correction. Returns how many were written.
    """
    n_written = 0
    one = np.uint64(1)
    for piece in range(len(piece_slots) - 1):
        start = np.uint64(piece_slots[piece] + piece * n_nucleotides)
        stop = np.uint64(piece_slots[piece + 1] + (piece + 1) * n_nucleotides)
        best = np.uint16(0)
        if is_allowed[piece]:
            for cell in range(start, stop - one):
                joint = np.uint16(votes[cell] + votes[cell + one])
                best = joint if joint > best else best
        score = np.float32(best * corrections[piece])
        if score > floor:
            peak = start
            while np.uint16(votes[peak] + votes[peak + one]) != best:
                peak += one
            if votes[peak] < votes[peak + one]:
                peak += one
            scores[n_written] = score
            pieces[n_written] = piece
            diagonals[n_written] = np.int64(peak - start) - (n_nucleotides - 1)
            n_written += 1
        votes[start:stop] = np.uint16(0)
    return n_written
