"""Why an alignment scores what it does: features, letters and gaps that sum to it.

A pair of nucleotides scores its letters and the product of its two vectors; a vector is
the sum of its features' parts, so half of a product falls to the query's features and
half to the target's, exactly. 0.7 ms for 120 nt of 16 features each. Knows nothing of
how the alignment was found, or of what features stand for.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.local_alignment import NucleotideArrays
from ribolex.rna.traceback import Alignment, gap_cost
from ribolex.server.index.hits import SharedFeature


class Aligned(NamedTuple):
    """One of the two RNAs."""

    sequence: str
    codes: Codes
    """Of every nucleotide."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an alignment's score is made of: the last three and all contributions."""

    features: list[SharedFeature]
    """Largest contribution first, not more than were asked for; positions are those of
    pairs in which it fires in both nucleotides."""
    n_features: int
    """All that fire in an aligned pair."""
    others: float
    """Contribution of those that are not listed."""
    letters: float
    gaps: float
    """<= 0."""


def explain(
    alignment: Alignment,
    query: Aligned,
    target: Aligned,
    model: AlignmentModel,
    max_features: int,
) -> Explanation:
    """Returns what the score of an alignment that `trace` gave is made of.

    Args:
        alignment: of these two by this model's vectors and letters.
        query: the whole of it.
        target: the whole of it, or the piece that was aligned.
        model: that the alignment was made with.
        max_features: to list.
    """
    pairs = alignment.pairs()
    starts = alignment.query_start, alignment.target_start
    stops = alignment.query_stop, alignment.target_stop
    places = pairs - np.array(starts)
    spans = list(zip((query, target), starts, stops, strict=True))
    sides = [
        _Side.of(rna.codes.slice(start, stop), places[:, column], model)
        for column, (rna, start, stop) in enumerate(spans)
    ]
    ours, theirs = (
        NucleotideArrays.of_sequences([rna.sequence[start:stop]]).letters
        for rna, start, stop in spans
    )
    letters = model.letters[ours[places[:, 0]], theirs[places[:, 1]]]
    shares = [
        np.einsum("ew,ew->e", one.parts, other.vectors[one.pairs]) / 2
        for one, other in (sides, sides[::-1])
    ]
    features = np.concatenate([side.features for side in sides])
    sums = np.bincount(features, np.concatenate(shares), model.n_features)
    found = np.flatnonzero(np.bincount(features, minlength=model.n_features))
    found = found[np.argsort(-sums[found], kind="stable")]
    listed = found[:max_features]
    return Explanation(
        _listed(listed, sums, _shared(sides), pairs),
        len(found),
        float(sums[found[max_features:]].sum()),
        float(letters.sum(dtype=np.float64)),
        -gap_cost(alignment, model),
    )


class _Side(NamedTuple):
    """What one RNA brings to the pairs; entries by pair, then by feature."""

    pairs: Int64[np.ndarray, " entry"]
    features: Int64[np.ndarray, " entry"]
    parts: Float32[np.ndarray, "entry width"]
    """Of the nucleotide's vector."""
    vectors: Float32[np.ndarray, "pair width"]

    @classmethod
    def of(
        cls, codes: Codes, places: Int64[np.ndarray, " pair"], model: AlignmentModel
    ) -> "_Side":
        pair_of_row = np.full(len(codes), -1)
        pair_of_row[places] = np.arange(len(places))
        pairs = pair_of_row[codes.rows_of_entries()]
        is_paired = pairs >= 0
        pairs = pairs[is_paired]
        features = codes.indices[is_paired].astype(np.int64)
        parts = model.embedding[features] * model.parts(codes)[is_paired, None]
        vectors = np.zeros((len(places), model.width), np.float32)
        firsts = np.flatnonzero(np.diff(pairs, prepend=-1))
        if len(firsts):
            vectors[pairs[firsts]] = np.add.reduceat(parts, firsts)
        return cls(pairs, features, parts, vectors)


class _Shared(NamedTuple):
    """Features that fire in both nucleotides of a pair."""

    pairs: Int64[np.ndarray, " firing"]
    features: Int64[np.ndarray, " firing"]


def _shared(sides: list[_Side]) -> _Shared:
    width = 1 + max(int(side.features.max(initial=0)) for side in sides)
    ours, theirs = (side.pairs * width + side.features for side in sides)
    if len(theirs) == 0:
        ours = ours[:0]
    at = np.minimum(np.searchsorted(theirs, ours), len(theirs) - 1)
    both = ours[theirs[at] == ours]
    return _Shared(both // width, both % width)


def _listed(
    features: Int64[np.ndarray, " listed"],
    sums: Float64[np.ndarray, " n_features"],
    shared: _Shared,
    pairs: Int64[np.ndarray, "pair two"],
) -> list[SharedFeature]:
    out = []
    for feature in features:
        both = pairs[shared.pairs[shared.features == feature]]
        out.append(
            SharedFeature(int(feature), float(sums[feature]), both[:, 0], both[:, 1])
        )
    return out
