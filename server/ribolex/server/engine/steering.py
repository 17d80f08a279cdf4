"""What the model makes of a sequence while features are made to fire otherwise.

Knows nothing of queues, callers or messages.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ribolex.dictionary import Dictionary
from ribolex.dictionary.steering import (
    Intervention,
    directions_of,
    random_directions,
    steered,
    values_of,
)
from ribolex.lm import LanguageModel, Replacement
from ribolex.lm.inference import Laid
from ribolex.lm.windows import Window
from ribolex.server.engine.scoring import LetterTable, letter_likelihoods
from ribolex.server.engine.stages import stage


class Steered(NamedTuple):
    """What one run gives of a sequence, or of a window."""

    letters: LetterTable
    values: Float32[np.ndarray, "feature nucleotide"]
    """Of the features before they were made to fire otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class SteerTask:
    """A sequence to read while features fire as they are to: see `Task`."""

    text: str
    """As `read_sequence` gives it."""
    dictionary: Dictionary
    interventions: tuple[Intervention, ...]
    """Checked; none for the model as it is."""
    hidden: tuple[int, ...] = ()
    """Nucleotides that the model is not to see, 0-based."""
    control: tuple[int, int] | None = None
    """Seed and number of random directions in place of the features' own."""

    @property
    def key(self) -> Hashable:
        """Equal for one sequence alone: positions are those of its nucleotides."""
        return self.identity

    @property
    def identity(self) -> Hashable:
        """Equal for all that get the same."""
        return (
            "steer", self.dictionary.ref, self.interventions, self.hidden, self.control,
            self.text,
        )  # fmt: skip

    def begin(self, lm: LanguageModel) -> "_Draft":
        """Returns an empty draft."""
        return _Draft(len(self.text), len(self.interventions))

    def run(
        self, lm: LanguageModel, laid: Sequence[Laid], tasks: Sequence["SteerTask"]
    ) -> list[Steered]:
        """Returns what the model makes of each window."""
        parts: dict[int, Steered] = {}
        for batch in laid:
            with torch.inference_mode(), stage("forward"):
                found = self._run(lm, batch)
            start = 0
            for piece in batch.pieces:
                stop = start + piece.kept.stop - piece.kept.start
                parts[piece.member] = Steered(
                    found.letters[start:stop], found.values[:, start:stop]
                )
                start = stop
        return [parts[member] for member in range(len(tasks))]

    def _run(self, lm: LanguageModel, batch: Laid) -> Steered:
        identity, sae = self.dictionary.identity, self.dictionary.sae
        hidden = [self.hidden] * (1 + max(piece.member for piece in batch.pieces))
        features = [one.feature for one in self.interventions]
        # All that windows read, not only what they answer for.
        windows = [piece.window for piece in batch.pieces]
        read = [np.arange(window.start, window.stop) for window in windows]
        places = np.concatenate(read)
        kept = np.concatenate(
            [
                (own >= window.kept_start) & (own < window.kept_stop)
                for own, window in zip(read, windows, strict=True)
            ]
        )
        directions = directions_of(sae, self.interventions)
        if self.control is not None:
            directions = random_directions(directions, self.control)
        seen: list[Tensor] = []

        def rebuild(x: Float[Tensor, "nucleotide d_model"]) -> Tensor:
            seen.append(values_of(sae, x, features))
            return steered(x, seen[-1], self.interventions, directions, places)

        layer = identity.layer
        replacement = Replacement(layer, layer, identity.hook, rebuild)
        table = letter_likelihoods(lm.score(batch, hidden, replacement))
        return Steered(table, seen[0].cpu().numpy()[:, kept])


class _Draft:
    """What is known of a sequence of which windows may be missing."""

    def __init__(self, n_nucleotides: int, n_features: int) -> None:
        self._letters = np.empty((n_nucleotides, 4), np.float32)
        self._values = np.empty((n_features, n_nucleotides), np.float32)

    def take(self, window: Window, part: Steered) -> None:
        """Adds a window."""
        kept = slice(window.kept_start, window.kept_stop)
        self._letters[kept] = part.letters
        self._values[:, kept] = part.values

    def finish(self) -> Steered:
        """Returns the whole."""
        return Steered(self._letters, self._values)
