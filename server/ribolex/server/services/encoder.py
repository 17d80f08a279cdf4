"""EncoderService: sequences in, codes or activations out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.convert.embedding import decode_view, encode_embeddings
from ribolex.server.convert.encoder import decode_options, encode_answer
from ribolex.server.engine.embedding import EmbedTask
from ribolex.server.engine.encoding import EncodeTask
from ribolex.server.engine.front import Order
from ribolex.server.engine.plan import Lane
from ribolex.server.services.gate import Backend, Gate, deadline_of
from ribolex.server.services.outcomes import count_answer
from ribolex.server.services.streaming import in_order, until_drained
from ribolex.v1 import encoder_pb2, encoder_pb2_grpc

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
        return await self._encode(request, deadline_s, lane, is_patient=False)

    async def EncodeStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[encoder_pb2.EncodeStreamRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[encoder_pb2.EncodeStreamResponse]:
        """Encodes a stream of batches, answers in order."""
        self._gate.enter()
        deadline_s = deadline_of(context.time_remaining())

        async def answer(
            request: encoder_pb2.EncodeStreamRequest,
        ) -> encoder_pb2.EncodeResponse:
            return await self._encode(
                request.request, deadline_s, Lane.BULK, is_patient=True
            )

        requests = until_drained(request_iterator, self._gate.draining)
        async for request, response in in_order(requests, answer, in_flight=_IN_FLIGHT):
            yield encoder_pb2.EncodeStreamResponse(
                request_id=request.request_id, response=response
            )

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
            count_answer(backend.metrics, answer)
            total_s = time.monotonic() - begun_s
            for response in encode_embeddings(answer, view, backend.lm, total_s):
                yield response

    async def _encode(
        self,
        request: encoder_pb2.EncodeRequest,
        deadline_s: float | None,
        lane: Lane,
        *,
        is_patient: bool,
    ) -> encoder_pb2.EncodeResponse:
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
        answer = await backend.engine.compute(order)
        count_answer(backend.metrics, answer)
        total_s = time.monotonic() - begun_s
        response = encode_answer(answer, options, found.dictionary, total_s)
        convert.check_size(
            response,
            backend.max_message_bytes,
            "sequences",
            "send fewer of them, or ask for sequence codes only",
        )
        return response


def _check_number(n_sequences: int, backend: Backend) -> None:
    if not 1 <= n_sequences <= backend.max_sequences:
        raise InvalidRequestError(
            "sequences", f"{n_sequences}, expected 1 to {backend.max_sequences}"
        )
