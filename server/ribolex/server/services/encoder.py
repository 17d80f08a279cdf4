"""EncoderService: sequences in, codes out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.convert.encoder import decode_options, encode_answer
from ribolex.server.engine.front import Order
from ribolex.server.services.gate import Gate, deadline_of
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
        return await self._encode(request, deadline_s, is_patient=False)

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
            return await self._encode(request.request, deadline_s, is_patient=True)

        requests = until_drained(request_iterator, self._gate.draining)
        async for request, response in in_order(requests, answer, in_flight=_IN_FLIGHT):
            yield encoder_pb2.EncodeStreamResponse(
                request_id=request.request_id, response=response
            )

    async def _encode(
        self,
        request: encoder_pb2.EncodeRequest,
        deadline_s: float | None,
        *,
        is_patient: bool,
    ) -> encoder_pb2.EncodeResponse:
        begun_s = time.monotonic()
        backend = self._gate.enter()
        options = decode_options(request.options)
        if not 1 <= len(request.sequences) <= backend.max_sequences:
            raise InvalidRequestError(
                "sequences",
                f"{len(request.sequences)}, expected 1 to {backend.max_sequences}",
            )
        found = await backend.dictionaries.fitting(options.name, options.version)
        order = Order(
            request.sequences,
            found.dictionary,
            options.recipe(found.dictionary),
            degap=options.degap,
            deadline_s=deadline_s,
            is_patient=is_patient,
        )
        answer = await backend.engine.encode(order)
        total_s = time.monotonic() - begun_s
        response = encode_answer(answer, options, found.dictionary, total_s)
        convert.check_size(
            response,
            backend.max_message_bytes,
            "sequences",
            "send fewer of them, or ask for sequence codes only",
        )
        return response
