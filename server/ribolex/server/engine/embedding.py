"""From a batch of windows to their activations, as dense rows.

The one path that every activation takes, with a server or without. Knows nothing of
queues, callers or messages.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.lm.inference import Laid
from ribolex.lm.windows import Window
from ribolex.server.engine.stages import stage

DensePooling = Literal["mean", "max"]

_HALF = np.finfo(np.float16)


@dataclass(frozen=True, slots=True)
class View:
    """Which activations are wanted, and what a row is to be."""

    layers: tuple[int, ...]
    """Rising, each once."""
    hook: Hook
    pooling: DensePooling | None
    """How nucleotides make one row; None for one row a nucleotide."""
    is_half: bool
    """Whether numbers are float16, clipped to its range; else float32."""

    @classmethod
    def of(
        cls,
        lm: LanguageModel,
        layers: Sequence[int],
        hook: Hook,
        pooling: DensePooling | None,
        *,
        is_half: bool,
    ) -> "View":
        """Returns the view for layers in any order; none of them means the last.

        Raises:
            InvalidRequestError: the model has no such layer.
        """
        n_layers = lm.config.n_layers
        for layer in layers:
            if not 1 <= layer <= n_layers:
                raise InvalidRequestError(
                    "layers", f"{layer}, expected 1 to {n_layers}, {lm.name}'s"
                )
        return cls(tuple(sorted({*layers} or {n_layers})), hook, pooling, is_half)

    def n_rows(self, n_nucleotides: int) -> int:
        """Returns how many rows a sequence has."""
        return n_nucleotides if self.pooling is None else 1

    def pool(
        self, rows: Float[np.ndarray, "nucleotide layer d_model"]
    ) -> Float[np.ndarray, "row layer d_model"]:
        """Returns the rows of some nucleotides; for a mean their sum, in float64."""
        if self.pooling == "mean":
            rows = rows.sum(axis=0, dtype=np.float64, keepdims=True)
        elif self.pooling == "max":
            rows = rows.max(axis=0, keepdims=True)
        return rows

    def n_bytes(self, n_rows: int, d_model: int) -> int:
        """Returns what rows take in memory."""
        return n_rows * len(self.layers) * d_model * (2 if self.is_half else 4)


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """A sequence whose activations are wanted: see `Task`."""

    text: str
    """As `read_sequence` gives it."""
    view: View

    @property
    def key(self) -> Hashable:
        """Equal for all of the same layers and hook; rows may differ."""
        return "embed", self.view.layers, self.view.hook

    @property
    def identity(self) -> Hashable:
        """Equal for all that get the same rows."""
        return "embed", self.view, self.text

    def begin(self, lm: LanguageModel) -> "_Draft":
        """Returns an empty draft."""
        return _Draft(self, lm.config.d_model)

    def run(
        self, lm: LanguageModel, laid: Sequence[Laid], tasks: Sequence["EmbedTask"]
    ) -> list[np.ndarray]:
        """Returns the activations of each window, as its draft takes them.

        A window gets the same activations alone as in any batch, to the rounding of
        float32.
        """
        layers, parts = self.view.layers, dict[int, np.ndarray]()
        for batch in laid:
            with stage("forward"):
                states = lm.read(batch, layers, self.view.hook)
                x = torch.stack([states[layer].float() for layer in layers], dim=1)
                rows, start = x.cpu().numpy(), 0
            for piece in batch.pieces:
                stop = start + piece.kept.stop - piece.kept.start
                parts[piece.member] = tasks[piece.member].view.pool(rows[start:stop])
                start = stop
        return [parts[member] for member in range(len(tasks))]


@dataclass(frozen=True, slots=True)
class Embedding:
    """The activations of one sequence."""

    n_nucleotides: int
    rows: Float[np.ndarray, "row layer d_model"]
    """As the view says; C order, read-only."""


class _Draft:
    """The rows of a sequence, of which some may be missing.

    One array that they are put into: in memory there is nothing else of a long RNA.
    """

    def __init__(self, task: EmbedTask, d_model: int) -> None:
        self._view = task.view
        self._n_nucleotides = len(task.text)
        shape = (self._view.n_rows(len(task.text)), len(self._view.layers), d_model)
        # Pooled ones are summed up in float64.
        dtype = np.float64 if self._view.pooling else self._dtype
        start = -np.inf if self._view.pooling == "max" else 0.0
        self._rows = np.full(shape, start, dtype)

    @property
    def _dtype(self) -> type[np.floating[Any]]:
        return np.float16 if self._view.is_half else np.float32

    def take(
        self, window: Window, part: Float[np.ndarray, "row layer d_model"]
    ) -> None:
        """Adds what `View.pool` gave for a window."""
        if self._view.pooling == "mean":
            self._rows += part / self._n_nucleotides
        elif self._view.pooling == "max":
            self._rows = np.maximum(self._rows, part)
        else:
            self._rows[window.kept_start : window.kept_stop] = self._narrowed(part)

    def finish(self) -> Embedding:
        """Returns the embedding of all that came."""
        rows = self._rows
        if self._view.pooling is not None:
            rows = self._narrowed(rows).astype(self._dtype)
        return Embedding(self._n_nucleotides, rows)

    def _narrowed(
        self, numbers: Float[np.ndarray, "row layer d_model"]
    ) -> Float[np.ndarray, "row layer d_model"]:
        """Returns numbers that float16 does not make infinite, if it is to be that."""
        return np.clip(numbers, _HALF.min, _HALF.max) if self._view.is_half else numbers
