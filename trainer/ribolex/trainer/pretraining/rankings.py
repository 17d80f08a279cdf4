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
from ribolex.errors import IncompatibleDictionaryError
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
    """The directions in which a model's representation varies most."""

    mean: Float32[np.ndarray, " d_model"]
    directions: Float32[np.ndarray, "d_model width"]
    """Orthonormal columns."""


def fit_projection(
    lm: LanguageModel, training: Sequence[str], width: int
) -> Projection:
    """Returns the principal components of the representation of training RNAs."""
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
    _, vectors = np.linalg.eigh(squares / n - np.outer(mean, mean))
    directions = np.ascontiguousarray(vectors[:, ::-1][:, :width])
    return Projection(mean.astype(np.float32), directions.astype(np.float32))


class Representation(NamedTuple):
    """What a model makes of a database."""

    arrays: NucleotideArrays
    """Vectors: centred, projected, of length 1, float16."""
    means: Float32[np.ndarray, "rna d_model"]
    """Mean over an RNA's nucleotides, centred, of length 1."""


def represent(
    lm: LanguageModel,
    database: Sequence[str],
    projection: Projection,
    note: Note | None = None,
) -> Representation:
    """Returns the last layer's representation of every RNA of the database."""
    layer = lm.config.n_layers
    n_nucleotides = sum(map(len, database))
    vectors = np.empty((n_nucleotides, projection.directions.shape[1]), np.float16)
    means = np.empty((len(database), lm.config.d_model), np.float32)
    at = 0
    for start in range(0, len(database), _RNAS_A_PART):
        part = lm.activations(database[start : start + _RNAS_A_PART], [layer])
        for rna, layers in enumerate(part, start):
            centred = layers[layer] - projection.mean
            means[rna] = centred.mean(axis=0)
            vectors[at : at + len(centred)] = _unit(centred @ projection.directions)
            at += len(centred)
        if note is not None:
            note(start + len(part), len(database))
    return Representation(
        NucleotideArrays.of_sequences(database, vectors), _unit(means)
    )


def by_representation(representation: Representation) -> Ranker:
    """Returns local alignment of the representation, alone and with letters; means.

    Alignment scores are evened out for length.
    """
    arrays, means = representation

    def rank(
        queries: Int64[np.ndarray, " query"],
    ) -> dict[str, Float32[np.ndarray, "query rna"]]:
        scores = local_scores(
            arrays.take(queries), arrays, [VECTORS, LETTERS_WITH_VECTORS]
        )
        alone, with_letters = correct_for_length(scores, arrays.lengths)
        return {
            "representation, aligned": alone,
            "representation and letters, aligned": with_letters,
            "representation, mean over the RNA, cosine": means[queries] @ means.T,
        }

    return rank


def encode(
    lm: LanguageModel,
    dictionary: Dictionary,
    database: Sequence[str],
    note: Note | None = None,
) -> NucleotideArrays:
    """Returns the database with the code of each nucleotide as its vector.

    The eight strongest values, times the features' idf, scaled to length 1.

    Raises:
        IncompatibleDictionaryError: the dictionary was made for another model.
    """
    identity = dictionary.identity
    if identity.lm_digest != lm.digest:
        raise IncompatibleDictionaryError(
            dictionary.ref, "lm_digest", identity.lm_digest, lm.digest
        )
    indices, values = [], []
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


def by_codes(arrays: NucleotideArrays) -> Ranker:
    """Returns local alignment of codes, alone and with letters, evened for length."""

    def rank(
        queries: Int64[np.ndarray, " query"],
    ) -> dict[str, Float32[np.ndarray, "query rna"]]:
        scores = local_scores(
            arrays.take(queries), arrays, [VECTORS, LETTERS_WITH_VECTORS]
        )
        alone, with_letters = correct_for_length(scores, arrays.lengths)
        return {"codes, aligned": alone, "codes and letters, aligned": with_letters}

    return rank


def _unit(rows: Float[np.ndarray, "row width"]) -> Float32[np.ndarray, "row width"]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return cast(np.ndarray, (rows / np.maximum(norms, 1e-12)).astype(np.float32))
