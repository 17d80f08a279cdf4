"""The compiled loops over the few features that fire, on bare arrays, for CPUs.

Compiled at the first call, some seconds, and kept on disk. They let go of the
interpreter lock; each takes a range of rows or features, so that threads may share
the work, and the result is the same bytes for any number of threads. Arguments are
not checked. `sparse` says what they mean; it has the same in plain torch.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, Int64, Num
from numba import njit

LANES = 128
"""Columns j with the same j % LANES are one lane: its maximum costs one pass in wide
registers. Top 16 of 3,072, bfloat16, 1,024 rows: 1.1 ms (torch.topk: 9.9 ms)."""


def _compiled(function: Callable[..., Any]) -> Any:
    # Unwrapped: tests wrap every function in checks that cannot be compiled. Sums
    # may be reassociated, or no dot product would use wide registers.
    fast = {"reassoc", "contract", "nsz"}
    compiler = njit(nogil=True, error_model="numpy", cache=True, fastmath=fast)
    return compiler(inspect.unwrap(function))


@_compiled
def _kth_largest(keys, n, k, floor):  # type: ignore[no-untyped-def]
    """Returns the k-th largest of the first n keys; the floor if fewer are above it.

    Bisects the values: a count is one pass in wide registers, and no branch depends
    on a key.
    """
    low, high = np.int64(floor), np.int64(floor)
    for i in range(n):
        high = max(high, np.int64(keys[i]))
    while low < high:
        middle = (low + high) // 2
        limit, n_above = keys.dtype.type(middle), np.int32(0)
        for i in range(n):
            n_above += np.int32(keys[i] > limit)
        if n_above >= k:
            low = middle + 1
        else:
            high = middle
    return low


@_compiled
def select(
    keys: Num[np.ndarray, "row column"],
    floor: int,
    start: int,
    stop: int,
    indices: Int32[np.ndarray, "row k"],
) -> None:
    """Writes the columns of each row's k largest keys above a floor; -1 for none.

    Keys are the bits of floats read as integers: among positive floats the order is
    the same, negative ones are below `floor`, which is >= 0.
    """
    n_columns, k = keys.shape[1], indices.shape[1]
    tops = np.empty(LANES, keys.dtype)
    found, who = np.empty(n_columns, keys.dtype), np.empty(n_columns, np.int32)
    whole = n_columns // LANES
    least = keys.dtype.type(floor)
    for r in range(start, stop):
        row = keys[r]
        tops[:] = least
        for part in range(whole):
            for lane in range(LANES):
                key = row[part * LANES + lane]
                tops[lane] = key if key > tops[lane] else tops[lane]
        for j in range(whole * LANES, n_columns):
            tops[j - whole * LANES] = max(row[j], tops[j - whole * LANES])
        # No key below the k-th largest of the lanes' maxima is among the k.
        low = max(_kth_largest(tops, LANES, k, floor) - 1, floor)
        n_found = 0
        for lane in range(LANES):
            if tops[lane] > low:
                for j in range(lane, n_columns, LANES):
                    found[n_found] = row[j]
                    who[n_found] = j
                    n_found += row[j] > low
        _write_largest(found, who, n_found, low, indices[r])


@_compiled
def _write_largest(found, who, n_found, low, out):  # type: ignore[no-untyped-def]
    """Writes whose keys are the largest, in order of place; -1 where none is left."""
    k = len(out)
    least = low if n_found <= k else _kth_largest(found, n_found, k, low)
    n_out = 0
    for i in range(n_found):
        if found[i] > least:
            out[n_out] = who[i]
            n_out += 1
    for i in range(n_found):
        if n_out < k and least > low and found[i] == least:
            out[n_out] = who[i]
            n_out += 1
    out[n_out:] = -1


@_compiled
def find_kth_largest(
    keys: Int32[np.ndarray, "row column"],
    k: int,
    start: int,
    stop: int,
    least: Int32[np.ndarray, " row"],
) -> None:
    """Writes each row's k-th largest key; 0 if fewer are above 0."""
    for r in range(start, stop):
        least[r] = _kth_largest(keys[r], keys.shape[1], k, 0)


@_compiled
def keep_largest(
    indices: Int32[np.ndarray, "row candidate"],
    scores: Float32[np.ndarray, "row candidate"],
    start: int,
    stop: int,
    kept: Int32[np.ndarray, "row k"],
    values: Float32[np.ndarray, "row k"],
) -> None:
    """Writes the k largest scores of each row, which are >= 0, and whose they are."""
    n, k = indices.shape[1], kept.shape[1]
    keys, places = np.empty(n, np.int32), np.arange(n).astype(np.int32)
    bits = scores.view(np.int32)
    for r in range(start, stop):
        for i in range(n):
            keys[i] = max(bits[r, i], np.int32(0))  # -0.0 is the least of integers
        _write_largest(keys, places, n, np.int64(-1), kept[r])
        for i in range(k):
            place = kept[r, i]
            kept[r, i] = indices[r, place]
            values[r, i] = scores[r, place]


@_compiled
def score(
    x: Float32[np.ndarray, "row d_in"],
    w_enc: Float32[np.ndarray, "n_features d_in"],
    b_enc: Float32[np.ndarray, " n_features"],
    start: int,
    stop: int,
    indices: Int32[np.ndarray, "row k"],
    scores: Float32[np.ndarray, "row k"],
) -> None:
    """Writes relu(W_enc x + b_enc) of chosen features; index 0, score 0 for none."""
    for r in range(start, stop):
        for j in range(indices.shape[1]):
            feature = indices[r, j]
            total = np.float32(0)
            if feature >= 0:
                total = b_enc[feature]
                for i in range(x.shape[1]):
                    total += x[r, i] * w_enc[feature, i]
            indices[r, j] = max(feature, 0)
            scores[r, j] = max(total, np.float32(0))


@_compiled
def sum_rows(
    w_dec: Float32[np.ndarray, "n_features d_out"],
    groups: Int32[np.ndarray, " n_features"],
    indices: Int32[np.ndarray, "row k"],
    scores: Float32[np.ndarray, "row k"],
    start: int,
    stop: int,
    out: Float32[np.ndarray, "row group d_out"],
) -> None:
    """Writes the sums of decoder rows times scores, those of each group apart."""
    for r in range(start, stop):
        out[r] = 0
        for j in range(indices.shape[1]):
            value, feature = scores[r, j], indices[r, j]
            if value > 0:
                group = groups[feature]
                for i in range(w_dec.shape[1]):
                    out[r, group, i] += value * w_dec[feature, i]


@_compiled
def score_gradients(
    w_dec: Float32[np.ndarray, "n_features d_out"],
    groups: Int32[np.ndarray, " n_features"],
    indices: Int32[np.ndarray, "row k"],
    scores: Float32[np.ndarray, "row k"],
    gradient: Float32[np.ndarray, "row group d_out"],
    start: int,
    stop: int,
    out: Float32[np.ndarray, "row k"],
) -> None:
    """Writes the gradient of each score, from that of the sums."""
    for r in range(start, stop):
        for j in range(indices.shape[1]):
            total = np.float32(0)
            if scores[r, j] > 0:
                feature = indices[r, j]
                group = groups[feature]
                for i in range(w_dec.shape[1]):
                    total += gradient[r, group, i] * w_dec[feature, i]
            out[r, j] = total


@_compiled
def sort_by_feature(
    indices: Int32[np.ndarray, "row k"],
    scores: Float32[np.ndarray, "row k"],
    bounds: Int64[np.ndarray, " boundary"],
    places: Int64[np.ndarray, " firing"],
) -> None:
    """Writes where each feature fires: row * k + j, in order, and their bounds."""
    k = indices.shape[1]
    bounds[:] = 0
    for r in range(len(indices)):
        for j in range(k):
            if scores[r, j] > 0:
                bounds[indices[r, j] + 1] += 1
    for feature in range(len(bounds) - 1):
        bounds[feature + 1] += bounds[feature]
    at = bounds[:-1].copy()
    for r in range(len(indices)):
        for j in range(k):
            if scores[r, j] > 0:
                feature = indices[r, j]
                places[at[feature]] = r * k + j
                at[feature] += 1


@_compiled
def weight_gradients(
    x: Float32[np.ndarray, "row d_in"],
    groups: Int32[np.ndarray, " n_features"],
    scores: Float32[np.ndarray, "row k"],
    of_scores: Float32[np.ndarray, "row k"],
    of_sums: Float32[np.ndarray, "row group d_out"],
    bounds: Int64[np.ndarray, " boundary"],
    places: Int64[np.ndarray, " firing"],
    start: int,
    stop: int,
    w_enc: Float32[np.ndarray, "n_features d_in"],
    b_enc: Float32[np.ndarray, " n_features"],
    w_dec: Float32[np.ndarray, "n_features d_out"],
) -> None:
    """Writes the gradients of the weights, feature by feature."""
    k = scores.shape[1]
    for feature in range(start, stop):
        w_enc[feature] = 0
        w_dec[feature] = 0
        total = np.float32(0)
        group = groups[feature]
        for at in range(bounds[feature], bounds[feature + 1]):
            r = places[at] // k
            j = places[at] - r * k
            value, slope = scores[r, j], of_scores[r, j]
            total += slope
            for i in range(w_enc.shape[1]):
                w_enc[feature, i] += slope * x[r, i]
            for i in range(w_dec.shape[1]):
                w_dec[feature, i] += value * of_sums[r, group, i]
        b_enc[feature] = total


@_compiled
def remove_along(
    rows: Float32[np.ndarray, "row d"],
    start: int,
    stop: int,
    gradient: Float32[np.ndarray, "row d"],
) -> None:
    """Takes from each row of the gradient its part along a row of length 1."""
    for r in range(start, stop):
        along = np.float32(0)
        for i in range(rows.shape[1]):
            along += gradient[r, i] * rows[r, i]
        for i in range(rows.shape[1]):
            gradient[r, i] -= along * rows[r, i]


@_compiled
def give_length_1(start: int, stop: int, rows: Float32[np.ndarray, "row d"]) -> None:
    """Scales each row to length 1."""
    for r in range(start, stop):
        square = np.float32(0)
        for i in range(rows.shape[1]):
            square += rows[r, i] * rows[r, i]
        scale = np.float32(1) / max(np.sqrt(square), np.float32(1e-12))
        for i in range(rows.shape[1]):
            rows[r, i] *= scale
