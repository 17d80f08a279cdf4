"""Sketches of codes: 128 signs each, from which it is guessed who is near.

A code is turned into the axes along which the codes of a collection differ most, the
directions mixed at random, and the sign of each coordinate is kept (as in RaBitQ, Gao
& Long 2024). Where a query lies along the same axes is kept in 3 bits: a sign that is
not the query's counts the more the farther the query is from 0. Knows weights only;
nothing of ids.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Float64, UInt64

from ribolex.server.index.forward import WeightedCode
from ribolex.server.index.pooled_kernels import ask_signs
from ribolex.server.index.pooled_lanes import N_ASKED

N_WORDS = 2
"""The compiled loops count on it. More of them tell little more (docs/benchmarks.md):
who is near along few axes is sought among what the sketches leave."""

N_SIGNS = 64 * N_WORDS

_EVENED = 0.25
"""Axes are divided by their variance to this power, so that few of them do not decide
alone: 0 finds fewer of the nearest."""

_MORE_AXES = 32
"""Looked at beside those that are kept: it makes these exacter."""

_STEP = 0.73
"""Between levels of a query, in mean sizes of a coordinate: with 8 levels the least is
lost of coordinates that are normal (Max 1960)."""

_SEED = 20_001


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """What sketches are made with."""

    stored: Float16[np.ndarray, "n_features n_signs"]
    directions: Float32[np.ndarray, "word n_features 64"]
    """The same, to compute with."""
    shift: Float32[np.ndarray, "word 64"]
    """Product of the directions with the mean of the codes that it was made from."""

    @classmethod
    def of(
        cls,
        stored: Float16[np.ndarray, "n_features n_signs"],
        shift: Float32[np.ndarray, "word 64"],
    ) -> "Basis":
        """Returns the basis that was stored as these."""
        words = stored.reshape(len(stored), N_WORDS, 64).transpose(1, 0, 2)
        return cls(stored, np.ascontiguousarray(words, np.float32), shift.copy())

    def ask(self, query: WeightedCode) -> UInt64[np.ndarray, " 7"]:
        """Returns a query as `pooled_kernels.sift` compares it with sketches."""
        told = np.empty(N_ASKED, np.uint64)
        features, weights = query.features, query.weights
        ask_signs(features, weights, self.directions, self.shift, _STEP, told)
        return told


def fit_basis(codes: Float32[np.ndarray, "code n_features"]) -> Basis:
    """Returns the basis along which some codes differ most.

    Args:
        codes: of length 1 each, dense; overwritten.
    """
    mean = codes.mean(axis=0)
    codes -= mean
    n_axes = min(N_SIGNS, *codes.shape)
    random = np.random.default_rng(_SEED)
    width = min(codes.shape[1], n_axes + _MORE_AXES)
    axes = random.standard_normal((codes.shape[1], width), np.float32)
    for _ in range(2):
        # Halko, Martinsson & Tropp 2011: what is multiplied with the codes, and back,
        # turns to where they differ most.
        axes, _ = np.linalg.qr(codes.T @ (codes @ axes))
    variance, turn = np.linalg.eigh(_square(codes @ axes))
    variance, turn = variance[::-1][:n_axes], turn[:, ::-1][:, :n_axes]
    floor = max(float(variance[0]) * 1e-6, 1e-30)
    turned = (axes @ turn) / (np.maximum(variance, floor) / floor) ** _EVENED
    mixing, _ = np.linalg.qr(random.standard_normal((N_SIGNS, n_axes), np.float32))
    directions = (turned @ mixing.T).astype(np.float16)
    shift = mean @ directions.astype(np.float32)
    return Basis.of(directions, shift.reshape(N_WORDS, 64))


def _square(rows: Float32[np.ndarray, "row axis"]) -> Float64[np.ndarray, "axis axis"]:
    out: Float64[np.ndarray, "axis axis"] = (rows.T @ rows).astype(np.float64)
    return out
