"""Where every feature fires on the training RNAs, counted in one pass.

Knows nothing of statistics.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64
from scipy import sparse

from ribolex.dictionary import Codes, Sae
from ribolex.rna.elements import ELEMENTS
from ribolex.trainer.activations import Activations, Progress
from ribolex.trainer.labels import LETTERS, UNKNOWN, Labels

_ROWS_A_PART = 16_384


class Peaks(NamedTuple):
    """For every RNA and feature that fires in it, the strongest firing."""

    rnas: Int32[np.ndarray, " peak"]
    features: Int32[np.ndarray, " peak"]
    values: Float32[np.ndarray, " peak"]
    rows: Int64[np.ndarray, " peak"]
    """The row of the activations; the first of equal ones."""


@dataclass(frozen=True, slots=True)
class Firings:
    """Counts of firings by feature, and all peaks."""

    n_firings: Int64[np.ndarray, " n_features"]
    sum_of_values: Float64[np.ndarray, " n_features"]
    by_letter: Int64[np.ndarray, "n_features letter"]
    by_element: Int64[np.ndarray, "n_features element"]
    """Over RNAs with a structure."""
    peaks: Peaks

    def presence(self, n_rnas: int) -> sparse.csr_array:
        """Returns the [rna, feature] matrix with a 1 where a feature fires."""
        ones = np.ones(len(self.peaks.rnas), np.int32)
        places = self.peaks.rnas, self.peaks.features
        return sparse.csr_array((ones, places), shape=(n_rnas, len(self.n_firings)))


def count_firings(
    sae: Sae, activations: Activations, labels: Labels, progress: Progress
) -> Firings:
    """Returns where features fire on the cached activations.

    Args:
        sae: as exported: standardisation folded in.
        activations: of the training RNAs.
        labels: of the same RNAs.
        progress: is told about RNAs.
    """
    width = sae.n_features
    n_firings = np.zeros(width, np.int64)
    sums = np.zeros(width)
    by_letter = np.zeros((width, len(LETTERS)), np.int64)
    by_element = np.zeros((width, len(ELEMENTS)), np.int64)
    peaks = []
    n_rnas = len(activations.offsets) - 1
    for group in _groups(activations):
        rows = slice(
            activations.of_rna(group.start).start,
            activations.of_rna(group.stop - 1).stop,
        )
        codes = encode_rows(sae, activations, rows)
        owners = codes.rows_of_entries() + rows.start
        features = codes.indices.astype(np.int64)
        n_firings += np.bincount(features, minlength=width)
        sums += np.bincount(features, codes.values, minlength=width)
        _add(by_letter, features, labels.letters[owners])
        _add(by_element, features, labels.elements[owners])
        peaks.append(_peaks(activations.rnas[owners], features, codes.values, owners))
        progress(group.stop, n_rnas)
    joined = Peaks(*(np.concatenate(column) for column in zip(*peaks, strict=True)))
    return Firings(n_firings, sums, by_letter, by_element, joined)


def encode_rows(sae: Sae, activations: Activations, rows: slice) -> Codes:
    """Returns the codes of some rows."""
    found = sae.encode(torch.from_numpy(activations.rows[rows].astype(np.float32)))
    return Codes.from_topk(found.indices.numpy(), found.values.numpy(), sae.n_features)


def _add(
    counts: Int64[np.ndarray, "n_features label"],
    features: Int64[np.ndarray, " entry"],
    labels: np.ndarray,
) -> None:
    known = labels != UNKNOWN
    n_labels = counts.shape[1]
    keys = features[known] * n_labels + labels[known]
    counts += np.bincount(keys, minlength=counts.size).reshape(counts.shape)


def _peaks(
    rnas: Int32[np.ndarray, " entry"],
    features: Int64[np.ndarray, " entry"],
    values: Float32[np.ndarray, " entry"],
    rows: Int64[np.ndarray, " entry"],
) -> Peaks:
    order = np.lexsort((rows, -values, features, rnas))
    rnas, features = rnas[order], features[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (rnas[1:] != rnas[:-1]) | (features[1:] != features[:-1])
    first = order[is_first]
    return Peaks(
        rnas[is_first], features[is_first].astype(np.int32), values[first], rows[first]
    )


def _groups(activations: Activations) -> Iterator[range]:
    """Yields neighbouring RNAs of about so many rows together."""
    start, n_rnas = 0, len(activations.offsets) - 1
    while start < n_rnas:
        limit = activations.offsets[start] + _ROWS_A_PART
        stop = int(np.searchsorted(activations.offsets, limit, "right")) - 1
        stop = min(max(stop, start + 1), n_rnas)
        yield range(start, stop)
        start = stop
