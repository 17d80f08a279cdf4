"""Calls of EncoderService: sequences in, codes or activations out.

Knows which message asks for what; what messages hold is told by `convert`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from ribolex.client import convert, dense, records
from ribolex.client.connection import Connection
from ribolex.client.errors import OverloadedError, RejectedError
from ribolex.client.status import translated
from ribolex.client.stream import answers_in_order, in_batches
from ribolex.v1 import encoder_pb2

OnRejection = Literal["raise", "skip"]

_MAX_SEQUENCES = 256
# In nucleotides. Codes take about 6 bytes * k for each: at k = 64, 12 MiB in all;
# activations of one layer 4 bytes * d_model: at d_model = 1,280, 160 MiB.
_MAX_SIZE = 32_768
_Outcome = TypeVar("_Outcome", records.Encoded, records.Embedded)


class EncoderCalls(Connection):
    """What EncoderService does."""

    def encode(
        self,
        sequences: Sequence[str],
        *,
        level: records.Level = "sequence",
        pooling: records.Pooling = "max",
        k: int | None = None,
        dictionary: str | records.DictionaryRef | None = None,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
    ) -> records.Encoded:
        """Returns the codes of one batch of sequences.

        Args:
            sequences: at most 256, RNA letters in either case, T read as U.
            level: which codes to give.
            pooling: how nucleotides make the code of their sequence.
            k: features kept for each nucleotide; None keeps the dictionary's k.
            dictionary: "name", "name@version", or None for the server's default.
            degap: whether gaps are taken out first; else they are refused.
            on_rejection: "skip" leaves the row of a refused sequence empty.

        Raises:
            RejectedError: sequences were refused, and were not to be skipped.
            InvalidRequestError: too many sequences, or none; or a bad option.
            DictionaryNotFoundError: there is no such dictionary.
        """
        options = convert.encode_options(level, pooling, k, dictionary, degap)
        letters = convert.all_sendable(sequences)
        request = encoder_pb2.EncodeRequest(sequences=letters, options=options)
        answer = self._call(self._encoder.Encode, request)
        return _checked(convert.encoded(answer, level), on_rejection)

    def encode_stream(
        self,
        sequences: Iterable[str],
        *,
        level: records.Level = "sequence",
        pooling: records.Pooling = "max",
        k: int | None = None,
        dictionary: str | records.DictionaryRef | None = None,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
        batch: int = _MAX_SEQUENCES,
        n_ahead: int = 4,
    ) -> Iterator[records.Encoded]:
        """Yields the codes of any number of sequences, batch by batch, in order.

        Sequences are drawn in the caller's thread, and only as answers are taken.
        Leaving the loop early ends the call.

        Args:
            sequences: drawn as needed; the index of a rejection counts within its
                batch.
            level: which codes to give.
            pooling: how nucleotides make the code of their sequence.
            k: features kept for each nucleotide.
            dictionary: "name" or "name@version".
            degap: whether gaps are taken out first.
            on_rejection: whether a refused sequence is an error.
            batch: most sequences in a batch.
            n_ahead: batches under way at once, at least 1.

        Raises:
            RejectedError: and others, as in `encode`.
        """
        options = convert.encode_options(level, pooling, k, dictionary, degap)
        requests = (
            encoder_pb2.EncodeStreamRequest(
                request=encoder_pb2.EncodeRequest(
                    sequences=convert.all_sendable(part), options=options
                )
            )
            for part in in_batches(sequences, len, batch, _MAX_SIZE)
        )
        answers = answers_in_order(
            self._encoder.EncodeStream,
            requests,
            n_ahead,
            self.timeout_s,
            self._metadata,
        )
        with translated(self.address):
            for answer in answers:
                yield _checked(convert.encoded(answer.response, level), on_rejection)

    def embed(
        self,
        sequences: Sequence[str],
        *,
        layers: Sequence[int] = (),
        hook: records.Hook = "normed",
        pooling: records.DensePooling | None = None,
        half: bool = False,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
    ) -> records.Embedded:
        """Returns the language model's activations for one batch of sequences.

        Args:
            sequences: at most 256, RNA letters in either case, T read as U.
            layers: counted from 1, in any order; none of them means the last.
            hook: "normed" is what the next layer reads, "raw" the layer's own output.
            pooling: "mean" or "max" over the nucleotides; None for a row each.
            half: whether to get float16, which takes half the room; else float32.
            degap: whether gaps are taken out first; else they are refused.
            on_rejection: "skip" leaves a refused sequence without rows.

        Raises:
            RejectedError: sequences were refused, and were not to be skipped.
            InvalidRequestError: too many sequences, or none; a bad option; or more
                activations than the server has room for.
        """
        request = dense.embed_request(sequences, layers, hook, pooling, half, degap)
        with translated(self.address):
            answers = self._call(self._encoder.Embed, request)
            answer = dense.embedded(answers, len(sequences))
        return _checked(answer, on_rejection)

    def embed_stream(
        self,
        sequences: Iterable[str],
        *,
        layers: Sequence[int] = (),
        hook: records.Hook = "normed",
        pooling: records.DensePooling | None = None,
        half: bool = False,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
        batch: int = _MAX_SEQUENCES,
    ) -> Iterator[records.Embedded]:
        """Yields the activations of any number of sequences, batch by batch, in order.

        Waits, for at most timeout_s, while the server has no room.

        Args:
            sequences: drawn as needed; the index of a rejection counts within its
                batch.
            layers: counted from 1.
            hook: which vector of a layer.
            pooling: how nucleotides make a row.
            half: whether to get float16.
            degap: whether gaps are taken out first.
            on_rejection: whether a refused sequence is an error.
            batch: most sequences in a batch.

        Raises:
            RejectedError: and others, as in `embed`.
        """
        max_size = max(1, _MAX_SIZE // max(1, len(set(layers))))
        for part in in_batches(sequences, len, batch, max_size):
            give_up_s = time.monotonic() + self.timeout_s
            while True:
                try:
                    answer = self.embed(
                        part, layers=layers, hook=hook, pooling=pooling, half=half,
                        degap=degap, on_rejection=on_rejection,
                    )  # fmt: skip
                    break
                except OverloadedError as error:
                    delay_s = error.retry_after_s
                    if delay_s is None or time.monotonic() + delay_s > give_up_s:
                        raise
                    time.sleep(delay_s)
            yield answer


def _checked(answer: _Outcome, on_rejection: OnRejection) -> _Outcome:
    """Returns what came, unless sequences were refused and that is an error."""
    if answer.rejections and on_rejection == "raise":
        raise RejectedError(answer.rejections)
    return answer
