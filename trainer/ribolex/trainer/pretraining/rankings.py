"""The ways of ranking a database by likeness to a query that are compared.

Letters and words of letters, which need no model, and a model's representation:
aligned nucleotide by nucleotide, as it is or as sparse codes, or averaged over an RNA.
Knows nothing of which hits are right.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy import sparse

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel
from ribolex.rna.local_alignment import (
    LETTERS,
    LETTERS_WITH_VECTORS,
    UNKNOWN,
    VECTORS,
    NucleotideArrays,
    SparseVectors,
    correct_for_length,
    local_scores,
)
from ribolex.trainer.pretraining.retrieval import Ranker

_RNAS_A_PART = 512
_VALUES_A_NUCLEOTIDE = 8
_SMALLEST_VARIANCE = 1e-6

Note = Callable[[int, int], None]


def by_letters(database: Sequence[str]) -> Ranker:
    """Returns Smith-Waterman on letters, as it comes and evened out for length."""
    arrays = NucleotideArrays.of_sequences(database)

    def rank(
        queries: Int64[np.ndarray, " query"],
    ) -> dict[str, Float32[np.ndarray, "query rna"]]:
        (scores,) = local_scores(arrays.take(queries), arrays, [LETTERS])
        return {
            "letters, Smith-Waterman": scores,
            "letters, Smith-Waterman / log length": correct_for_length(
                scores, arrays.lengths
            ),
        }

    return rank


def by_words(database: Sequence[str], k: int) -> Ranker:
    """Returns the cosine of counts of words of `k` letters, weighted by their idf."""
    arrays = NucleotideArrays.of_sequences(database)
    words = np.zeros(len(arrays.letters) - k + 1, np.int64)
    is_whole = np.ones(len(words), bool)
    rnas = np.repeat(np.arange(len(arrays)), arrays.lengths)
    for shift in range(k):
        letters = arrays.letters[shift : shift + len(words)].astype(np.int64)
        words = words * 4 + letters
        is_whole &= letters != UNKNOWN
    is_whole &= rnas[: len(words)] == rnas[k - 1 :]
    owners = rnas[: len(words)][is_whole]
    shape = len(arrays), 4**k
    ones = np.ones(len(owners), np.float32)
    counts = sparse.csr_array((ones, (owners, words[is_whole])), shape=shape)
    counts.sum_duplicates()
    n_holding = np.bincount(counts.indices, minlength=4**k)
    counts.data *= np.log((1 + len(arrays)) / (1 + n_holding))[counts.indices]
    norms = np.sqrt(counts.multiply(counts).sum(axis=1))
    counts.data /= np.repeat(np.maximum(norms, 1e-12), np.diff(counts.indptr))

    def rank(
        queries: Int64[np.ndarray, " query"],
    ) -> dict[str, Float32[np.ndarray, "query rna"]]:
        products = (counts[queries] @ counts.T).toarray()
        return {f"{k}-mers, tf-idf cosine": products.astype(np.float32)}

    return rank


class Projection(NamedTuple):
    """Directions that a model's representation is projected on."""

    mean: Float32[np.ndarray, " d_model"]
    directions: Float32[np.ndarray, "d_model width"]
    """Orthogonal columns."""


def fit_projections(
    lm: LanguageModel, training: Sequence[str], width: int, plain_width: int
) -> tuple[Projection, Projection]:
    """Returns the principal components of the representation of training RNAs.

    Whitened ones first (each of variance 1), then fewer as they are. Whitening lets
    directions that vary little count as much as those that vary most, which
    tell little more than the letter.
    """
    layer = lm.config.n_layers
    total, n = np.zeros(lm.config.d_model), 0
    squares = np.zeros((lm.config.d_model, lm.config.d_model))
    for start in range(0, len(training), _RNAS_A_PART):
        part = lm.activations(training[start : start + _RNAS_A_PART], [layer])
        rows = np.concatenate([layers[layer] for layers in part]).astype(np.float64)
        total += rows.sum(axis=0)
        squares += rows.T @ rows
        n += len(rows)
    mean = total / n
    variances, vectors = np.linalg.eigh(squares / n - np.outer(mean, mean))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    floor = _SMALLEST_VARIANCE * variances[0]
    whitened = vectors / np.sqrt(np.maximum(variances, floor))
    kept = whitened[:, :width], vectors[:, :plain_width]
    white, plain = (
        Projection(mean.astype(np.float32), np.ascontiguousarray(x).astype(np.float32))
        for x in kept
    )
    return white, plain


class Representation(NamedTuple):
    """What a model makes of a database."""

    arrays: Sequence[NucleotideArrays]
    """One for each projection; vectors centred, projected, of length 1, float16."""
    means: Float32[np.ndarray, "rna d_model"]
    """Mean over an RNA's nucleotides, centred, of length 1."""


def represent(
    lm: LanguageModel,
    database: Sequence[str],
    projections: Sequence[Projection],
    note: Note | None = None,
) -> Representation:
    """Returns the last layer's representation of every RNA of the database.

    Args:
        lm: the model.
        database: RNAs.
        projections: one or more of this model.
        note: told how many of how many RNAs are done.
    """
    layer = lm.config.n_layers
    n_nucleotides = sum(map(len, database))
    vectors = [
        np.empty((n_nucleotides, projection.directions.shape[1]), np.float16)
        for projection in projections
    ]
    means = np.empty((len(database), lm.config.d_model), np.float32)
    at = 0
    for start in range(0, len(database), _RNAS_A_PART):
        part = lm.activations(database[start : start + _RNAS_A_PART], [layer])
        for rna, layers in enumerate(part, start):
            centred = layers[layer] - projections[0].mean
            means[rna] = centred.mean(axis=0)
            for own, projection in zip(vectors, projections, strict=True):
                projected = _unit(centred @ projection.directions)
                own[at : at + len(centred)] = projected
            at += len(centred)
        if note is not None:
            note(start + len(part), len(database))
    arrays = [NucleotideArrays.of_sequences(database, own) for own in vectors]
    return Representation(arrays, _unit(means))


def by_alignment(arrays: NucleotideArrays, name: str) -> Ranker:
    """Returns local alignment of vectors, alone and with letters.

    Scores are evened out for length.
    """

    def rank(
        queries: Int64[np.ndarray, " query"],
    ) -> dict[str, Float32[np.ndarray, "query rna"]]:
        scores = local_scores(
            arrays.take(queries), arrays, [VECTORS, LETTERS_WITH_VECTORS]
        )
        alone, with_letters = correct_for_length(scores, arrays.lengths)
        return {f"{name}, aligned": alone, f"{name} and letters, aligned": with_letters}

    return rank


def by_means(means: Float32[np.ndarray, "rna d_model"], name: str) -> Ranker:
    """Returns the cosine of RNAs' mean vectors, which have length 1."""

    def rank(
        queries: Int64[np.ndarray, " query"],
    ) -> dict[str, Float32[np.ndarray, "query rna"]]:
        return {f"{name}, mean over the RNA, cosine": means[queries] @ means.T}

    return rank


def encode(
    lm: LanguageModel,
    dictionary: Dictionary,
    database: Sequence[str],
    note: Note | None = None,
) -> NucleotideArrays:
    """Returns the database with the code of each nucleotide as its vector.

    The eight strongest values, times the features' idf, scaled to length 1. The
    dictionary is of this model.
    """
    indices, values = [], []
    identity = dictionary.identity
    layer = identity.layer
    for start in range(0, len(database), _RNAS_A_PART):
        part = lm.activations(
            database[start : start + _RNAS_A_PART], [layer], identity.hook
        )
        rows = np.concatenate([layers[layer] for layers in part])
        k = min(_VALUES_A_NUCLEOTIDE, dictionary.sae.k)
        codes = dictionary.sae.encode(torch.from_numpy(rows), k)
        features = codes.indices.numpy()
        indices.append(features.astype(np.uint32))
        values.append(_unit(codes.values.numpy() * dictionary.features.idf[features]))
        if note is not None:
            note(start + len(part), len(database))
    flat = np.concatenate(indices)
    indptr = np.arange(len(flat) + 1, dtype=np.int64) * flat.shape[1]
    vectors = SparseVectors(
        indptr, flat.ravel(), np.concatenate(values).ravel(), dictionary.sae.n_features
    )
    return NucleotideArrays.of_sequences(database, vectors)


def _unit(rows: Float[np.ndarray, "row width"]) -> Float32[np.ndarray, "row width"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return cast(np.ndarray, (rows / np.maximum(norms, 1e-12)).astype(np.float32))
