"""Where in RNAs what is asked for holds: a query answered from nucleotide codes.

Many RNAs lie one after the other on a tape, and all of them are looked at together.
Knows codes and queries; nothing of ids, names, or of which RNAs are worth a look.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt32
from numba import njit

from ribolex.dictionary import Codes
from ribolex.server.index.feature_query import (
    All,
    Chain,
    Edge,
    Fires,
    Not,
    Place,
    Query,
    Reach,
    features_of,
)


class Stretch(NamedTuple):
    """A run of nucleotides of one RNA at which a feature fires as was asked for."""

    feature: int
    start: int
    stop: int
    """One past the last."""
    peak: float
    """The feature's largest value there."""


class Tape(NamedTuple):
    """The nucleotides of some RNAs, and how strongly some features fire in them."""

    offsets: Int64[np.ndarray, " boundary"]
    """RNA r owns the slots offsets[r] .. offsets[r + 1] - 1."""
    values: Float32[np.ndarray, "feature slot"]
    """0 where it does not fire."""


class Marked(NamedTuple):
    """What holds on a tape, and where."""

    holds: Bool[np.ndarray, " rna"]
    places: Bool[np.ndarray, "feature slot"]
    """Firings that have part in it; none in RNAs where it does not hold."""


class Bounds(NamedTuple):
    """What can be told of RNAs without their nucleotides."""

    maybe: Bool[np.ndarray, " rna"]
    """Whether it may hold."""
    surely: Bool[np.ndarray, " rna"]
    """Whether it does."""


def read_tape(codes: Sequence[Codes], features: Sequence[int], n_features: int) -> Tape:
    """Returns a tape of RNAs.

    Args:
        codes: of the nucleotides of each.
        features: those to keep, each once.
        n_features: of the dictionary.
    """
    offsets = np.zeros(len(codes) + 1, np.int64)
    np.cumsum([len(one) for one in codes], out=offsets[1:])
    values = np.zeros((len(features), offsets[-1]), np.float32)
    rows = np.full(n_features, -1, np.int32)
    rows[list(features)] = np.arange(len(features))
    for one, start in zip(codes, offsets[:-1], strict=True):
        _fill(one.indptr, one.indices, one.values, rows, start, values)
    return Tape(offsets, values)


@njit(nogil=True, cache=True, error_model="numpy")
def _fill(
    indptr: Int64[np.ndarray, " boundary"],
    indices: UInt32[np.ndarray, " entry"],
    values: Float32[np.ndarray, " entry"],
    rows: Int32[np.ndarray, " n_features"],
    start: int,
    out: Float32[np.ndarray, "feature slot"],
) -> None:
    """Writes the values of the features that have a row."""
    for nucleotide in range(len(indptr) - 1):
        for entry in range(indptr[nucleotide], indptr[nucleotide + 1]):
            row = rows[indices[entry]]
            if row >= 0:
                out[row, start + nucleotide] = values[entry]


def mark(query: Query, tape: Tape) -> Marked:
    """Returns where a query holds; the tape's features are those that it names."""
    rows = {feature: row for row, feature in enumerate(features_of(query))}
    return _Reader(tape, rows).mark(query)


class _Reader:
    """One tape, read for one query. Read-only."""

    def __init__(self, tape: Tape, rows: dict[int, int]) -> None:
        self._values, self._offsets, self._rows = tape.values, tape.offsets, rows
        lengths = np.diff(tape.offsets)
        self._slots = np.arange(tape.offsets[-1])
        self._owners = np.repeat(np.arange(len(lengths)), lengths)
        self._starts = np.repeat(tape.offsets[:-1], lengths)
        self._stops = np.repeat(tape.offsets[1:], lengths)

    def mark(self, query: Query) -> Marked:
        if isinstance(query, Chain):
            return self._chain(query)
        if isinstance(query, Not):
            inner = self.mark(query.part)
            return Marked(~inner.holds, np.zeros_like(inner.places))
        parts = [self.mark(part) for part in query.parts]
        join = np.logical_and if isinstance(query, All) else np.logical_or
        holds = join.reduce([part.holds for part in parts])
        places = np.logical_or.reduce([part.places for part in parts])
        places &= holds[self._owners]
        return Marked(holds, places)

    def _chain(self, chain: Chain) -> Marked:
        """Keeps of each place what lies on some way from the first to the last."""
        found = [self._at(place) for place in chain.places]
        reaches = list(chain.reaches)
        if reaches and reaches[-1].is_negated:
            unwanted = self._near(found.pop(), _back(reaches.pop()))
            found[-1] = found[-1] & ~unwanted
        for i, reach in enumerate(reaches):
            found[i + 1] = found[i + 1] & self._near(found[i], reach)
        for i in reversed(range(len(reaches))):
            found[i] = found[i] & self._near(found[i + 1], _back(reaches[i]))
        marks = np.zeros(self._values.shape, np.bool_)
        for place, slots in zip(chain.places, found, strict=False):
            for one in place:
                if isinstance(one, Fires):
                    marks[self._rows[one.feature]] |= slots & self._one(one)
        holds = np.zeros(len(self._offsets) - 1, np.bool_)
        holds[self._owners[found[0]]] = True
        return Marked(holds, marks)

    def _at(self, place: Place) -> Bool[np.ndarray, " slot"]:
        out: Bool[np.ndarray, " slot"]
        out = np.logical_or.reduce([self._one(one) for one in place])
        return out

    def _one(self, one: Fires | Edge) -> Bool[np.ndarray, " slot"]:
        if isinstance(one, Fires):
            return _fires(one, self._values[self._rows[one.feature]])
        edges = self._starts if one.side == "start" else self._stops - 1
        out: Bool[np.ndarray, " slot"] = self._slots == edges
        return out

    def _near(
        self, slots: Bool[np.ndarray, " slot"], reach: Reach
    ) -> Bool[np.ndarray, " slot"]:
        """Returns what is in reach of some of the slots, in the same RNA."""
        before = np.concatenate([[0], np.cumsum(slots)])
        first = np.maximum(self._slots - reach.high, self._starts)
        after = np.minimum(self._slots - reach.low + 1, self._stops)
        first, after = np.minimum(first, self._stops), np.maximum(after, self._starts)
        out: Bool[np.ndarray, " slot"] = before[after] > before[first]
        return out


def _back(reach: Reach) -> Reach:
    return Reach(-reach.high, -reach.low)


def _fires(
    one: Fires, values: Float32[np.ndarray, " value"]
) -> Bool[np.ndarray, " value"]:
    """Returns which values are firings; 0 is none."""
    threshold = np.float32(one.threshold)
    passed = values >= threshold if one.is_reached else values > threshold
    out: Bool[np.ndarray, " value"] = passed & (values > 0)
    return out


class Peaks(NamedTuple):
    """How strongly features fire in RNAs at most."""

    values: Mapping[int, Float32[np.ndarray, " rna"]]
    """By feature; 0 where it is not known to fire."""
    n_rnas: int
    is_complete: bool
    """Whether it does not fire there; if not, it may all the same."""


def bounds(query: Query, peaks: Peaks) -> Bounds:
    """Returns what the peaks of the features that it names tell of a query."""
    if isinstance(query, Chain):
        return _chain_bounds(query, peaks)
    if isinstance(query, Not):
        maybe, surely = bounds(query.part, peaks)
        return Bounds(~surely, ~maybe)
    parts = [bounds(part, peaks) for part in query.parts]
    join = np.logical_and if isinstance(query, All) else np.logical_or
    return Bounds(
        join.reduce([part.maybe for part in parts]),
        join.reduce([part.surely for part in parts]),
    )


def _chain_bounds(chain: Chain, peaks: Peaks) -> Bounds:
    seen = [_seen(place, peaks) for place in chain.places]
    is_negated = bool(chain.reaches) and chain.reaches[-1].is_negated
    wanted = seen[:-1] if is_negated else seen
    surely = wanted[0].copy()
    if len(wanted) > 1:
        surely[:] = False
    if is_negated:
        # What fires nowhere is not near either.
        surely &= ~seen[-1] & peaks.is_complete
    maybe = np.logical_and.reduce(wanted) | (not peaks.is_complete)
    return Bounds(maybe, surely)


def _seen(place: Place, peaks: Peaks) -> Bool[np.ndarray, " rna"]:
    """Returns which RNAs are known to have such a place."""
    out = np.zeros(peaks.n_rnas, np.bool_)
    for one in place:
        out |= (
            _fires(one, peaks.values[one.feature]) if isinstance(one, Fires) else True
        )
    return out


def stretches_of(
    features: Sequence[int],
    values: Float32[np.ndarray, "feature nucleotide"],
    places: Bool[np.ndarray, "feature nucleotide"],
) -> list[Stretch]:
    """Returns the marked runs of one RNA, by feature in their order, then by start."""
    out: list[Stretch] = []
    for feature, own, marks in zip(features, values, places, strict=True):
        edges = np.flatnonzero(np.diff(marks, prepend=False, append=False))
        if len(edges):
            starts, stops = edges[::2], edges[1::2]
            # reduceat would go on to the next start; between them nothing is marked.
            peaks = np.maximum.reduceat(np.where(marks, own, 0), starts)
            out.extend(
                Stretch(feature, int(start), int(stop), float(peak))
                for start, stop, peak in zip(starts, stops, peaks, strict=True)
            )
    return out
