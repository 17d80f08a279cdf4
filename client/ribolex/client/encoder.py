"""Calls of EncoderService: sequences in, codes or activations out.

Knows which message asks for what; what messages hold is told by `convert`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol, TypeVar

from ribolex.client import convert, dense, records
from ribolex.client.ask import Ask, blocking
from ribolex.client.connection import Connection
from ribolex.client.errors import OverloadedError, RejectedError
from ribolex.client.status import translated
from ribolex.client.stream import answers_in_order, in_batches
from ribolex.v1 import encoder_pb2

OnRejection = Literal["raise", "skip"]

MAX_SEQUENCES = 256
# In nucleotides. Codes take about 6 bytes * k for each: at k = 64, 12 MiB in all;
# activations of one layer 4 bytes * d_model: at d_model = 1,280, 160 MiB.
MAX_SIZE = 32_768


class _Checkable(Protocol):
    @property
    def rejections(self) -> tuple[records.Rejection, ...]: ...


_Outcome = TypeVar("_Outcome", bound=_Checkable)


class EncoderCalls(Connection):
    """What EncoderService does."""

    @blocking
    def encode(
        self,
        sequences: Sequence[str],
        *,
        level: records.Level = "sequence",
        pooling: records.Pooling = "max",
        k: int | None = None,
        dictionary: str | records.DictionaryRef | None = None,
        half: bool = False,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
    ) -> Ask[records.Encoded]:
        """Returns the codes of one batch of sequences.

        Args:
            sequences: at most 256, RNA letters in either case, T read as U.
            level: which codes to give.
            pooling: how nucleotides make the code of their sequence.
            k: features kept for each nucleotide; None keeps the dictionary's k.
            dictionary: "name", "name@version", or None for the server's default.
            half: whether values travel as float16, in two thirds of the bytes: they
                come rounded to 11 bits, by at most 1 in 2,048; else as computed.
            degap: whether gaps are taken out first; else they are refused.
            on_rejection: "skip" leaves the row of a refused sequence empty.

        Raises:
            RejectedError: sequences were refused, and were not to be skipped.
            InvalidRequestError: too many sequences, or none; a bad option; or codes
                that are larger than a message, which `encode_stream` has no limit on.
            DictionaryNotFoundError: there is no such dictionary.
        """
        options = convert.encode_options(level, pooling, k, dictionary, half, degap)
        letters = convert.all_sendable(sequences)
        request = encoder_pb2.EncodeRequest(sequences=letters, options=options)
        return Ask(
            self._encoder.Encode,
            request,
            lambda answer: checked(convert.encoded(answer, level), on_rejection),
        )

    def encode_stream(
        self,
        sequences: Iterable[str],
        *,
        level: records.Level = "sequence",
        pooling: records.Pooling = "max",
        k: int | None = None,
        dictionary: str | records.DictionaryRef | None = None,
        half: bool = False,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
        batch: int = MAX_SEQUENCES,
        n_ahead: int = 4,
        as_ready: bool = False,
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
            half: whether values travel as float16.
            degap: whether gaps are taken out first.
            on_rejection: whether a refused sequence is an error.
            batch: most sequences in a batch.
            n_ahead: batches under way at once, at least 1.
            as_ready: whether a batch may come before earlier ones that are not ready;
                `Encoded.index` then says which it is.

        Raises:
            RejectedError: and others, as in `encode`.
        """
        options = convert.encode_options(level, pooling, k, dictionary, half, degap)
        parts = in_batches(sequences, len, batch, MAX_SIZE)
        answers = answers_in_order(
            self._encoder.EncodeStream,
            (stream_request(part, options, as_ready) for part in parts),
            n_ahead,
            self.timeout_s,
            self._metadata,
            goes_on=lambda message: message.continues,
        )
        with translated(self.address):
            for messages in answers:
                yield checked(convert.streamed(messages, level), on_rejection)

    @blocking
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
    ) -> Ask[records.Embedded]:
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
        return Ask(
            self._encoder.Embed,
            request,
            lambda answers: checked(
                dense.embedded(answers, len(sequences)), on_rejection
            ),
            is_streamed=True,
        )

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
        batch: int = MAX_SEQUENCES,
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
        for part in in_batches(sequences, len, batch, embed_size(layers)):
            give_up_s = time.monotonic() + self.timeout_s
            while True:
                try:
                    answer = self.embed(
                        part, layers=layers, hook=hook, pooling=pooling, half=half,
                        degap=degap, on_rejection=on_rejection,
                    )  # fmt: skip
                    break
                except OverloadedError as error:
                    time.sleep(wait_s(error, give_up_s))
            yield answer


def stream_request(
    sequences: Sequence[str], options: encoder_pb2.EncodeOptions, as_ready: bool
) -> encoder_pb2.EncodeStreamRequest:
    """Returns the message for one batch of a stream."""
    request = encoder_pb2.EncodeRequest(
        sequences=convert.all_sendable(sequences), options=options
    )
    return encoder_pb2.EncodeStreamRequest(
        request=request, as_ready=as_ready, in_parts=True
    )


def embed_size(layers: Sequence[int]) -> int:
    """Returns the most nucleotides of a batch whose activations are asked for."""
    return max(1, MAX_SIZE // max(1, len(set(layers))))


def wait_s(error: OverloadedError, give_up_s: float) -> float:
    """Returns how long to wait before another try.

    Raises:
        OverloadedError: that would be too late, or the server said nothing.
    """
    delay_s = error.retry_after_s
    if delay_s is None or time.monotonic() + delay_s > give_up_s:
        raise error
    return delay_s


def checked(
    answer: _Outcome, on_rejection: OnRejection, field: str = "sequences"
) -> _Outcome:
    """Returns what came, unless members were refused and that is an error.

    Raises:
        RejectedError: it is.
    """
    if answer.rejections and on_rejection == "raise":
        raise RejectedError(answer.rejections, field)
    return answer
