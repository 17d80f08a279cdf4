"""Sketches of codes: 512 signs each, from which likeness is guessed.

A code is turned into the axes along which the codes of a collection differ most, the
directions mixed at random, and the sign of each coordinate is kept (as in RaBitQ, Gao
& Long 2024). Where a query lies along the same axes is kept in 4 bits, so that ands
and counts of bits give the product of both. Knows weights only; nothing of ids.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float16, Float32, Float64, UInt64

from ribolex.server.index.forward import WeightedCode
from ribolex.server.index.pooled_kernels import project_rows

N_SIGNS = 512
"""With twice as many, half as many candidates hold as much (docs/benchmarks.md)."""

N_WORDS = N_SIGNS // 64

_EVENED = 0.125
"""Axes are divided by their variance to this power, so that few of them do not decide
alone: 0 finds fewer of the nearest."""

_MORE_AXES = 32
"""Looked at beside those that are kept: it makes these exacter."""

_HIGHEST = 15
_SEED = 20_001


class Question(NamedTuple):
    """What `pooled_kernels.estimate` needs to know of a query."""

    planes: UInt64[np.ndarray, "word plane"]
    """Bits of the coordinates as whole numbers from 0 to 15."""
    constant: float
    step: float


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """What sketches are made with."""

    stored: Float16[np.ndarray, "n_features n_signs"]
    directions: Float32[np.ndarray, "n_features n_signs"]
    """The same, to compute with."""
    mean: Float32[np.ndarray, " n_features"]
    """Of the codes that it was made from; taken off all."""
    shift: Float32[np.ndarray, " n_signs"]
    """Product of the mean with the directions."""

    @classmethod
    def of(
        cls,
        stored: Float16[np.ndarray, "n_features n_signs"],
        mean: Float32[np.ndarray, " n_features"],
    ) -> "Basis":
        """Returns the basis that was stored as these."""
        directions, mean = stored.astype(np.float32), mean.copy()
        return cls(stored, directions, mean, mean @ directions)

    @property
    def square(self) -> float:
        """Of the length of the mean."""
        return float(self.mean @ self.mean)

    def ask(self, query: WeightedCode) -> Question:
        """Returns a query as it is compared with sketches."""
        weights = query.weights
        bounds = np.array([0, len(weights)])
        found = np.empty((1, N_SIGNS), np.float32)
        with_mean = np.empty(1, np.float32)
        none, same = np.empty(0, np.float32), np.ones(1, np.float32)
        project_rows(
            bounds,
            query.features,
            weights,
            none,
            same,
            self.directions,
            self.mean,
            found,
            with_mean,
        )
        place = (found[0] - self.shift).astype(np.float64)
        place /= max(float(np.linalg.norm(place)), 1e-30)
        step = max(float(np.abs(place).max()), 1e-30) / (_HIGHEST / 2)
        whole = np.clip(np.rint(place / step + _HIGHEST / 2), 0, _HIGHEST)
        levels = whole.astype(np.uint8)
        planes = np.empty((N_WORDS, 4), np.uint64)
        for bit in range(4):
            packed = np.packbits(levels >> bit & 1, bitorder="little")
            planes[:, bit] = packed.view(np.uint64)
        apart = 1 - 2 * float(with_mean[0]) + self.square
        constant = _HIGHEST / 2 * N_SIGNS - float(levels.sum())
        return Question(planes, constant, step * max(apart, 0.0) ** 0.5)


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
    return Basis.of(directions, mean)


def _square(rows: Float32[np.ndarray, "row axis"]) -> Float64[np.ndarray, "axis axis"]:
    out: Float64[np.ndarray, "axis axis"] = (rows.T @ rows).astype(np.float64)
    return out
