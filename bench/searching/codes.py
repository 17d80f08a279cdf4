"""Codes of a whole database, and rankings by them: pooled, or aligned as they are.

A random model of the same size stands beside the trained one, with a dictionary that
was fitted on it in the same way: what it finds, sparse codes of letters in a window
find, and no learning is in it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numba import njit
from scipy import sparse

from ribolex.dictionary import Codes, Dictionary, Sae, keep_strongest
from ribolex.lm import LanguageModel
from ribolex.rna.local_alignment import NucleotideArrays, SparseVectors
from ribolex.server.index.measure import SearchMeasure
from ribolex.trainer.fit import FitPlan, fit
from ribolex.trainer.pretraining.rankings import by_alignment
from ribolex.trainer.rows import ArrayRows
from searching.cases import Setting
from searching.letters import parts
from searching.ranking import Ranking

Likeness = Literal["cosine", "weighted Jaccard", "containment"]

_RNAS_A_PART = 512
_VALUES_ALIGNED = 8
_FIT_NUCLEOTIDES = 400_000
_FIT_ROWS = 2_000_000


class Reader(NamedTuple):
    """What turns activations of a layer into codes."""

    name: str
    layer: int
    sae: Sae
    idf: np.ndarray | None
    """None to count it in the database."""

    @classmethod
    def of_dictionary(cls, dictionary: Dictionary) -> "Reader":
        """Returns a dictionary's own."""
        identity = dictionary.identity
        if identity.hook != "normed":
            raise SystemExit(f"{dictionary.ref} reads {identity.hook} activations")
        idf = dictionary.features.idf
        return cls(dictionary.name, identity.layer, dictionary.sae, idf)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The codes of all RNAs of a database."""

    codes: Codes
    offsets: np.ndarray
    """[RNA + 1], the first row of each in `codes`."""
    idf: np.ndarray

    def __iter__(self) -> Iterator[Codes]:
        return map(self.of, range(len(self.offsets) - 1))

    def of(self, rna: int) -> Codes:
        """Returns the codes of one RNA."""
        return self.codes.slice(int(self.offsets[rna]), int(self.offsets[rna + 1]))

    def write(self, folder: Path, name: str) -> None:
        """Writes it as one file."""
        np.savez(
            _path(folder, name),
            indptr=self.codes.indptr,
            indices=self.codes.indices.astype(np.uint16),
            values=self.codes.values.astype(np.float16),
            offsets=self.offsets,
            idf=self.idf,
        )

    @classmethod
    def read(cls, folder: Path, name: str) -> "Encoded":
        """Returns what `write` wrote: values have lost their last bits."""
        with np.load(_path(folder, name)) as file:
            idf = file["idf"]
            codes = Codes(
                file["indptr"],
                file["indices"].astype(np.uint32),
                file["values"].astype(np.float32),
                len(idf),
            )
            return cls(codes, file["offsets"], idf)


def encode(
    lm: LanguageModel, readers: Sequence[Reader], database: Sequence[str], folder: Path
) -> float:
    """Writes the codes of every reader, and the means of the last layer, to files.

    Returns the processor time that models and dictionaries took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    layers = sorted({lm.config.n_layers, *(reader.layer for reader in readers)})
    found: list[list[Codes]] = [[] for _ in readers]
    means = []
    seconds = 0.0
    for start in range(0, len(database), _RNAS_A_PART):
        began = time.process_time()
        part = lm.activations(database[start : start + _RNAS_A_PART], layers)
        means += [own[layers[-1]].mean(axis=0) for own in part]
        for reader, codes in zip(readers, found, strict=True):
            rows = np.concatenate([own[reader.layer] for own in part])
            top = reader.sae.encode(torch.from_numpy(rows))
            codes.append(
                Codes.from_topk(
                    top.indices.numpy(), top.values.numpy(), reader.sae.n_features
                )
            )
        seconds += time.process_time() - began
        print(f"  {lm.name}: {start + len(part)} of {len(database)}", flush=True)
    offsets = np.cumsum([0, *map(len, database)])
    for reader, codes in zip(readers, found, strict=True):
        whole = Codes.concatenate(codes)
        idf = _count_idf(whole, offsets) if reader.idf is None else reader.idf
        Encoded(whole, offsets, idf).write(folder, reader.name)
    np.save(_means_path(folder, lm.name), np.array(means, np.float32))
    return seconds


def is_encoded(folder: Path, name: str) -> bool:
    """Returns whether the codes of a reader are there."""
    return _path(folder, name).exists()


def fit_reader(
    lm: LanguageModel, name: str, like: Reader, training: Sequence[str]
) -> Reader:
    """Returns a dictionary fitted on a model as the bundled ones were on theirs."""
    order = np.random.default_rng(0).permutation(len(training))
    ends = np.cumsum([len(training[i]) for i in order])
    chosen = [training[i] for i in order[: np.searchsorted(ends, _FIT_NUCLEOTIDES)]]
    rows = [
        own[like.layer].astype(np.float16)
        for own in lm.activations(chosen, [like.layer])
    ]
    plan = FitPlan(like.sae.n_features, like.sae.k, _FIT_ROWS)
    fitted = fit(ArrayRows([np.concatenate(rows)]), plan, lambda progress: None)
    return Reader(name, like.layer, fitted.sae, None)


def dense_means(setting: Setting, folder: Path, lm_name: str) -> Ranking:
    """Returns the cosine of mean activations, less their mean over the database."""
    means = np.load(_means_path(folder, lm_name))
    means -= means.mean(axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    began = time.process_time()
    rows = means[setting.cases.queries] @ means.T
    return Ranking.of_scores(rows, time.process_time() - began)


def aligned(setting: Setting, folder: Path, name: str) -> dict[str, Ranking]:
    """Returns full alignment of codes, alone and with letters, weights guessed.

    Named `name, aligned` and `name and letters, aligned`. The eight strongest values
    of each nucleotide, times the idf, scaled to length 1.
    """
    encoded = Encoded.read(folder, name)
    codes = keep_strongest(encoded.codes, _VALUES_ALIGNED)
    rows = codes.rows_of_entries()
    values = codes.values * encoded.idf[codes.indices]
    norms = np.sqrt(np.bincount(rows, values**2, len(codes)))
    values /= np.maximum(norms, 1e-12)[rows].astype(np.float32)
    vectors = SparseVectors(codes.indptr, codes.indices, values, codes.n_features)
    arrays = NucleotideArrays.of_sequences(setting.cases.database, vectors)
    rank_part = by_alignment(arrays, name)
    found: dict[str, list[np.ndarray]] = {}
    began = time.process_time()
    for part in parts(setting.cases.queries):
        for method, scores in rank_part(part).items():
            found.setdefault(method, []).extend(scores)
    seconds = time.process_time() - began
    return {method: Ranking.of_scores(x, seconds) for method, x in found.items()}


def pooled(
    setting: Setting, encoded: Encoded, measure: SearchMeasure, likeness: Likeness
) -> Ranking:
    """Returns the ranking by pooled codes, compared exactly."""
    weighed = [measure.weigh(measure.pool(codes), encoded.idf) for codes in encoded]
    indptr = np.cumsum([0, *(len(row.features) for row in weighed)])
    matrix = sparse.csr_array(
        (
            np.concatenate([row.weights for row in weighed]),
            np.concatenate([row.features for row in weighed]).astype(np.int64),
            indptr,
        ),
        shape=(len(weighed), len(encoded.idf)),
    )
    queries = setting.cases.queries
    began = time.process_time()
    if likeness == "cosine":
        rows = (matrix @ matrix[queries].T.toarray()).T
    else:
        rows = _shares(matrix, queries, likeness)
    return Ranking.of_scores(rows, time.process_time() - began)


def _shares(
    matrix: sparse.csr_array, queries: np.ndarray, likeness: Likeness
) -> np.ndarray:
    """Returns the smaller weights' sum over the larger ones', or the query's own."""
    dense = matrix[queries].toarray()
    least = sum_least(matrix.indptr, matrix.indices, matrix.data, dense)
    own = dense.sum(axis=1)[:, None]
    if likeness == "containment":
        return least / np.maximum(own, 1e-12)
    return least / np.maximum(own + matrix.sum(axis=1)[None] - least, 1e-12)


@njit(nogil=True, error_model="numpy")
def sum_least(indptr, indices, values, dense):  # type: ignore[no-untyped-def]
    """Returns for each query and RNA the sum of the smaller weight of each feature."""
    out = np.zeros((len(dense), len(indptr) - 1), np.float32)
    for query in range(len(dense)):
        for rna in range(len(indptr) - 1):
            total = np.float32(0)
            for entry in range(indptr[rna], indptr[rna + 1]):
                ours, theirs = dense[query, indices[entry]], values[entry]
                total += ours if ours < theirs else theirs
            out[query, rna] = total
    return out


def _count_idf(codes: Codes, offsets: np.ndarray) -> np.ndarray:
    rnas = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    pairs = np.unique(rnas[codes.rows_of_entries()] * codes.n_features + codes.indices)
    holding = np.bincount(pairs % codes.n_features, minlength=codes.n_features)
    return np.log(len(offsets) / (1 + holding)).astype(np.float32)


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.npz"


def _means_path(folder: Path, lm_name: str) -> Path:
    return folder / f"means of {lm_name}.npy"
