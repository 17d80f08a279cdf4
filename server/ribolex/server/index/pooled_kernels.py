"""The compiled loops of the index of pooled codes, on bare arrays.

Compiled at the first call, some seconds, and kept in `__pycache__`; they let go of the
interpreter lock. Arguments are not checked. `pooled_blocks` says what they mean. Values
are counts, to be looked up in `table`; or, if `table` is empty, weights as they are.
Of many blocks at once they are told where in memory the arrays are, a row of numbers
(`COLUMNS`) a block: what is there must be kept by the caller.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt64
from numba import carray, njit  # type: ignore[attr-defined]

from ribolex.server.index.pooled_lanes import (
    ROWS_AT_ONCE,
    add_up,
    apart,
    fetch,
    first_one,
    n_ones,
    nearer,
    pointer_to,
)

_LINE = 64
"""Bytes that memory gives at once."""
_AHEAD = 8
"""Rows that are fetched while others are matched."""

_WORD = np.empty(0, np.uint64)
_NUMBER = np.empty(0, np.int64)
_REAL = np.empty(0, np.float32)
_FLAG = np.empty(0, np.bool_)

_LOOSE = {"reassoc", "contract", "nnan", "nsz"}
"""Sums may be taken in any order, and nothing is nan."""


class Columns(NamedTuple):
    """What is known of a block, addresses but for the first two."""

    n_rows: int
    room: int
    rna_ids: int
    is_alive: int
    bounds: int
    features: int
    values: int
    scales: int
    sums: int
    bits: int
    signs: int


_COLUMNS = Columns(*range(len(Columns._fields)))
_N_ROWS, _ROOM, _IDS, _ALIVE, _BOUNDS, _FEATURES, _VALUES = _COLUMNS[:7]
_SCALES, _SUMS, _BITS, _SIGNS = _COLUMNS[7:]

LEVELS = 1024
"""Distances of signs are smaller."""


@njit(nogil=True, cache=True, error_model="numpy")
def measure_rows(
    bounds: Int64[np.ndarray, " row_boundary"],
    features: np.ndarray,
    values: np.ndarray,
    table: Float32[np.ndarray, " count"],
    scales: Float32[np.ndarray, " row"],
    sums: Float32[np.ndarray, " row"],
    bits: UInt64[np.ndarray, "row word"],
) -> None:
    """Writes what makes the length of each row 1, the sum of its weights then, bits.

    The first half of the bits tells which features a row has, the second which of them
    weigh more than its mean. Features share bits if there are more of them.
    """
    half = bits.shape[1] // 2
    low, shift = np.uint64(63), np.uint64(6)
    most = np.uint64(64 * half)
    for row in range(len(bounds) - 1):
        square, total, n = 0.0, 0.0, 0.0
        for entry in range(bounds[row], bounds[row + 1]):
            value = values[entry]
            weight = np.float64(table[int(value)] if len(table) else value)
            square += weight * weight
            total += weight
            n += 1.0 if weight > 0.0 else 0.0
        scale = 1.0 / np.sqrt(square) if square > 0.0 else 0.0
        scales[row], sums[row] = scale, total * scale
        mean, own = total / max(n, 1.0), bits[row]
        own[:] = 0
        # Features rise: a word is put together before it is written.
        last, some, more = np.int64(0), np.uint64(0), np.uint64(0)
        for entry in range(bounds[row], bounds[row + 1]):
            value = values[entry]
            weight = np.float64(table[int(value)] if len(table) else value)
            place = np.uint64(features[entry])
            if place >= most:  # a remainder takes as long as all the rest
                place %= most
            word, bit = np.int64(place >> shift), place & low
            if word != last:
                own[last] |= some
                own[half + last] |= more
                last, some, more = word, np.uint64(0), np.uint64(0)
            some |= np.uint64(weight > 0.0) << bit
            more |= np.uint64(weight > mean) << bit
        own[last] |= some
        own[half + last] |= more


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_LOOSE)
def score_places(
    query: Float32[np.ndarray, " n_features"],
    own: float,
    blocks: Int64[np.ndarray, "block column"],
    places: Int64[np.ndarray, " chosen"],
    n_rows: int,
    like_features: np.ndarray,
    like_values: np.ndarray,
    table: Float32[np.ndarray, " count"],
    rna_ids: Int64[np.ndarray, " chosen"],
    scores: Float64[np.ndarray, " chosen"],
) -> None:
    """Writes the Jaccard index of a query, whose sum is `own`, and each chosen row.

    Where `own` is 0, the dot product. Written so that entries are taken side by side:
    2.4 times as fast. Place `n_rows * b + r` is row r of block b.
    """
    width, held = like_features.itemsize, like_values.itemsize
    for i in range(len(places)):
        if i + 1 < len(places):
            block, row = blocks[places[i + 1] // n_rows], places[i + 1] % n_rows
            bounds = carray(pointer_to(block[_BOUNDS], _NUMBER), (row + 2,))
            start, stop = bounds[row], bounds[row + 1]
            for byte in range(start * width, stop * width, _LINE):
                fetch(block[_FEATURES] + byte)
            for byte in range(start * held, stop * held, _LINE):
                fetch(block[_VALUES] + byte)
        block, row = blocks[places[i] // n_rows], places[i] % n_rows
        bounds = carray(pointer_to(block[_BOUNDS], _NUMBER), (row + 2,))
        start, stop = bounds[row], bounds[row + 1]
        features = carray(pointer_to(block[_FEATURES], like_features), (stop,))[start:]
        values = carray(pointer_to(block[_VALUES], like_values), (stop,))[start:]
        scale = carray(pointer_to(block[_SCALES], _REAL), (row + 1,))[row]
        rna_ids[i] = carray(pointer_to(block[_IDS], _NUMBER), (row + 1,))[row]
        shared = 0.0
        if own == 0.0:
            for j in range(len(features)):
                value = values[j]
                weight = np.float32(table[int(value)] if len(table) else value)
                shared += np.float64(query[features[j]] * weight)
            scores[i] = shared * scale
            continue
        for j in range(len(features)):
            value = values[j]
            theirs = np.float32(table[int(value)] if len(table) else value) * scale
            ours = query[features[j]]
            shared += np.float64(ours if ours < theirs else theirs)
        total = carray(pointer_to(block[_SUMS], _REAL), (row + 1,))[row]
        scores[i] = shared / max(own + total - shared, 1e-30)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_LOOSE)
def sign_rows(
    bounds: Int64[np.ndarray, " row_boundary"],
    features: np.ndarray,
    values: np.ndarray,
    table: Float32[np.ndarray, " count"],
    scales: Float32[np.ndarray, " row"],
    directions: Float32[np.ndarray, "word n_features 64"],
    shift: Float32[np.ndarray, "word 64"],
    first: int,
    signs: UInt64[np.ndarray, "word room"],
) -> None:
    """Writes on which side of a shift the products of rows with directions are.

    The directions of one word are taken at a time, as many as a near cache holds.
    """
    n_rows = len(bounds) - 1
    start, stop = bounds[0], bounds[n_rows]
    weights = np.empty(stop - start, np.float32)
    for i in range(len(weights)):
        value = values[start + i]
        weights[i] = np.float32(table[int(value)] if len(table) else value)
    sums = np.empty(64, np.float32)
    for word in range(len(directions)):
        own = directions[word]
        for row in range(n_rows):
            first_entry, n = bounds[row], bounds[row + 1] - bounds[row]
            add_up(features[first_entry:], weights[first_entry - start :], n, own, sums)
            bits = np.uint64(0)
            for i in range(64):
                is_above = sums[i] * scales[row] > shift[word, i]
                bits |= np.uint64(is_above) << np.uint64(i)
            signs[word, first + row] = bits


@njit(nogil=True, cache=True, error_model="numpy")
def ask_signs(
    features: np.ndarray,
    weights: Float32[np.ndarray, " feature"],
    directions: Float32[np.ndarray, "word n_features 64"],
    shift: Float32[np.ndarray, "word 64"],
    step: float,
    out: UInt64[np.ndarray, " 7"],
) -> None:
    """Writes what `pooled_lanes.apart` needs to know of a query.

    A sign weighs 1, 3, 5 or 7: so far is the query on its side, in halves of a step,
    which is given in mean distances.
    """
    place = np.empty_like(shift)
    total = np.float32(0)
    for word in range(len(directions)):
        add_up(features, weights, len(features), directions[word], place[word])
        for i in range(64):
            place[word, i] -= shift[word, i]
            total += abs(place[word, i])
    size = max(step * total / place.size, 1e-30)
    out[:] = 0
    weight = 0
    for word in range(len(directions)):
        for i in range(64):
            level, bit = int(min(abs(place[word, i]) / size, 3.0)), np.uint64(i)
            weight += 2 * level + 1
            out[3 * word] |= np.uint64(place[word, i] > 0) << bit
            out[3 * word + 1] |= np.uint64(level & 1) << bit
            out[3 * word + 2] |= np.uint64(level >> 1) << bit
    # What a stranger is away, half of all that signs weigh, is made the same.
    out[6] = np.uint64((7 * place.size - weight) // 2)


@njit(nogil=True, cache=True, error_model="numpy")
def sift(
    blocks: Int64[np.ndarray, "block column"],
    chosen: Int64[np.ndarray, " chosen"],
    n_rows: int,
    asked: UInt64[np.ndarray, "block 7"],
    allowed: Bool[np.ndarray, " id"],
    n_wanted: int,
) -> tuple[Int64[np.ndarray, " found"], Int64[np.ndarray, " found"]]:
    """Returns places and distances of the rows of blocks that are nearest by signs.

    Twice `n_wanted` at most; as many as wanted if there are, and all that are nearer
    than any that is left out. Places rise. Whoever is not `allowed`, by id, is passed
    over; an empty one allows all.
    """
    counts = np.zeros(LEVELS, np.int64)
    most, one = 4 * n_wanted + ROWS_AT_ONCE, np.uint64(1)
    places, distances = np.empty(most, np.int64), np.empty(most, np.int64)
    n_found, n_near, last = 0, 0, LEVELS - 1
    for number in chosen:
        block, own = blocks[number], asked[number]
        told = (own[0], own[1], own[2], own[3], own[4], own[5], own[6])
        n, room = block[_N_ROWS], block[_ROOM]
        is_alive = carray(pointer_to(block[_ALIVE], _FLAG), (n,))
        rna_ids = carray(pointer_to(block[_IDS], _NUMBER), (n,))
        signs = carray(pointer_to(block[_SIGNS], _WORD), (2, room))
        for start in range(0, n, ROWS_AT_ONCE):
            below = np.uint64(last if n_near >= n_wanted else LEVELS)
            near = nearer(block[_SIGNS] + 8 * start, room, told, below)
            while near:
                row = start + first_one(near)
                near &= near - one
                if row >= n or not is_alive[row]:
                    continue
                rna_id = rna_ids[row]
                if len(allowed) and not (rna_id < len(allowed) and allowed[rna_id]):
                    continue
                distance = np.int64(apart(signs[0, row], signs[1, row], told))
                if distance >= last and n_near >= n_wanted:
                    continue
                places[n_found] = number * n_rows + row
                distances[n_found] = distance
                n_found += 1
                counts[distance] += 1
                n_near += 1
                while n_near - counts[last] >= n_wanted:
                    n_near -= counts[last]
                    last -= 1
            if n_found > len(places) - ROWS_AT_ONCE:
                n_found = _keep(places, distances, n_found, last)
    n_found = _keep(places, distances, n_found, last)
    return places[:n_found].copy(), distances[:n_found].copy()


@njit(nogil=True, cache=True, error_model="numpy")
def _keep(
    places: Int64[np.ndarray, " room"],
    distances: Int64[np.ndarray, " room"],
    n_found: int,
    last: int,
) -> int:
    """Drops what is farther than `last`; returns how many are left."""
    n = 0
    for i in range(n_found):
        if distances[i] <= last:
            places[n], distances[n] = places[i], distances[i]
            n += 1
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def match_places(
    query: UInt64[np.ndarray, " word"],
    blocks: Int64[np.ndarray, "block column"],
    places: Int64[np.ndarray, " chosen"],
    n_rows: int,
    out: Float32[np.ndarray, " chosen"],
) -> None:
    """Writes of each row the bits it has in common with the query over all of both."""
    n_words = len(query)
    own = np.uint64(0)
    for word in range(n_words):
        own += n_ones(query[word])
    for i in range(-_AHEAD, len(places)):
        if i + _AHEAD < len(places):
            soon = places[i + _AHEAD]
            start = blocks[soon // n_rows, _BITS] + soon % n_rows * n_words * 8
            for line in range(0, n_words * 8, _LINE):
                fetch(start + line)
        if i < 0:
            continue
        block, row = blocks[places[i] // n_rows], places[i] % n_rows
        bits = carray(pointer_to(block[_BITS], _WORD), (row + 1, n_words))[row]
        shared, theirs = np.uint64(0), np.uint64(0)
        for word in range(n_words):
            shared += n_ones(query[word] & bits[word])
            theirs += n_ones(bits[word])
        either = np.float32(own + theirs - shared)
        out[i] = np.float32(shared) / either if either > 0 else np.float32(0)


@njit(nogil=True, cache=True, error_model="numpy")
def peaks_of(
    feature: int,
    bounds: Int64[np.ndarray, " row_boundary"],
    features: np.ndarray,
    peaks: Float32[np.ndarray, " entry"],
    out: Float32[np.ndarray, " row"],
) -> None:
    """Writes the peak of a feature in each row, 0 where it has none."""
    for row in range(len(bounds) - 1):
        low, high = bounds[row], bounds[row + 1]
        while low < high:
            middle = (low + high) // 2
            if features[middle] < feature:
                low = middle + 1
            else:
                high = middle
        is_there = low < bounds[row + 1] and features[low] == feature
        out[row] = peaks[low] if is_there else np.float32(0)
