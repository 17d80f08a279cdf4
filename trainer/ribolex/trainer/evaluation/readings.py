"""What probes may read of a sample: codes, neurons or principal components.

Knows nothing of labels.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from ribolex.dictionary import Codes, Sae
from ribolex.trainer.annotation.firings import encode_rows
from ribolex.trainer.evaluation.probing import Features
from ribolex.trainer.evaluation.reconstruction import Subspace
from ribolex.trainer.evaluation.sample import Sample, means


class Reading(NamedTuple):
    """One representation of a sample."""

    rows: Features
    """[row, feature]."""
    rnas: Features
    """[rna, feature]: the largest value of a code, the mean of anything dense."""


Read = Callable[[Sample], Reading]


def read_codes(sae: Sae) -> Read:
    """Returns what reads the codes that an autoencoder gives."""

    def read(sample: Sample) -> Reading:
        codes = encode_rows(sae, sample.read, slice(0, len(sample.read)))
        shape = len(codes), codes.n_features
        parts = codes.values, codes.indices.astype(np.int64), codes.indptr
        return Reading(sparse.csr_array(parts, shape=shape), _largest(codes, sample))

    return read


def read_neurons(sample: Sample) -> Reading:
    """Returns the activations as they are."""
    rows = sample.read.rows[:].astype(np.float32)
    return Reading(rows, means(rows, sample.read.offsets))


def read_components(subspace: Subspace) -> Read:
    """Returns what reads the coordinates along principal components."""

    def read(sample: Sample) -> Reading:
        x = torch.from_numpy(sample.read.rows[:].astype(np.float32))
        rows = ((x - subspace.mean) @ subspace.directions.T).numpy()
        return Reading(rows, means(rows, sample.read.offsets))

    return read


def _largest(codes: Codes, sample: Sample) -> sparse.csr_array:
    """Returns each RNA's largest value of every feature."""
    width = codes.n_features
    owners = sample.read.rnas[codes.rows_of_entries()].astype(np.int64)
    keys = owners * width + codes.indices
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], codes.values[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    largest = np.maximum.reduceat(values, starts) if len(starts) else values
    places = np.divmod(keys[starts], width)
    return sparse.csr_array((largest, places), shape=(len(sample.rnas), width))
