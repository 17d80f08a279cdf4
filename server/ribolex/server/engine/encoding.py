"""From a batch of windows to their codes: the language model, then the dictionary.

The one path that every code takes, with a server or without. Knows nothing of queues,
callers or messages.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ribolex.dictionary import (
    Codes,
    Dictionary,
    Pooling,
    SequenceCode,
    TopK,
    pool,
    squares,
)
from ribolex.errors import SequenceTooLongError
from ribolex.lm import LanguageModel
from ribolex.lm.inference import Laid
from ribolex.lm.windows import Window
from ribolex.rna import normalise
from ribolex.server.engine.stages import stage


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one sequence is to be encoded."""

    k: int
    """Features kept for each nucleotide, 1 to the dictionary's k."""
    pooling: Pooling | None
    """How its nucleotides are pooled; None if nobody asks for that."""
    rows: bool = True
    """Whether the codes of its nucleotides are asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodeTask:
    """A sequence to encode: see `Task`. It keeps the dictionary that it began with."""

    text: str
    """As `read_sequence` gives it."""
    dictionary: Dictionary
    """Of the loaded model, its autoencoder on the model's device; one object for all
    of one name and version."""
    recipe: Recipe

    @property
    def key(self) -> Hashable:
        """Equal for all of one dictionary version; recipes may differ."""
        return "encode", self.dictionary.ref

    @property
    def identity(self) -> Hashable:
        """Equal for all that get the same codes."""
        return self.key, self.recipe, self.text

    def begin(self, lm: LanguageModel) -> "Draft":
        """Returns an empty draft."""
        return Draft(self.recipe)

    def run(
        self, lm: LanguageModel, laid: Sequence[Laid], tasks: Sequence["EncodeTask"]
    ) -> list["Part"]:
        """Returns the codes of each window."""
        return encode_windows(
            lm, self.dictionary, laid, [task.recipe.k for task in tasks]
        )


@dataclass(frozen=True, slots=True)
class Encoding:
    """What one sequence became."""

    codes: Codes
    """One row a nucleotide; all of them empty if the recipe asks for none."""
    pooled: SequenceCode | None
    """As the recipe says."""
    fvu: float
    """Fraction of its activations' variance that the codes do not explain."""


def read_sequence(
    sequence: str, where: str, max_nucleotides: int, *, degap: bool
) -> str:
    """Returns a sequence as the model reads it: upper case, U for T.

    Args:
        sequence: as it came from outside.
        where: what an error calls it.
        max_nucleotides: the longest that is encoded.
        degap: whether gap signs are taken out first.

    Raises:
        InvalidSequenceError: it is empty or has a letter that is no RNA letter.
        SequenceTooLongError: it is longer than allowed.
    """
    # Length first: a sequence may be as long as a message.
    if not degap and len(sequence) > max_nucleotides:
        raise SequenceTooLongError(where, max_nucleotides, len(sequence))
    text = normalise(sequence, where, degap=degap)
    if len(text) > max_nucleotides:
        raise SequenceTooLongError(where, max_nucleotides, len(text))
    return text


class Part(NamedTuple):
    """The codes of one window."""

    codes: Codes
    """Of the nucleotides that it answers for."""
    squared: Float64[np.ndarray, " 2"]
    """As `squares` gives them."""


def encode_windows(
    lm: LanguageModel, dictionary: Dictionary, laid: Sequence[Laid], ks: Sequence[int]
) -> list[Part]:
    """Returns the codes of windows, in the order of their members.

    A window gets the same code alone as in any batch, to the rounding of float32.

    Args:
        lm: the model that the dictionary was made for; used by this thread alone.
        dictionary: its autoencoder lies on the model's device.
        laid: the windows, numbered by member from 0.
        ks: features kept for each nucleotide of each of them.
    """
    layer, hook = dictionary.identity.layer, dictionary.identity.hook
    with torch.inference_mode(), stage("forward"):
        x = torch.cat([lm.read(batch, [layer], hook)[layer] for batch in laid])
    return encode_rows(dictionary, x, laid, ks)


def encode_rows(
    dictionary: Dictionary,
    x: Float[Tensor, "nucleotide d_in"],
    laid: Sequence[Laid],
    ks: Sequence[int],
) -> list[Part]:
    """Returns the codes of windows that were read, in the order of their members.

    Arguments are those of `encode_windows`, and the activations of what windows answer
    for, one after the other.
    """
    pieces = [piece for batch in laid for piece in batch.pieces]
    lengths = [piece.kept.stop - piece.kept.start for piece in pieces]
    edges = np.cumsum([0, *lengths]).tolist()
    parts: dict[int, Part] = {}
    # Together: one product with the dictionary, and one copy back.
    with torch.inference_mode(), stage("encode"):
        top = dictionary.sae.encode(x)
        for k in set(ks):
            codes, squared = _cut(dictionary, x, top, k, lengths)
            for place, (member, _, _) in enumerate(pieces):
                if ks[member] == k:
                    own = codes.slice(edges[place], edges[place + 1])
                    parts[member] = Part(own, squared[:, place])
    return [parts[member] for member in range(len(ks))]


def _cut(
    dictionary: Dictionary,
    x: Float[Tensor, "nucleotide d_in"],
    top: TopK,
    k: int,
    lengths: Sequence[int],
) -> tuple[Codes, Float64[np.ndarray, "2 window"]]:
    """Returns the codes of the k strongest features, and their `squares`."""
    indices, values = top.indices[:, :k], top.values[:, :k]
    rebuilt = dictionary.sae.decode(indices, values)
    squared = squares(x, rebuilt, dictionary.mean, lengths)
    codes = Codes.from_topk(
        indices.cpu().numpy(), values.cpu().numpy(), dictionary.sae.n_features
    )
    return codes, squared.double().cpu().numpy()


class Draft:
    """The encoding of a sequence of which windows may be missing."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._parts: dict[int, Part] = {}

    def take(self, window: Window, part: Part) -> None:
        """Adds the codes of a window."""
        self._parts[window.start] = part

    def finish(self) -> Encoding:
        """Returns the encoding of all of them."""
        parts = [self._parts[start] for start in sorted(self._parts)]
        codes = parts[0].codes
        if len(parts) > 1:
            codes = Codes.concatenate([part.codes for part in parts])
        error, spread = np.sum([part.squared for part in parts], axis=0)
        pooling = self._recipe.pooling
        pooled = None if pooling is None else pool(codes, pooling)
        if not self._recipe.rows:
            codes = _emptied(codes)
        return Encoding(codes, pooled, float(error / max(spread, 1e-12)))


def _emptied(codes: Codes) -> Codes:
    """Returns as many rows with nothing in them."""
    return Codes(
        np.zeros_like(codes.indptr),
        np.empty(0, np.uint32),
        np.empty(0, np.float32),
        codes.n_features,
    )
