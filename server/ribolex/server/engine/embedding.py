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
    texts = list(dict.fromkeys(task.text for task in tasks))
    first = tasks[0].view
    found = lm.activations(texts, first.layers, first.hook)
    by_text = dict(zip(texts, found, strict=True))
    done: dict[EmbedTask, Embedding] = {}
    for task in tasks:
        if task not in done:
            states = by_text[task.text]
            stacked = np.stack([states[layer] for layer in first.layers], axis=1)
            done[task] = Embedding(len(task.text), _rows(stacked, task.view))
    return [done[task] for task in tasks]


def _rows(
    states: Float[np.ndarray, "nucleotide layer d_model"], view: View
) -> Float[np.ndarray, "row layer d_model"]:
    rows: np.ndarray[Any, np.dtype[Any]] = states
    if view.pooling == "mean":
        rows = states.mean(axis=0, keepdims=True)
    elif view.pooling == "max":
        rows = states.max(axis=0, keepdims=True)
    if view.is_half:
        rows = np.clip(rows, _HALF.min, _HALF.max).astype(np.float16)
    return rows
