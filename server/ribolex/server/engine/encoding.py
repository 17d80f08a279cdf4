"""From one batch of sequences to their codes: the language model, then the dictionary.

The one path that every code takes, with a server or without. Knows nothing of queues,
callers or messages.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from ribolex.dictionary import (
    Codes,
    Dictionary,
    Identity,
    Pooling,
    SequenceCode,
    TopK,
    pool,
    squares,
)
from ribolex.errors import SequenceTooLongError
from ribolex.lm import LanguageModel
from ribolex.lm.windows import cut
from ribolex.rna import normalise, tokenise


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one sequence is to be encoded."""

    k: int
    """Features kept for each nucleotide, 1 to the dictionary's k."""
    pooling: Pooling | None
    """How its nucleotides are pooled; None if nobody asks for that."""


@dataclass(frozen=True, slots=True)
class Job:
    """One sequence of a batch."""

    tokens: UInt8[np.ndarray, " token"]
    """With CLS and EOS."""
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class EncodeTask:
    """A job for the worker: see `Task` there."""

    dictionary: Dictionary
    """One object for all of one name and version."""
    job: Job

    @classmethod
    def of(cls, text: str, dictionary: Dictionary, recipe: Recipe) -> "EncodeTask":
        """Returns the task for a sequence that `read_sequence` has read."""
        return cls(dictionary, Job(tokenise(text), recipe))

    @property
    def key(self) -> Hashable:
        """Equal for all of one dictionary version; recipes may differ."""
        return "encode", self.dictionary.ref

    def run(self, lm: LanguageModel, batch: Sequence["EncodeTask"]) -> list["Encoding"]:
        """Returns the encoding of each task."""
        return encode_batch(lm, self.dictionary, [task.job for task in batch])


@dataclass(frozen=True, slots=True)
class Encoding:
    """What one sequence became."""

    codes: Codes
    """One row a nucleotide."""
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


def cost(n_nucleotides: int) -> int:
    """Returns the tokens that the model reads for a sequence, overlaps included."""
    return sum(window.stop - window.start + 2 for window in cut(n_nucleotides))


def encode_batch(
    lm: LanguageModel, dictionary: Dictionary, jobs: Sequence[Job]
) -> list[Encoding]:
    """Returns the encoding of each job, in their order.

    Equal sequences are computed once. A sequence gets the same code alone as in any
    batch, to the rounding of float32. One beyond the model's context is encoded window
    by window: its codes are held whole, its activations never.

    Args:
        lm: the model that the dictionary was made for; used by this thread alone.
        dictionary: its autoencoder lies on the model's device.
        jobs: one or more.
    """
    distinct = list({job.tokens.tobytes(): job.tokens for job in jobs}.values())
    place_of = {tokens.tobytes(): i for i, tokens in enumerate(distinct)}
    wanted = {(place_of[job.tokens.tobytes()], job.recipe) for job in jobs}
    drafts = {(i, recipe.k): _Draft() for i, recipe in wanted}
    with torch.inference_mode():
        for block in _blocks(lm, dictionary.identity, distinct):
            top = dictionary.sae.encode(block.x)
            for k in {recipe.k for _, recipe in wanted}:
                codes, squared = _cut(dictionary, block, top, k)
                starts = np.cumsum([0, *block.lengths]).tolist()
                for place, i in enumerate(block.owners):
                    if (i, k) in drafts:
                        part = codes.slice(starts[place], starts[place + 1])
                        drafts[i, k].take(part, squared[:, place])
    done = {
        (i, recipe): drafts[i, recipe.k].finish(recipe.pooling) for i, recipe in wanted
    }
    return [done[place_of[job.tokens.tobytes()], job.recipe] for job in jobs]


class _Block(NamedTuple):
    """Activations of whole sequences, or of a part of a long one."""

    x: Float[Tensor, "nucleotide d_in"]
    owners: list[int]
    """Which sequences, in their order."""
    lengths: list[int]
    """How many of their nucleotides."""


def _blocks(
    lm: LanguageModel,
    identity: Identity,
    tokens: Sequence[UInt8[np.ndarray, " _token"]],
) -> Iterator[_Block]:
    """Yields the activations of all sequences; of a long one never all at once."""
    lengths = [len(sequence) - 2 for sequence in tokens]
    short = [i for i, length in enumerate(lengths) if length <= lm.max_nucleotides]
    if short:
        together = [tokens[i] for i in short]
        x = lm.hidden(together, identity.layer, identity.hook)
        yield _Block(x, short, [lengths[i] for i in short])
    for i in sorted({*range(len(tokens))} - {*short}):
        for span in lm.spans(tokens[i], [identity.layer], identity.hook):
            x = span.states[identity.layer]
            yield _Block(x, [i], [len(x)])


def _cut(
    dictionary: Dictionary, block: _Block, top: TopK, k: int
) -> tuple[Codes, Float64[np.ndarray, "2 sequence"]]:
    """Returns the codes of the k strongest features, and their `squares`."""
    indices, values = top.indices[:, :k], top.values[:, :k]
    rebuilt = dictionary.sae.decode(indices, values)
    squared = squares(block.x, rebuilt, dictionary.mean, block.lengths)
    codes = Codes.from_topk(
        indices.cpu().numpy(), values.cpu().numpy(), dictionary.sae.n_features
    )
    return codes, squared.double().cpu().numpy()


class _Draft:
    """The encoding of a sequence of which more may come."""

    def __init__(self) -> None:
        self._parts: list[Codes] = []
        self._squared = np.zeros(2)

    def take(self, part: Codes, squared: Float64[np.ndarray, " 2"]) -> None:
        """Adds the next nucleotides."""
        self._parts.append(part)
        self._squared += squared

    def finish(self, pooling: Pooling | None) -> Encoding:
        """Returns the encoding of all of them."""
        if len(self._parts) > 1:
            self._parts = [Codes.concatenate(self._parts)]
        (codes,) = self._parts
        error, spread = self._squared
        pooled = None if pooling is None else pool(codes, pooling)
        return Encoding(codes, pooled, float(error / max(spread, 1e-12)))
