"""From one batch of sequences to their activations, as dense rows.

The one path that every activation takes, with a server or without. Knows nothing of
queues, callers or messages.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, LanguageModel

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

    def n_bytes(self, n_rows: int, d_model: int) -> int:
        """Returns what rows take in memory."""
        return n_rows * len(self.layers) * d_model * (2 if self.is_half else 4)


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """A sequence for the worker: see `Task` there."""

    text: str
    """As `read_sequence` gives it."""
    view: View

    @property
    def key(self) -> Hashable:
        """Equal for all of the same layers and hook; rows may differ."""
        return "embed", self.view.layers, self.view.hook

    def run(self, lm: LanguageModel, batch: Sequence["EmbedTask"]) -> list["Embedding"]:
        """Returns the activations of each task."""
        return embed_batch(lm, batch)


@dataclass(frozen=True, slots=True)
class Embedding:
    """The activations of one sequence."""

    n_nucleotides: int
    rows: Float[np.ndarray, "row layer d_model"]
    """As the view says; C order, read-only."""


def embed_batch(lm: LanguageModel, tasks: Sequence[EmbedTask]) -> list[Embedding]:
    """Returns the activations of each task, in their order.

    Equal sequences are computed once. A sequence gets the same activations alone as
    in any batch, to the rounding of float32.

    Args:
        lm: used by this thread alone.
        tasks: one or more, of one key.
    """
    layers, hook = tasks[0].view.layers, tasks[0].view.hook
    distinct = dict.fromkeys(tasks)
    texts = {task.text for task in tasks if len(task.text) <= lm.max_nucleotides}
    short = dict(zip(texts, lm.activations([*texts], layers, hook), strict=True))
    done = {
        task: _of_short(task, short[task.text])
        if task.text in short
        else _of_long(lm, task)
        for task in distinct
    }
    return [done[task] for task in tasks]


def _of_short(task: EmbedTask, states: dict[int, np.ndarray]) -> Embedding:
    draft = _Draft(task, states[task.view.layers[0]].shape[1])
    draft.take(0, np.stack([states[layer] for layer in task.view.layers], axis=1))
    return draft.finish()


def _of_long(lm: LanguageModel, task: EmbedTask) -> Embedding:
    """Returns an embedding computed span by span: in memory are its rows alone."""
    view = task.view
    draft = _Draft(task, lm.config.d_model)
    (tokens,) = lm.prepare([task.text])
    for span in lm.spans(tokens, view.layers, view.hook):
        states = [span.states[layer].float().cpu().numpy() for layer in view.layers]
        draft.take(span.start, np.stack(states, axis=1))
    return draft.finish()


class _Draft:
    """The rows of a sequence, of which more may come."""

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
        self, start: int, states: Float[np.ndarray, "nucleotide layer d_model"]
    ) -> None:
        """Adds nucleotides from the one at `start`."""
        if self._view.pooling == "mean":
            self._rows += states.sum(axis=0, dtype=np.float64) / self._n_nucleotides
        elif self._view.pooling == "max":
            self._rows = np.maximum(self._rows, states.max(axis=0))
        else:
            self._rows[start : start + len(states)] = self._narrowed(states)

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
