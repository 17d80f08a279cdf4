"""Why an alignment scores what it does: features, letters and gaps that sum to it.

A pair of nucleotides scores its letters and the product of its two vectors; a vector is
the sum of its features' parts, so half of a product falls to the query's features and
half to the target's, exactly. Well below a millisecond for 120 nt. Knows nothing of how
the alignment was found, or of what features stand for.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, Float64, Int64

from ribolex.dictionary import Codes
from ribolex.rna.local_alignment import NucleotideArrays
from ribolex.rna.scoring import Scoring
from ribolex.rna.traceback import Alignment, gap_cost
from ribolex.server.index.hits import SharedFeature

_COLUMNS_A_LINE = 60
_PAIRS_A_LABEL = 20
"""A longer stretch shows the strongest feature of each so many pairs."""


class Parts(Scoring, Protocol):
    """What an alignment model tells of its scores."""

    @property
    def embedding(self) -> Float32[np.ndarray, "n_features width"]:
        """Vector of each feature."""

    def parts(self, codes: Codes) -> Float32[np.ndarray, " entry"]:
        """Returns what each entry's embedding is multiplied with."""


class Aligned(NamedTuple):
    """One of the two RNAs."""

    sequence: str
    codes: Codes
    """Of every nucleotide."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of pairs without a gap; positions from 0, stops exclusive."""

    query_start: int
    query_stop: int
    target_start: int
    target_stop: int
    score: float
    """Of its pairs."""
    feature: int | None
    """That adds most to it, of those that fire in both nucleotides of a pair of it if
    there are any; none if no feature fires."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an alignment's score is made of."""

    features: list[SharedFeature]
    """Largest contribution first; positions are those of pairs in which it fires in
    both nucleotides."""
    letters: float
    gaps: float
    """<= 0. The score is `letters`, `gaps` and all contributions together."""
    stretches: list[Stretch]
    text: str
    """Query, "|" for the same letter and ":" for another pair that scores above 0,
    target, and the strongest features. Positions from 1, both ends included."""


def explain(
    alignment: Alignment, query: Aligned, target: Aligned, model: Parts
) -> Explanation:
    """Returns what the score of an alignment that `trace` gave is made of.

    Args:
        alignment: of these two by this model's vectors and letters.
        query: the whole of it.
        target: the whole of it, or the piece that was aligned.
        model: that the alignment was made with.
    """
    pairs = alignment.pairs()
    starts = alignment.query_start, alignment.target_start
    stops = alignment.query_stop, alignment.target_stop
    sides = [
        _Side.of(rna.codes.slice(start, stop), model)
        for rna, start, stop in zip((query, target), starts, stops, strict=True)
    ]
    places = pairs - np.array(starts)
    shares = _shares(sides, places)
    ours, theirs = (
        NucleotideArrays.of_sequences([rna.sequence[start:stop]]).letters
        for rna, start, stop in zip((query, target), starts, stops, strict=True)
    )
    lettered = model.letters[ours[places[:, 0]], theirs[places[:, 1]]]
    scores = lettered.astype(np.float64)
    np.add.at(scores, shares.pairs, shares.values)
    return Explanation(
        _features(shares, pairs),
        float(lettered.sum(dtype=np.float64)),
        -gap_cost(alignment, model),
        _stretches(alignment, scores, shares),
        _text(alignment, query.sequence, target.sequence, scores, shares),
    )


class _Side(NamedTuple):
    """The aligned part of one RNA, gaps and all."""

    codes: Codes
    rows: Int64[np.ndarray, " entry"]
    parts: Float32[np.ndarray, "entry width"]
    vectors: Float32[np.ndarray, "nucleotide width"]

    @classmethod
    def of(cls, codes: Codes, model: Parts) -> "_Side":
        rows = codes.rows_of_entries()
        parts = model.embedding[codes.indices] * model.parts(codes)[:, None]
        vectors = np.zeros((len(codes), parts.shape[1]), np.float32)
        fires = np.flatnonzero(np.diff(codes.indptr))
        if len(fires):
            vectors[fires] = np.add.reduceat(parts, codes.indptr[fires])
        return cls(codes, rows, parts, vectors)


class _Shares(NamedTuple):
    """What each feature of either nucleotide adds to each pair; one after another."""

    pairs: Int64[np.ndarray, " share"]
    features: Int64[np.ndarray, " share"]
    values: Float64[np.ndarray, " share"]
    is_shared: np.ndarray
    """Whether the feature fires in the other nucleotide of the pair too."""


def _shares(sides: list[_Side], places: Int64[np.ndarray, "pair two"]) -> _Shares:
    found = []
    for column, (side, other) in enumerate(zip(sides, sides[::-1], strict=True)):
        pair_of_row = np.full(len(side.codes), -1)
        pair_of_row[places[:, column]] = np.arange(len(places))
        pairs = pair_of_row[side.rows]
        paired = pairs >= 0
        partners = other.vectors[places[pairs[paired], 1 - column]]
        values = np.einsum("ew,ew->e", side.parts[paired], partners) / 2
        found.append((pairs[paired], side.codes.indices[paired], values))
    pairs, features, values = (
        np.concatenate(both).astype(kind)
        for both, kind in zip(
            zip(*found, strict=True), (np.int64, np.int64, np.float64), strict=True
        )
    )
    keys = pairs * (sides[0].codes.n_features + 1) + features
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return _Shares(pairs, features, values, counts[inverse] == 2)


def _features(
    shares: _Shares, pairs: Int64[np.ndarray, "pair two"]
) -> list[SharedFeature]:
    ids, inverse = np.unique(shares.features, return_inverse=True)
    sums = np.bincount(inverse, shares.values, len(ids))
    # A shared one comes twice, once from either side: the first will do.
    where = np.flatnonzero(shares.is_shared)
    where = where[: len(where) // 2]
    where = where[np.lexsort((shares.pairs[where], inverse[where]))]
    bounds = np.searchsorted(inverse[where], np.arange(len(ids) + 1))
    out = []
    for i in np.argsort(-sums, kind="stable"):
        both = pairs[shares.pairs[where[bounds[i] : bounds[i + 1]]]]
        out.append(SharedFeature(int(ids[i]), float(sums[i]), both[:, 0], both[:, 1]))
    return out


def _strongest(
    shares: _Shares, run_of_pair: Int64[np.ndarray, " pair"], n_runs: int
) -> list[int | None]:
    """Returns the feature that adds most to each run of pairs."""
    runs = run_of_pair[shares.pairs]
    width = int(shares.features.max(initial=0)) + 1
    keys, inverse = np.unique(runs * width + shares.features, return_inverse=True)
    sums = np.bincount(inverse, shares.values, len(keys))
    is_shared = np.bincount(inverse, shares.is_shared, len(keys)) > 0
    out: list[int | None] = [None] * n_runs
    for i in np.lexsort((-np.arange(len(keys)), sums, is_shared)):
        out[int(keys[i]) // width] = int(keys[i]) % width
    return out


def _stretches(
    alignment: Alignment, scores: Float64[np.ndarray, " pair"], shares: _Shares
) -> list[Stretch]:
    lengths = [step.length for step in alignment.steps if step.op == "M"]
    run_of_pair = np.repeat(np.arange(len(lengths)), lengths)
    features = _strongest(shares, run_of_pair, len(lengths))
    sums = np.bincount(run_of_pair, scores, len(lengths))
    out: list[Stretch] = []
    i, j = alignment.query_start, alignment.target_start
    for op, length in alignment.steps:
        after = i + length * (op != "D"), j + length * (op != "I")
        if op == "M":
            n = len(out)
            out.append(Stretch(i, after[0], j, after[1], float(sums[n]), features[n]))
        i, j = after
    return out


def _text(
    alignment: Alignment,
    query: str,
    target: str,
    scores: Float64[np.ndarray, " pair"],
    shares: _Shares,
) -> str:
    rows = alignment.rows(query, target)
    columns = [
        column for column, pair in enumerate(zip(*rows, strict=True)) if "-" not in pair
    ]
    signs = [" "] * len(alignment)
    for column, score in zip(columns, scores, strict=True):
        is_same = rows.query[column] == rows.target[column]
        signs[column] = "|" if is_same else ":" if score > 0 else " "
    labels = _labels(alignment, columns, shares)
    at, other = alignment.query_start, alignment.target_start
    width = len(str(max(alignment.query_stop, alignment.target_stop)))
    out = []
    for start in range(0, len(alignment), _COLUMNS_A_LINE):
        part = slice(start, start + _COLUMNS_A_LINE)
        ours, theirs = rows.query[part], rows.target[part]
        stops = at + len(ours.replace("-", "")), other + len(theirs.replace("-", ""))
        margin = " " * (8 + width)
        out += [
            f"query  {min(at + 1, stops[0]):>{width}} {ours} {stops[0]}",
            f"{margin}{''.join(signs[part])}".rstrip(),
            f"target {min(other + 1, stops[1]):>{width}} {theirs} {stops[1]}",
            f"{margin}{labels[part]}".rstrip(),
            "",
        ]
        at, other = stops
    return "\n".join(out[:-1])


def _labels(alignment: Alignment, columns: list[int], shares: _Shares) -> str:
    """Returns a line with the strongest feature's id under the start of its run."""
    lengths = [step.length for step in alignment.steps if step.op == "M"]
    places = np.concatenate([np.arange(0), *map(np.arange, lengths)]).astype(np.int64)
    in_line = np.array(columns, np.int64) % _COLUMNS_A_LINE
    begins = (places % _PAIRS_A_LABEL == 0) | (in_line == 0)
    run_of_pair = np.cumsum(begins) - 1
    features = _strongest(shares, run_of_pair, int(begins.sum()))
    line = [" "] * len(alignment)
    free = 0
    for pair, feature in zip(np.flatnonzero(begins), features, strict=True):
        label, column = f"f{feature}", columns[pair]
        room = _COLUMNS_A_LINE - column % _COLUMNS_A_LINE
        if feature is None or column < free or len(label) > room:
            continue
        line[column : column + len(label)] = label
        free = column + len(label) + 1
    return "".join(line)[: len(alignment)]
