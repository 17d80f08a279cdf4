"""Local alignment scores of RNAs, by their letters and by vectors of nucleotides.

Smith-Waterman with affine gaps (Gotoh 1982), scores only. Many targets are aligned
at once, one a lane (Rognes 2011), so that the compiler can use wide registers. A
vector stands for a nucleotide in any way the caller likes, dense or sparse. Knows
nothing of models or dictionaries, of how good a score is, or of where in the RNAs it
was reached.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Int64, UInt8, UInt32

from ribolex.errors import InvalidRequestError
from ribolex.rna.kernels import LANES, align_lanes, multiply_sparse

UNKNOWN = 4
_PADDING = 5
_FORBIDDEN = -1e4
"""Score of a pair with padding: less than any alignment can make good."""
_CODE_OF_BYTE = np.full(256, UNKNOWN, dtype=np.uint8)
_CODE_OF_BYTE[np.frombuffer(b"ACGUT", dtype=np.uint8)] = [0, 1, 2, 3, 3]


class SparseVectors(NamedTuple):
    """A sparse vector for every nucleotide: compressed sparse rows, read-only."""

    indptr: Int64[np.ndarray, " boundary"]
    """[nucleotide + 1], starts with 0."""
    indices: UInt32[np.ndarray, " entry"]
    """< width, different within a row."""
    values: Float32[np.ndarray, " entry"]
    width: int


Vectors = Float[np.ndarray, "nucleotide width"] | SparseVectors
"""Dense (float16 or float32) or sparse; what counts is their scalar product."""


@dataclass(frozen=True, slots=True)
class AlignmentScoring:
    """What a pair of nucleotides is worth, and what a gap costs.

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

    def letter_scores(self) -> Float32[np.ndarray, "5 6"]:
        """Returns the score of each query letter against each target letter.

        The order is A, C, G, U, unknown, and for targets padding.
        """
        table = np.full((5, 6), self.transversion, np.float64)
        table[[0, 1, 2, 3], [2, 3, 0, 1]] = self.transition
        table[range(4), range(4)] = self.match
        table[UNKNOWN] = table[:, UNKNOWN] = 0.0
        table += self.offset
        table[:, _PADDING] = _FORBIDDEN
        return table.astype(np.float32)


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


def local_scores(
    queries: NucleotideArrays,
    targets: NucleotideArrays,
    scorings: Sequence[AlignmentScoring],
) -> Float32[np.ndarray, "scoring query target"]:
    """Returns the best local alignment score of every query with every target.

    Blocks. Several scorings share the scalar products, which cost most where vectors
    are dense.

    Args:
        queries: with vectors if any scoring has a `similarity`.
        targets: vectors of the same kind and width.
        scorings: one or more.

    Returns:
        >= 0, in the units of the scoring.

    Raises:
        InvalidRequestError: vectors are lacking, or do not go together.
    """
    uses_vectors = any(scoring.similarity for scoring in scorings)
    tables = [scoring.letter_scores() for scoring in scorings]
    out = np.empty((len(scorings), len(queries), len(targets)), np.float32)
    none = np.empty((0, 0), np.float32)
    scratch = none.ravel()
    if uses_vectors:
        _check_vectors(queries.vectors, targets.vectors)
        longest = int(queries.lengths.max(initial=0) * targets.lengths.max(initial=0))
        scratch = np.empty(longest * LANES, np.float32)
    for block in _blocks(targets):
        lettered = [np.take(table, block.letters, axis=1) for table in tables]
        products: Iterator[Float32[np.ndarray, "query_nucleotide cell"]] = iter(())
        if uses_vectors:
            products = _products(queries, targets, block.rows, scratch)
        for query, letters in enumerate(_split(queries)):
            product = next(products, none)
            for i, scoring in enumerate(scorings):
                best = align_lanes(
                    letters,
                    lettered[i],
                    product if scoring.similarity else none,
                    np.float32(scoring.similarity),
                    np.float32(scoring.gap_open),
                    np.float32(scoring.gap_extend),
                )
                out[i, query, block.members] = best[: len(block.members)]
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


class _Block(NamedTuple):
    """Targets of similar length, one a lane; position-major, LANES to a position."""

    members: Int64[np.ndarray, " target"]
    rows: Int64[np.ndarray, " cell"]
    """Nucleotide in `targets`, -1 for padding."""
    letters: UInt8[np.ndarray, " cell"]


def _blocks(targets: NucleotideArrays) -> Iterator[_Block]:
    order = np.argsort(targets.lengths, kind="stable")
    for start in range(0, len(order), LANES):
        members = order[start : start + LANES]
        lengths = np.zeros(LANES, np.int64)
        lengths[: len(members)] = targets.lengths[members]
        firsts = np.zeros(LANES, np.int64)
        firsts[: len(members)] = targets.offsets[members]
        places = np.arange(lengths.max(initial=0))[:, None]
        rows = np.where(places < lengths, places + firsts, -1).ravel()
        letters = np.where(rows >= 0, targets.letters[rows], np.uint8(_PADDING))
        yield _Block(members, rows, letters)


def _split(queries: NucleotideArrays) -> Iterator[UInt8[np.ndarray, " nucleotide"]]:
    for start, stop in zip(queries.offsets[:-1], queries.offsets[1:], strict=True):
        yield queries.letters[start:stop]


def _products(
    queries: NucleotideArrays,
    targets: NucleotideArrays,
    rows: Int64[np.ndarray, " cell"],
    scratch: Float32[np.ndarray, " room"],
) -> Iterator[Float32[np.ndarray, "query_nucleotide cell"]]:
    """Yields the scalar products of each query's vectors with those of a block.

    They lie in `scratch` and last until the next ones. Padding gets those of some
    other nucleotide or 0: its letter forbids it anyway.
    """
    ours, theirs = queries.vectors, targets.vectors
    spans = list(zip(queries.offsets[:-1], queries.offsets[1:], strict=True))
    rooms = [
        scratch[: (stop - start) * len(rows)].reshape(-1, len(rows))
        for start, stop in spans
    ]
    if isinstance(ours, SparseVectors) and isinstance(theirs, SparseVectors):
        slots = np.full(theirs.width, -1, np.int32)
        for (start, stop), room in zip(spans, rooms, strict=True):
            features, table = _tabulate(ours, start, stop)
            slots[features] = np.arange(len(features), dtype=np.int32)
            multiply_sparse(
                theirs.indptr, theirs.indices, theirs.values, rows, slots, table, room
            )
            slots[features] = -1
            yield room
    elif isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        block = theirs[rows].astype(np.float32).T
        for (start, stop), room in zip(spans, rooms, strict=True):
            yield np.matmul(ours[start:stop].astype(np.float32), block, out=room)


def _tabulate(
    vectors: SparseVectors, start: int, stop: int
) -> tuple[Int32[np.ndarray, " slot"], Float32[np.ndarray, "slot nucleotide"]]:
    """Returns the entries in use between two nucleotides, and their values."""
    bounds = vectors.indptr[start : stop + 1]
    entries = slice(bounds[0], bounds[-1])
    features, slots = np.unique(vectors.indices[entries], return_inverse=True)
    table = np.zeros((len(features), stop - start), np.float32)
    owners = np.repeat(np.arange(stop - start), np.diff(bounds))
    table[slots, owners] = vectors.values[entries]
    return features.astype(np.int32), table


def _check_vectors(ours: Vectors | None, theirs: Vectors | None) -> None:
    kinds = _describe(ours), _describe(theirs)
    if ours is None or kinds[0] != kinds[1]:
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
