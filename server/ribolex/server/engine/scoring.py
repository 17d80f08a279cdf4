"""What the language model makes of the letters of sequences, and their codes with it.

Likelihoods are those of the four letters A, C, G and U among themselves: the softmax of
their logits alone. Knows nothing of variants, queues or messages.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from ribolex.dictionary import Codes, Dictionary
from ribolex.lm import LanguageModel
from ribolex.lm.inference import Laid
from ribolex.lm.windows import Window
from ribolex.rna import tokenise
from ribolex.server.engine.encoding import Draft as EncodingDraft
from ribolex.server.engine.encoding import Encoding, Part, Recipe, encode_rows
from ribolex.server.engine.stages import stage

LETTERS = "ACGU"
"""In the order of the columns of all tables of likelihoods."""
_FIRST = int(tokenise("A")[1])
_TOKENS = slice(_FIRST, _FIRST + len(LETTERS))

LetterTable = Float32[np.ndarray, "nucleotide 4"]


def letter_likelihoods(logits: Float[Tensor, "nucleotide letter"]) -> LetterTable:
    """Returns log probabilities, in nats, of the four letters."""
    table: LetterTable
    table = torch.log_softmax(logits[:, _TOKENS].float(), dim=1).cpu().numpy()
    return table


def columns_of(text: str) -> Int64[np.ndarray, " nucleotide"]:
    """Returns the column of each letter; -1 for one that is none of the four."""
    columns = tokenise(text)[1:-1].astype(np.int64) - _FIRST
    return np.where((columns >= 0) & (columns < len(LETTERS)), columns, -1)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTask:
    """A sequence to encode, and to read the likelihoods of all letters of: see `Task`.

    Each nucleotide's are those that the model gives while it sees that nucleotide.
    """

    text: str
    """As `read_sequence` gives it."""
    dictionary: Dictionary
    k: int

    @property
    def key(self) -> Hashable:
        """Equal for all of one dictionary version."""
        return "score", self.dictionary.ref, self.k

    @property
    def identity(self) -> Hashable:
        """Equal for all that get the same."""
        return self.key, self.text

    def begin(self, lm: LanguageModel) -> "_Draft":
        """Returns an empty draft."""
        return _Draft(Recipe(self.k, None), len(self.text))

    def run(
        self, lm: LanguageModel, laid: Sequence[Laid], tasks: Sequence["ScoreTask"]
    ) -> list["ScoredPart"]:
        """Returns codes and likelihoods of each window."""
        identity = self.dictionary.identity
        with torch.inference_mode(), stage("forward"):
            read = [
                lm.read_and_score(batch, identity.layer, identity.hook)
                for batch in laid
            ]
            table = letter_likelihoods(torch.cat([one.logits for one in read]))
        states = torch.cat([one.states for one in read])
        parts = encode_rows(self.dictionary, states, laid, [self.k] * len(tasks))
        pieces = [piece for batch in laid for piece in batch.pieces]
        ends = np.cumsum([piece.kept.stop - piece.kept.start for piece in pieces])
        tables = dict(
            zip(
                (piece.member for piece in pieces),
                np.split(table, ends[:-1]),
                strict=True,
            )
        )
        return [ScoredPart(part, tables[i]) for i, part in enumerate(parts)]


class ScoredPart(NamedTuple):
    """What became of one window."""

    codes: Part
    letters: LetterTable


@dataclass(frozen=True, slots=True)
class Scored:
    """What one sequence became."""

    encoding: Encoding
    letters: LetterTable

    @property
    def codes(self) -> Codes:
        """One row a nucleotide."""
        return self.encoding.codes

    def log_likelihood(self, text: str) -> float:
        """Returns the sum over its nucleotides of log p(letter), in nats.

        Of letters other than the four nothing is said: they are left out.

        Args:
            text: the sequence.
        """
        columns = columns_of(text)
        known = np.flatnonzero(columns >= 0)
        return float(self.letters[known, columns[known]].sum(dtype=np.float64))


class _Draft:
    """The codes and likelihoods of a sequence of which windows may be missing."""

    def __init__(self, recipe: Recipe, n_nucleotides: int) -> None:
        self._codes = EncodingDraft(recipe)
        self._letters = np.empty((n_nucleotides, len(LETTERS)), np.float32)

    def take(self, window: Window, part: ScoredPart) -> None:
        """Adds a window."""
        self._codes.take(window, part.codes)
        self._letters[window.kept_start : window.kept_stop] = part.letters

    def finish(self) -> Scored:
        """Returns the whole."""
        return Scored(self._codes.finish(), self._letters)


@dataclass(frozen=True, slots=True)
class MaskedTask:
    """A sequence of which some nucleotides are hidden, to be guessed: see `Task`."""

    text: str
    """As `read_sequence` gives it, none of it hidden."""
    hidden: tuple[int, ...]
    """0-based, rising, at least one."""

    @property
    def key(self) -> Hashable:
        """Equal for all."""
        return "masked"

    @property
    def identity(self) -> Hashable:
        """Equal for all that get the same."""
        return "masked", self.hidden, self.text

    def begin(self, lm: LanguageModel) -> "_MaskedDraft":
        """Returns an empty draft."""
        return _MaskedDraft(self.hidden)

    def run(
        self, lm: LanguageModel, laid: Sequence[Laid], tasks: Sequence["MaskedTask"]
    ) -> list[LetterTable]:
        """Returns the likelihoods of what each window keeps."""
        hidden = [task.hidden for task in tasks]
        parts: dict[int, LetterTable] = {}
        with stage("forward"):
            for batch in laid:
                table = letter_likelihoods(lm.score(batch, hidden))
                start = 0
                for piece in batch.pieces:
                    stop = start + piece.kept.stop - piece.kept.start
                    parts[piece.member] = table[start:stop]
                    start = stop
        return [parts[member] for member in range(len(tasks))]


class _MaskedDraft:
    """The likelihoods of hidden nucleotides, of which some may be missing."""

    def __init__(self, hidden: tuple[int, ...]) -> None:
        self._hidden = hidden
        self._letters = np.empty((len(hidden), len(LETTERS)), np.float32)

    def take(self, window: Window, part: LetterTable) -> None:
        """Adds a window."""
        for place, position in enumerate(self._hidden):
            if window.kept_start <= position < window.kept_stop:
                self._letters[place] = part[position - window.kept_start]

    def finish(self) -> LetterTable:
        """Returns the likelihoods, a row a hidden nucleotide."""
        return self._letters
