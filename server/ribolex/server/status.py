"""How an error looks to a gRPC caller; the only place that knows.

Servicers raise, and the interceptor here aborts the call: with a code, one sentence,
and google.rpc details (the error's name and fields, the request's field at fault,
when to try again). Knows nothing of what any method does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ribolex import errors

_LOG = logging.getLogger(__name__)

DOMAIN = "ribolex"
"""ErrorInfo.domain of every error of ours."""

RETRY_S = 1.0
"""Seconds after which a refused caller may try again, where nothing better is known."""

STATUS: dict[type[errors.RibolexError], grpc.StatusCode] = {
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidSequenceError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.SequenceTooLongError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.CorruptInputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.DictionaryNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.FeatureNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.CollectionNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.RnaNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.DictionaryExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.CollectionExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.IncompatibleDictionaryError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StaleWriteError: grpc.StatusCode.ABORTED,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.NotReadyError: grpc.StatusCode.UNAVAILABLE,
    errors.CorruptArtefactError: grpc.StatusCode.DATA_LOSS,
    errors.DownloadError: grpc.StatusCode.UNAVAILABLE,
}
"""The code of each error that can be raised."""


def reason_of(error: errors.RibolexError) -> str:
    """Returns ErrorInfo.reason: SEQUENCE_TOO_LONG for SequenceTooLongError."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def rich_status(error: Exception) -> status_pb2.Status:
    """Returns the status that a caller sees, details included.

    Errors that are not ours tell nothing but "internal error", save a TimeoutError,
    which is how the engine says that a deadline passed.
    """
    if isinstance(error, TimeoutError):
        return status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED, message=str(error))
    code = STATUS.get(type(error)) if isinstance(error, errors.RibolexError) else None
    if code is None or not isinstance(error, errors.RibolexError):
        return status_pb2.Status(code=code_pb2.INTERNAL, message="internal error")
    return status_pb2.Status(
        code=code.value[0],
        message=str(error),
        details=[_packed(detail) for detail in _details(error)],
    )


def _details(error: errors.RibolexError) -> list[message.Message]:
    fields = {name: str(value) for name, value in vars(error).items()}
    found: list[message.Message] = [
        error_details_pb2.ErrorInfo(
            reason=reason_of(error), domain=DOMAIN, metadata=fields
        )
    ]
    if isinstance(error, errors.InvalidRequestError):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message
        )
        found.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.OverloadedError | errors.NotReadyError):
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(1000 * _retry_s(error)))
        found.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return found


def _retry_s(error: errors.RibolexError) -> float:
    known = error.retry_s if isinstance(error, errors.OverloadedError) else None
    return RETRY_S if known is None else known


def _packed(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    status = rich_status(error)
    if status.code == code_pb2.INTERNAL:
        _LOG.error("a call failed by a fault of ours", exc_info=error)
    known = rpc_status.to_status(status)
    await context.abort(known.code, known.details, known.trailing_metadata)


Method = Callable[[Any, Any], Any]


def _answering_once(method: Method) -> Method:
    async def answer(request: Any, context: Any) -> Any:
        try:
            return await method(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, error)

    return answer


def _answering_as_stream(method: Method) -> Method:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in method(request, context):
                yield response
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, error)

    return answer


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Turns what a servicer raises into a status, for all four kinds of method."""

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Returns the method's handler, wrapped."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/ribolex."):
            return handler
        coders = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                _answering_once(handler.unary_unary), *coders
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                _answering_once(handler.stream_unary), *coders
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                _answering_as_stream(handler.unary_stream), *coders
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                _answering_as_stream(handler.stream_stream), *coders
            )
        return handler
