"""EncoderService: sequences in, codes or activations out."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, NamedTuple

import grpc

from ribolex.dictionary import Dictionary
from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.convert.embedding import decode_view, encode_embeddings
from ribolex.server.convert.encoder import (
    Options,
    bytes_of_parts,
    decode_options,
    encode_answer,
    encode_parts,
)
from ribolex.server.engine.embedding import EmbedTask
from ribolex.server.engine.encoding import EncodeTask, Encoding
from ribolex.server.engine.front import Answer, Order
from ribolex.server.engine.plan import Lane
from ribolex.server.services.gate import Backend, Gate, deadline_of
from ribolex.server.services.outcomes import count_answer
from ribolex.server.services.scan import scan_variants
from ribolex.server.services.steer import steer
from ribolex.server.services.streaming import in_order, until_drained
from ribolex.v1 import encoder_pb2, encoder_pb2_grpc, steering_pb2, variants_pb2

_IN_FLIGHT = 8
"""Requests of one stream at work: enough to fill the next batch during this one."""


class EncoderService(encoder_pb2_grpc.EncoderServiceServicer):
    """Encodes; stores nothing."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def Encode(  # noqa: N802
        self,
        request: encoder_pb2.EncodeRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> encoder_pb2.EncodeResponse:
        """Encodes one batch of sequences."""
        deadline_s = deadline_of(context.time_remaining())
        lane = Lane.BULK if request.bulk else Lane.INTERACTIVE
        job = await self._prepare(request, deadline_s, lane, is_patient=False)
        return _whole(await self._encode(job), job)

    async def EncodeStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[encoder_pb2.EncodeStreamRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[encoder_pb2.EncodeStreamResponse]:
        """Encodes a stream of batches, answers in order or as they are ready."""
        backend = self._gate.enter()
        deadline_s = deadline_of(context.time_remaining())
        with backend.room.account() as account:

            async def read() -> AsyncGenerator[_Streamed, None]:
                place = 0
                async with aclosing(
                    until_drained(request_iterator, self._gate.draining)
                ) as requests:
                    async for request in requests:
                        job = await self._prepare(
                            request.request, deadline_s, Lane.BULK, is_patient=True
                        )
                        # Taken here, in the order of the requests: none waits for room
                        # that one behind it holds.
                        n_bytes = job.n_bytes() if request.in_parts else 0
                        await account.take(n_bytes, "sequences")
                        yield _Streamed(place, request, job, n_bytes)
                        place += 1

            answers = in_order(
                read(),
                self._answer,
                in_flight=_IN_FLIGHT,
                overtakes=lambda streamed: streamed.request.as_ready,
            )
            async with aclosing(answers):
                async for streamed, parts in answers:
                    for message in _messages(streamed, parts):
                        yield message
                    account.give(streamed.n_bytes)

    async def Embed(  # noqa: N802
        self,
        request: encoder_pb2.EmbedRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[encoder_pb2.EmbedResponse]:
        """Gives the activations of one batch of sequences."""
        begun_s = time.monotonic()
        backend = self._gate.enter()
        _check_number(len(request.sequences), backend)
        view = decode_view(request, backend.lm)
        longest = backend.engine.max_nucleotides
        n_rows = sum(view.n_rows(min(len(one), longest)) for one in request.sequences)
        n_bytes = view.n_bytes(n_rows, backend.lm.config.d_model)
        # Held until the last message is taken: a slow reader's rows are in memory.
        with backend.room.hold(n_bytes, "sequences"):
            order = Order(
                request.sequences,
                lambda text: EmbedTask(text, view),
                degap=request.degap,
                deadline_s=deadline_of(context.time_remaining()),
                lane=Lane.BULK if request.bulk else Lane.INTERACTIVE,
            )
            answer = await backend.engine.compute(order)
            count_answer(backend.metrics, order.lane, answer)
            total_s = time.monotonic() - begun_s
            for response in encode_embeddings(answer, view, backend.lm, total_s):
                yield response

    async def ScanVariants(  # noqa: N802
        self,
        request: variants_pb2.ScanVariantsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[variants_pb2.ScanVariantsResponse]:
        """Says what variants of an RNA change."""
        deadline_s = deadline_of(context.time_remaining())
        answers = scan_variants(self._gate.enter(), request, deadline_s)
        async with aclosing(answers):
            async for response in answers:
                yield response

    async def Steer(  # noqa: N802
        self,
        request: steering_pb2.SteerRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> steering_pb2.SteerResponse:
        """Makes features fire otherwise and says what the model then expects."""
        deadline_s = deadline_of(context.time_remaining())
        return await steer(self._gate.enter(), request, deadline_s)

    async def _prepare(
        self,
        request: encoder_pb2.EncodeRequest,
        deadline_s: float | None,
        lane: Lane,
        *,
        is_patient: bool,
    ) -> _Job:
        """Returns what a request asks for, once it is known to be sound."""
        begun_s = time.monotonic()
        backend = self._gate.enter()
        options = decode_options(request.options)
        _check_number(len(request.sequences), backend)
        found = await backend.dictionaries.fitting(options.name, options.version)
        recipe = options.recipe(found.dictionary)
        order = Order(
            request.sequences,
            lambda text: EncodeTask(text, found.dictionary, recipe),
            degap=options.degap,
            deadline_s=deadline_s,
            lane=lane,
            is_patient=is_patient,
        )
        return _Job(backend, order, options, found.dictionary, begun_s)

    async def _encode(self, job: _Job) -> _Encoded:
        answer = await job.backend.engine.compute(job.order)
        count_answer(job.backend.metrics, job.order.lane, answer)
        return _Encoded(answer, time.monotonic() - job.begun_s)

    async def _answer(
        self, streamed: _Streamed
    ) -> Iterator[encoder_pb2.EncodeResponse]:
        """Gives the parts of an answer, made as they are taken."""
        job = streamed.job
        encoded = await self._encode(job)
        if not streamed.request.in_parts:
            return iter([_whole(encoded, job)])
        return encode_parts(
            encoded.answer, job.options, job.dictionary, encoded.total_s
        )


class _Job(NamedTuple):
    """One request of sequences to encode."""

    backend: Backend
    order: Order[Encoding]
    options: Options
    dictionary: Dictionary
    begun_s: float

    def n_bytes(self) -> int:
        """Returns what its codes take in memory, at most."""
        return bytes_of_parts(self.order.sequences, self.options, self.dictionary)


class _Encoded(NamedTuple):
    """What became of a request, and in how many seconds."""

    answer: Answer[Encoding]
    total_s: float


class _Streamed(NamedTuple):
    """One request of a stream."""

    place: int
    """In the stream."""
    request: encoder_pb2.EncodeStreamRequest
    job: _Job
    n_bytes: int
    """Of room that it holds."""


def _whole(encoded: _Encoded, job: _Job) -> encoder_pb2.EncodeResponse:
    """Returns the answer as one message, if it fits into one."""
    answer, total_s = encoded
    response = encode_answer(answer, job.options, job.dictionary, total_s)
    convert.check_size(
        response,
        job.backend.max_message_bytes,
        "sequences",
        "send fewer of them, ask for sequence codes only, or have EncodeStream "
        "answer in parts",
    )
    return response


def _messages(
    streamed: _Streamed, parts: Iterator[encoder_pb2.EncodeResponse]
) -> Iterator[encoder_pb2.EncodeStreamResponse]:
    """Yields the parts of an answer with what says whose they are."""
    part: encoder_pb2.EncodeResponse | None = next(parts)
    while part is not None:
        following = next(parts, None)
        yield encoder_pb2.EncodeStreamResponse(
            request_id=streamed.request.request_id,
            response=part,
            index=streamed.place,
            continues=following is not None,
        )
        part = following


def _check_number(n_sequences: int, backend: Backend) -> None:
    if not 1 <= n_sequences <= backend.max_sequences:
        raise InvalidRequestError(
            "sequences", f"{n_sequences}, expected 1 to {backend.max_sequences}"
        )
