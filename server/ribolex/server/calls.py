"""What happens around every call, whatever its method: one interceptor.

It learns who calls, holds clients to their limits, decodes requests, turns errors into
statuses, and afterwards counts, measures and logs the call. Knows nothing of what any
method does, and keeps nothing of what a request holds.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from ribolex.errors import InvalidRequestError, RibolexError
from ribolex.server.auth import Auth
from ribolex.server.convert.load import load_of
from ribolex.server.limits import CallLimits
from ribolex.server.logs import current_request, log_event
from ribolex.server.metrics import Metrics
from ribolex.server.status import answering, reason_of
from ribolex.server.tracing import Tracing

_LOG = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
"""Metadata by which a caller names a call, and learns what it is named in the log."""

UNHEARD = "unheard"
"""Where the log and the metrics have a code: gRPC ended the call by itself before it
came to us, since its message was too large or its caller left at once."""

_GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Call:
    """One call, as it is told in the log."""

    method: str
    """Without the first slash."""
    request_id: str
    client: str = ""
    """The name of its token or certificate, else its address."""
    n_messages: int = 0
    n_sequences: int = 0
    n_nucleotides: int = 0
    begun_s: float = field(default_factory=time.monotonic)
    is_heard: bool = False
    """Whether its handler was entered: what gRPC ends by itself never is."""
    metadata: Sequence[tuple[str, str | bytes]] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is no call of health or reflection."""
        return self.method.startswith("ribolex.")

    def counts(self) -> dict[str, int]:
        """Returns what it brought."""
        return {
            "n_messages": self.n_messages,
            "n_sequences": self.n_sequences,
            "n_nucleotides": self.n_nucleotides,
        }


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Stands around all methods of a server. For one event loop."""

    def __init__(
        self,
        auth: Auth,
        limits: CallLimits,
        metrics: Metrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._auth = auth
        self._limits = limits
        self._metrics = metrics
        self._tracing = tracing

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Returns the method's handler, wrapped; or one that refuses the caller."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            self._metrics.requests.labels("unknown", "UNIMPLEMENTED").inc()
            return None
        metadata = [
            (one[0], one[1]) for one in handler_call_details.invocation_metadata
        ]
        call = Call(method.removeprefix("/"), _request_id(metadata), metadata=metadata)
        if (task := asyncio.current_task()) is not None:
            task.add_done_callback(lambda _: self._tell_unheard(call))
        try:
            call.client = self._auth.check(method, metadata)
        except RibolexError as error:
            return self._refusing(call, error)
        return self._wrapping(handler, call)

    def _wrapping(self, handler: Any, call: Call) -> grpc.RpcMethodHandler[Any, Any]:
        """Returns a handler with all that stands around it."""
        method = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )

        async def decoded(raws: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for raw in raws:
                yield self._decode(handler, raw, call)

        def begin(raw: Any, context: Any) -> Any:
            if handler.request_streaming:
                return method(decoded(raw), context)
            return method(self._decode(handler, raw, call), context)

        async def once(raw: Any, context: Any) -> Any:
            async with self._around(call, context):
                return await begin(raw, context)

        async def many(raw: Any, context: Any) -> AsyncIterator[Any]:
            async with self._around(call, context):
                answers = begin(raw, context)
                if inspect.isawaitable(answers):
                    await answers  # it writes to the context by itself
                    return
                async for answer in answers:
                    yield answer

        kind = _KINDS[handler.request_streaming, handler.response_streaming]
        wrapped = many if handler.response_streaming else once
        # Bytes come to us as they are: what cannot be decoded is then ours to refuse.
        made: grpc.RpcMethodHandler[Any, Any] = kind(
            wrapped, None, handler.response_serializer
        )
        return made

    def _refusing(
        self, call: Call, error: RibolexError
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Returns a handler that fails the call before a byte of it is read."""

        async def refuse(raws: Any, context: Any) -> AsyncIterator[Any]:
            async with self._around(call, context):
                raise error
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _decode(self, handler: Any, raw: bytes, call: Call) -> Any:
        """Returns a message of a call, counted and within the limits.

        Raises:
            InvalidRequestError: it is none, or brings too much.
        """
        try:
            request = handler.request_deserializer(raw)
        except DecodeError as error:
            message = f"{len(raw)} bytes, expected a message of {call.method}"
            raise InvalidRequestError("request", message) from error
        load = load_of(request)
        call.n_messages += 1
        call.n_sequences += load.n_sequences
        call.n_nucleotides += load.n_nucleotides
        self._metrics.received_sequences.inc(load.n_sequences)
        self._metrics.received_nucleotides.inc(load.n_nucleotides)
        self._limits.check(load)
        return request

    @asynccontextmanager
    async def _around(self, call: Call, context: Any) -> AsyncIterator[None]:
        """Stands around the work of a call; whatever ends it is counted and logged."""
        call.client = call.client or _client(context)
        current_request.set(call.request_id)
        trailing = ((REQUEST_ID, call.request_id),)
        context.set_trailing_metadata(trailing)
        # Probes are no part of what a client may take, but have a bound of their own.
        account = call.client if call.is_ours else f"{call.client} (probes)"
        code, call.is_heard = grpc.StatusCode.OK, True
        span = None
        if self._tracing is not None and call.is_ours:
            span = self._tracing.begin(call.method, call.metadata)
        self._metrics.open_requests.labels(call.method).inc()
        try:
            async with answering(context, trailing, self._count_error):
                with self._limits.call(account):
                    yield
        except grpc.aio.AbortError:
            code = _code(context)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            left_s = context.time_remaining()
            is_late = left_s is not None and left_s <= 0
            code = (
                grpc.StatusCode.DEADLINE_EXCEEDED
                if is_late
                else grpc.StatusCode.CANCELLED
            )
            raise
        finally:
            self._tell(call, code.name)
            if self._tracing is not None and span is not None:
                self._tracing.end(span, code, call.counts())

    def _tell_unheard(self, call: Call) -> None:
        """Counts a call that ended before its handler was entered."""
        if not call.is_heard:
            self._metrics.open_requests.labels(call.method).inc()
            self._tell(call, UNHEARD)

    def _count_error(self, error: Exception) -> None:
        if isinstance(error, RibolexError):
            self._metrics.rejected_requests.labels(reason_of(error).lower()).inc()

    def _tell(self, call: Call, code: str) -> None:
        duration_s = time.monotonic() - call.begun_s
        self._metrics.open_requests.labels(call.method).dec()
        self._metrics.requests.labels(call.method, code).inc()
        self._metrics.request_seconds.labels(call.method).observe(duration_s)
        log_event(
            _LOG,
            logging.INFO if call.is_ours else logging.DEBUG,
            "call",
            method=call.method,
            code=code,
            duration_s=round(duration_s, 6),
            **call.counts(),
            client=call.client,
        )


_KINDS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""By whether requests, and whether answers, are streams."""


def _request_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Returns the caller's name for a call, if it can be one, or a new one."""
    for key, value in metadata:
        if key == REQUEST_ID and isinstance(value, str) and _GOOD_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex[:16]


def _client(context: Any) -> str:
    """Returns the name in a caller's certificate, else its address without the port."""
    names = context.peer_identities()
    if names:
        return str(names[0].decode(errors="replace"))
    kind, _, address = unquote(context.peer()).partition(":")
    return address.rpartition(":")[0].strip("[]") if kind != "unix" else "local"


def _code(context: Any) -> grpc.StatusCode:
    """Returns the code that a call was aborted with; gRPC keeps its number."""
    found = context.code()
    numbers = {code.value[0]: code for code in grpc.StatusCode}
    return found if isinstance(found, grpc.StatusCode) else numbers[found]
