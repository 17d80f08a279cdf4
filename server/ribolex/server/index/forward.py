"""The weighted codes of a collection in memory: RNA to features.

Exact scores and explanations come from here. Knows ids and numbers only; nothing of
names, disks, or how a code was weighed.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt32
from numba import njit

Likeness = Literal["cosine", "jaccard"]
"""Dot product of weights of length 1; or sum of the smaller weights of each feature
over the sum of the larger ones (Ruzicka 1958)."""

_FIRST_ROOM = 1024


class WeightedCode(NamedTuple):
    """The search vector of one RNA, of length 1, and the peaks behind it."""

    features: UInt32[np.ndarray, " feature"]
    """Rising strictly."""
    weights: Float32[np.ndarray, " feature"]
    """> 0."""
    peaks: Float32[np.ndarray, " feature"]
    """The largest value over the nucleotides."""


class Parts(NamedTuple):
    """What each shared feature adds to a score, the largest first."""

    features: UInt32[np.ndarray, " feature"]
    contributions: Float64[np.ndarray, " feature"]


class Strongest(NamedTuple):
    """An RNA in which a feature fires, and how strongly at most."""

    rna_id: int
    peak: float


class ForwardStore:
    """Sparse rows by id, one after the other in flat arrays. Not thread-safe.

    A replaced row leaves a gap; when half of the room is gaps they are closed.
    """

    def __init__(
        self, n_features: int, likeness: Likeness, room: int = _FIRST_ROOM
    ) -> None:
        self._n_features, self._likeness = n_features, likeness
        self._features = np.empty(room, np.uint32)
        self._weights = np.empty(room, np.float32)
        self._peaks = np.empty(room, np.float32)
        self._start = np.zeros(room, np.int64)
        self._length = np.zeros(room, np.int64)
        self._end = 0

    def put(self, rna_id: int, code: WeightedCode) -> None:
        """Stores one row in place of what the id had."""
        n_entries = len(code.features)
        self._make_room(rna_id, n_entries)
        start, self._end = self._end, self._end + n_entries
        self._features[start : self._end] = code.features
        self._weights[start : self._end] = code.weights
        self._peaks[start : self._end] = code.peaks
        self._start[rna_id], self._length[rna_id] = start, n_entries

    def remove(self, rna_ids: Sequence[int]) -> None:
        """Forgets rows that are there."""
        self._length[rna_ids] = 0

    def row(self, rna_id: int) -> WeightedCode:
        """Returns a view of one row; valid until the next `put`."""
        start = self._start[rna_id]
        part = slice(start, start + self._length[rna_id])
        return WeightedCode(
            self._features[part], self._weights[part], self._peaks[part]
        )

    def score(
        self, query: WeightedCode, rna_ids: Int64[np.ndarray, " rna"]
    ) -> Float64[np.ndarray, " rna"]:
        """Returns the exact likeness of the query and each row, 0 to 1."""
        dense = np.zeros(self._n_features, np.float64)
        dense[query.features] = query.weights
        scores: Float64[np.ndarray, " rna"] = _score(
            dense,
            self._features,
            self._weights,
            self._start[rna_ids],
            self._length[rna_ids],
            dense.sum() if self._likeness == "jaccard" else 0.0,
        )
        return scores

    def parts(self, query: WeightedCode, rna_id: int) -> Parts:
        """Returns what makes the likeness of a query and a row; they sum to it."""
        target = self.row(rna_id)
        features, here, there = np.intersect1d(
            query.features, target.features, assume_unique=True, return_indices=True
        )
        ours = query.weights[here].astype(np.float64)
        theirs = target.weights[there].astype(np.float64)
        if self._likeness == "cosine":
            parts = ours * theirs
        else:
            parts = np.minimum(ours, theirs)
            both = float(query.weights.sum(dtype=np.float64))
            both += float(target.weights.sum(dtype=np.float64))
            # Of a pair the smaller and the larger are as much as both.
            parts /= max(both - float(parts.sum()), 1e-30)
        order = np.lexsort((features, -parts))
        return Parts(features[order], parts[order])

    def strongest(self, feature: int, limit: int) -> list[Strongest]:
        """Returns the rows with the largest peaks of a feature, largest first.

        Looks into every row. Equal peaks come in the order of ids.
        """
        peaks = self.peaks(feature, len(self._length))
        rna_ids = np.flatnonzero(peaks)
        order = np.lexsort((rna_ids, -peaks[rna_ids]))[:limit]
        return [Strongest(int(i), float(peaks[i])) for i in rna_ids[order]]

    def peaks(self, feature: int, n_ids: int) -> Float32[np.ndarray, " id"]:
        """Returns the peak of a feature in the row of each id, 0 where it has none.

        Args:
            feature: which.
            n_ids: how many ids, from 0; no more than there is room for.
        """
        peaks: Float32[np.ndarray, " id"] = _peaks_of(
            feature,
            self._features,
            self._peaks,
            self._start[:n_ids],
            self._length[:n_ids],
        )
        return peaks

    def _make_room(self, rna_id: int, n_entries: int) -> None:
        if rna_id >= len(self._start):
            room = max(2 * len(self._start), rna_id + 1)
            self._start = _grown(self._start, room)
            self._length = _grown(self._length, room)
        self._length[rna_id] = 0
        if self._end + n_entries <= len(self._features):
            return
        n_live = int(self._length.sum())
        if 2 * (n_live + n_entries) <= len(self._features):
            self._close_gaps()
            return
        room = max(2 * len(self._features), self._end + n_entries)
        self._features = _grown(self._features, room)
        self._weights = _grown(self._weights, room)
        self._peaks = _grown(self._peaks, room)

    def _close_gaps(self) -> None:
        rna_ids = np.flatnonzero(self._length)
        lengths = self._length[rna_ids]
        places = _ranges(self._start[rna_ids], lengths)
        self._end = len(places)
        self._features[: self._end] = self._features[places]
        self._weights[: self._end] = self._weights[places]
        self._peaks[: self._end] = self._peaks[places]
        self._start[rna_ids] = np.cumsum(lengths) - lengths


@njit(nogil=True, cache=True, error_model="numpy")
def _score(
    query: Float64[np.ndarray, " n_features"],
    features: UInt32[np.ndarray, " entry"],
    weights: Float32[np.ndarray, " entry"],
    starts: Int64[np.ndarray, " row"],
    lengths: Int64[np.ndarray, " row"],
    own: float,
) -> Float64[np.ndarray, " row"]:
    """Returns the Jaccard index of a query, whose sum is `own`, and each row.

    Where `own` is 0, the dot product.
    """
    scores = np.zeros(len(starts))
    for row in range(len(starts)):
        shared, both = 0.0, own
        for entry in range(starts[row], starts[row] + lengths[row]):
            ours, theirs = query[features[entry]], np.float64(weights[entry])
            if own == 0.0:
                shared += ours * theirs
            else:
                shared += ours if ours < theirs else theirs
                both += theirs
        if shared > 0.0:
            scores[row] = shared if own == 0.0 else shared / (both - shared)
    return scores


@njit(nogil=True, cache=True, error_model="numpy")
def _peaks_of(
    feature: int,
    features: UInt32[np.ndarray, " entry"],
    peaks: Float32[np.ndarray, " entry"],
    starts: Int64[np.ndarray, " row"],
    lengths: Int64[np.ndarray, " row"],
) -> Float32[np.ndarray, " row"]:
    """Returns the peak of a feature in each row, 0 where it has none."""
    out = np.zeros(len(starts), np.float32)
    for row in range(len(starts)):
        first, after = starts[row], starts[row] + lengths[row]
        while first < after:
            middle = (first + after) >> 1
            if features[middle] < feature:
                first = middle + 1
            else:
                after = middle
        if first < starts[row] + lengths[row] and features[first] == feature:
            out[row] = peaks[first]
    return out


def _ranges(
    starts: Int64[np.ndarray, " row"], lengths: Int64[np.ndarray, " row"]
) -> Int64[np.ndarray, " entry"]:
    """Returns start, start + 1, ... of every row, one row after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _grown(array: np.ndarray, room: int) -> np.ndarray:
    out = np.zeros(room, array.dtype)
    out[: len(array)] = array
    return out
