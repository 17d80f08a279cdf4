"""Local alignment of RNAs, by their letters and by vectors of nucleotides.

Smith-Waterman with affine gaps (Gotoh 1982): best scores and where they end. Many
targets are aligned at once, one a lane (Rognes 2011). A vector stands for a nucleotide
in any way the caller likes, dense or sparse. Scores are counted in whole numbers, with
vectors in 16 bits: they lie within about 1e-5 of the greatest pair score times the
root of the alignment's length of those that `traceback` gives. Knows nothing of models
or dictionaries, or of how good a score is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Int64, UInt8, UInt32

from ribolex.errors import InvalidRequestError
from ribolex.rna.kernels import (
    align_products,
    align_targets,
    multiply_sparse,
)
from ribolex.rna.scoring import (
    Scoring,
    WholeScoring,
    strips_of_letters,
    strips_of_vectors,
)
from ribolex.rna.strips import LANES

UNKNOWN = 4
_CODE_OF_BYTE = np.full(256, UNKNOWN, dtype=np.uint8)
_CODE_OF_BYTE[np.frombuffer(b"ACGUT", dtype=np.uint8)] = [0, 1, 2, 3, 3]
_TARGETS_A_BLOCK = 512


class SparseVectors(NamedTuple):
    """A sparse vector for every nucleotide: compressed sparse rows, read-only."""

    indptr: Int64[np.ndarray, " boundary"]
    """[nucleotide + 1], starts with 0."""
    indices: UInt32[np.ndarray, " entry"]
    """< width, different within a row."""
    values: Float32[np.ndarray, " entry"]
    width: int

    def norms(self) -> Float32[np.ndarray, "nucleotide 1"]:
        """Length of each vector."""
        sums = np.zeros((len(self.indptr) - 1, 1), np.float32)
        owners = np.repeat(np.arange(len(sums)), np.diff(self.indptr))
        np.add.at(sums[:, 0], owners, self.values**2)
        return np.sqrt(sums)


Vectors = Float[np.ndarray, "nucleotide width"] | SparseVectors
"""Dense (float16 or float32) or sparse; what counts is their scalar product."""


@dataclass(frozen=True, slots=True)
class AlignmentScoring:
    """A scoring of few numbers.

    A pair scores by its letters (0 where one is none of A, C, G, U) plus
    `similarity * <v, w> + offset`, v and w the vectors of the two nucleotides. The
    first nucleotide of a gap costs `gap_open`, each further one `gap_extend`.
    """

    match: float = 1.0
    transition: float = -0.5
    transversion: float = -0.9
    similarity: float = 0.0
    offset: float = 0.0
    gap_open: float = 2.4
    gap_extend: float = 0.45

    @property
    def letters(self) -> Float32[np.ndarray, "5 5"]:
        """Score of each query letter with each target letter, `offset` added.

        The order is A, C, G, U, unknown.
        """
        table = np.full((5, 5), self.transversion, np.float64)
        table[[0, 1, 2, 3], [2, 3, 0, 1]] = self.transition
        table[range(4), range(4)] = self.match
        table[UNKNOWN] = table[:, UNKNOWN] = 0.0
        return (table + self.offset).astype(np.float32)


LETTERS = AlignmentScoring()
VECTORS = AlignmentScoring(0.0, 0.0, 0.0, similarity=2.0, offset=-0.3)
LETTERS_WITH_VECTORS = AlignmentScoring(similarity=2.0, offset=-0.3)


@dataclass(frozen=True, slots=True)
class NucleotideArrays:
    """Sequences one after the other, with a vector for each nucleotide or without.

    Read-only. Sequence i owns nucleotides offsets[i] .. offsets[i + 1] - 1.
    """

    letters: UInt8[np.ndarray, " nucleotide"]
    """0 to 3 for A, C, G, U; UNKNOWN for every other letter."""
    offsets: Int64[np.ndarray, " boundary"]
    vectors: Vectors | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64[np.ndarray, " sequence"]:
        """Nucleotides of each sequence."""
        return np.diff(self.offsets)

    @classmethod
    def of_sequences(
        cls, sequences: Sequence[str], vectors: Vectors | None = None
    ) -> "NucleotideArrays":
        """Returns the arrays of sequences that `normalise` has accepted.

        Raises:
            InvalidRequestError: not one vector for each nucleotide.
        """
        text = "".join(sequences).encode("ascii", "replace")
        offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        if vectors is not None and _n_rows(vectors) != offsets[-1]:
            raise InvalidRequestError(
                "vectors", f"{_n_rows(vectors)}, expected {offsets[-1]} as nucleotides"
            )
        letters = _CODE_OF_BYTE[np.frombuffer(text, dtype=np.uint8)]
        return cls(letters, offsets, vectors)

    def take(self, sequences: Int64[np.ndarray, " chosen"]) -> "NucleotideArrays":
        """Returns the chosen sequences in their order, copied."""
        firsts, lengths = self.offsets[sequences], self.lengths[sequences]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(firsts - offsets[:-1], lengths)
        vectors = None if self.vectors is None else _take(self.vectors, rows)
        return NucleotideArrays(self.letters[rows], offsets, vectors)

    def weighted(self, weight: float) -> "NucleotideArrays":
        """Returns the same with vectors times `weight`, without any if that is 0."""
        vectors = self.vectors
        if weight == 0 or vectors is None:
            vectors = None
        elif isinstance(vectors, SparseVectors):
            vectors = vectors._replace(values=vectors.values * np.float32(weight))
        else:
            vectors = vectors.astype(np.float32) * np.float32(weight)
        return NucleotideArrays(self.letters, self.offsets, vectors)


class LocalScores(NamedTuple):
    """The best local alignment of one query with each target; in their order."""

    scores: Float32[np.ndarray, " target"]
    """>= 0, in units of the scoring."""
    query_stops: Int64[np.ndarray, " target"]
    """Where it ends, exclusive; 0 if the score is 0."""
    target_stops: Int64[np.ndarray, " target"]


def align_locally(
    query: NucleotideArrays, targets: NucleotideArrays, scoring: Scoring
) -> LocalScores:
    """Returns the best score of a query with every target, and where it ends.

    Blocks, without the interpreter lock. Of several alignments that score the same
    it tells the end of one.

    Args:
        query: one sequence, its vectors dense or none.
        targets: vectors as the query's.
        scoring: of letters and gaps.

    Raises:
        InvalidRequestError: vectors are lacking, do not go together or are not
            finite; a gap costs nothing; not one query.
    """
    if len(query) != 1:
        raise InvalidRequestError("query", f"{len(query)} sequences, expected one")
    ours, theirs = dense_pair(query, targets)
    units = WholeScoring.choose(scoring, ours, theirs, _most_pairs(query, targets))
    order = np.argsort(targets.lengths, kind="stable")
    out = np.zeros((3, len(targets)), np.int32)
    align_targets(
        strips_of_vectors(ours, units.queries),
        strips_of_letters(query.letters),
        targets.letters,
        targets.offsets,
        theirs,
        np.float32(units.targets),
        units.letters,
        units.costs,
        order,
        out,
    )
    return _local_scores(out, units)


def local_scores(
    queries: NucleotideArrays,
    targets: NucleotideArrays,
    scorings: Sequence[AlignmentScoring],
) -> Float32[np.ndarray, "scoring query target"]:
    """Returns the best local alignment score of every query with every target.

    Blocks.

    Args:
        queries: with vectors if any scoring has a `similarity`.
        targets: vectors of the same kind and width.
        scorings: one or more.

    Returns:
        >= 0, in the units of the scoring.

    Raises:
        InvalidRequestError: vectors are lacking, or do not go together.
    """
    if any(scoring.similarity for scoring in scorings):
        if queries.vectors is None:
            raise InvalidRequestError("vectors", "none in the queries")
        _check_vectors(queries.vectors, targets.vectors)
    out = np.empty((len(scorings), len(queries), len(targets)), np.float32)
    singles = [queries.take(np.array([query])) for query in range(len(queries))]
    order = np.argsort(targets.lengths, kind="stable")
    for start in range(0, len(order), _TARGETS_A_BLOCK):
        members = order[start : start + _TARGETS_A_BLOCK]
        block = targets.take(members)
        plain, weighed = block.weighted(0), block.weighted(1)
        for i, scoring in enumerate(scorings):
            theirs = weighed if scoring.similarity else plain
            for query, single in enumerate(singles):
                ours = single.weighted(scoring.similarity)
                is_sparse = isinstance(ours.vectors, SparseVectors)
                align = _align_sparse if is_sparse else align_locally
                out[i, query, members] = align(ours, theirs, scoring).scores
    return out


def correct_for_length(
    scores: Float[np.ndarray, "... target"], lengths: Int[np.ndarray, " target"]
) -> Float[np.ndarray, "... target"]:
    """Returns scores over the log of the target's length.

    The score that chance gives grows with the logarithm of the length (Karlin and
    Altschul 1990), so that long targets would win without it.
    """
    corrected: Float[np.ndarray, "... target"]
    corrected = scores / np.log(np.maximum(lengths, 2)).astype(np.float32)
    return corrected


def _local_scores(
    out: Int32[np.ndarray, "three target"], units: WholeScoring
) -> LocalScores:
    is_found = out[0] > 0
    rows, places = (np.where(is_found, x + 1, 0).astype(np.int64) for x in out[1:])
    return LocalScores((out[0] * units.unit).astype(np.float32), rows, places)


def _align_sparse(
    query: NucleotideArrays, targets: NucleotideArrays, scoring: Scoring
) -> LocalScores:
    """Returns what `align_locally` does, for vectors that are sparse."""
    ours, theirs = query.vectors, targets.vectors
    if not (isinstance(ours, SparseVectors) and isinstance(theirs, SparseVectors)):
        raise InvalidRequestError("vectors", f"{_describe(theirs)}, expected sparse")
    units = WholeScoring.choose(
        scoring, ours.norms(), theirs.norms(), _most_pairs(query, targets)
    )
    strips = strips_of_letters(query.letters)
    features, table = _tabulate(ours)
    table *= np.float32(units.queries * units.targets)
    lettered = units.letters[strips.ravel()].T.astype(np.float32)
    slots = np.full(theirs.width, -1, np.int32)
    slots[features] = np.arange(len(features), dtype=np.int32)
    out = np.zeros((3, len(targets)), np.int32)
    best = np.empty((3, LANES), np.int32)
    order = np.argsort(targets.lengths, kind="stable")
    for start in range(0, len(order), LANES):
        members = order[start : start + LANES]
        places = np.arange(targets.lengths[members].max())[:, None]
        rows = np.full((len(places), LANES), -1)
        rows[:, : len(members)] = np.where(
            places < targets.lengths[members], places + targets.offsets[members], -1
        )
        products = np.empty((len(places), strips.size, LANES), np.int32)
        multiply_sparse(
            theirs.indptr,
            theirs.indices,
            theirs.values,
            rows,
            slots,
            table,
            np.ascontiguousarray(lettered),
            targets.letters,
            products,
        )
        align_products(strips, products, units.costs, best)
        out[:, members] = best[:, : len(members)]
    return _local_scores(out, units)


def _most_pairs(query: NucleotideArrays, targets: NucleotideArrays) -> int:
    return min(len(query.letters), int(targets.lengths.max(initial=0)))


def dense_pair(
    query: NucleotideArrays, targets: NucleotideArrays
) -> tuple[Float32[np.ndarray, "nucleotide width"], Float32[np.ndarray, "cell width"]]:
    """Returns the vectors of both in float32, of width 0 if they have none.

    Raises:
        InvalidRequestError: they do not go together, or are sparse.
    """
    _check_vectors(query.vectors, targets.vectors)
    return _dense(query), _dense(targets)


def _dense(arrays: NucleotideArrays) -> Float32[np.ndarray, "nucleotide width"]:
    if arrays.vectors is None:
        return np.empty((len(arrays.letters), 0), np.float32)
    if isinstance(arrays.vectors, SparseVectors):
        raise InvalidRequestError("vectors", "sparse, expected dense")
    return np.ascontiguousarray(arrays.vectors, np.float32)


def _tabulate(
    vectors: SparseVectors,
) -> tuple[Int32[np.ndarray, " slot"], Float32[np.ndarray, "slot nucleotide"]]:
    """Returns the entries in use, and their value in each nucleotide."""
    features, slots = np.unique(vectors.indices, return_inverse=True)
    n_nucleotides = len(vectors.indptr) - 1
    table = np.zeros((len(features), n_nucleotides), np.float32)
    owners = np.repeat(np.arange(n_nucleotides), np.diff(vectors.indptr))
    table[slots, owners] = vectors.values
    return features.astype(np.int32), table


def _check_vectors(ours: Vectors | None, theirs: Vectors | None) -> None:
    kinds = _describe(ours), _describe(theirs)
    if kinds[0] != kinds[1]:
        raise InvalidRequestError(
            "vectors", f"{kinds[0]} in the queries, {kinds[1]} in the targets"
        )


def _describe(vectors: Vectors | None) -> str:
    if vectors is None:
        return "none"
    if isinstance(vectors, SparseVectors):
        return f"sparse of width {vectors.width}"
    return f"dense of width {vectors.shape[1]}"


def _take(vectors: Vectors, rows: Int64[np.ndarray, " chosen"]) -> Vectors:
    if not isinstance(vectors, SparseVectors):
        dense: Float[np.ndarray, "nucleotide width"] = vectors[rows]
        return dense
    counts = np.diff(vectors.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    shifts = np.repeat(vectors.indptr[rows] - indptr[:-1], counts)
    entries = np.arange(indptr[-1]) + shifts
    return SparseVectors(
        indptr, vectors.indices[entries], vectors.values[entries], vectors.width
    )


def _n_rows(vectors: Vectors) -> int:
    if isinstance(vectors, SparseVectors):
        return len(vectors.indptr) - 1
    return len(vectors)
