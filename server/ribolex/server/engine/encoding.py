"""From one batch of sequences to their codes: the language model, then the dictionary.

The one path that every code takes, with a server or without. Knows nothing of queues,
callers or messages.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ribolex.dictionary import Codes, Dictionary, Pooling, SequenceCode, TopK, fvu, pool
from ribolex.errors import SequenceTooLongError
from ribolex.lm import LanguageModel
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


def encode_batch(
    lm: LanguageModel, dictionary: Dictionary, jobs: Sequence[Job]
) -> list[Encoding]:
    """Returns the encoding of each job, in their order.

    Equal sequences are computed once. A sequence gets the same code alone as in any
    batch, to the rounding of float32.

    Args:
        lm: the model that the dictionary was made for; used by this thread alone.
        dictionary: its autoencoder lies on the model's device.
        jobs: one or more.
    """
    distinct = list({job.tokens.tobytes(): job.tokens for job in jobs}.values())
    lengths = [len(tokens) - 2 for tokens in distinct]
    starts = np.cumsum([0, *lengths])
    place_of = {tokens.tobytes(): i for i, tokens in enumerate(distinct)}
    by_recipe: dict[Recipe, dict[int, Encoding]] = {}
    with torch.inference_mode():
        identity = dictionary.identity
        x = lm.hidden(distinct, identity.layer, identity.hook)
        top = dictionary.sae.encode(x)
        for k in {job.recipe.k for job in jobs}:
            codes, unexplained = _cut(dictionary, x, top, k, lengths)
            for job in jobs:
                i, done = (
                    place_of[job.tokens.tobytes()],
                    by_recipe.setdefault(job.recipe, {}),
                )
                if job.recipe.k == k and i not in done:
                    own = codes.slice(int(starts[i]), int(starts[i + 1]))
                    done[i] = _encoding(own, job.recipe.pooling, unexplained[i])
    return [by_recipe[job.recipe][place_of[job.tokens.tobytes()]] for job in jobs]


def _cut(
    dictionary: Dictionary,
    x: Float[Tensor, "nucleotide d_in"],
    top: TopK,
    k: int,
    lengths: Sequence[int],
) -> tuple[Codes, list[float]]:
    """Returns the codes of the k strongest features, and what they leave open."""
    indices, values = top.indices[:, :k], top.values[:, :k]
    rebuilt = dictionary.sae.decode(indices, values)
    unexplained = fvu(x, rebuilt, dictionary.mean, lengths)
    codes = Codes.from_topk(
        indices.cpu().numpy(), values.cpu().numpy(), dictionary.sae.n_features
    )
    return codes, unexplained.cpu().tolist()


def _encoding(codes: Codes, pooling: Pooling | None, unexplained: float) -> Encoding:
    return Encoding(
        codes, None if pooling is None else pool(codes, pooling), unexplained
    )
