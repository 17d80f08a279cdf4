"""How an error looks to a gRPC caller; the only place that knows.

Servicers raise, and `answering` aborts the call: with a code, one sentence,
and google.rpc details (the error's name and fields, the request's field at fault,
when to try again). Knows nothing of what any method does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ribolex import errors
from ribolex.server.logs import log_fault

_LOG = logging.getLogger(__name__)

DOMAIN = "ribolex"
"""ErrorInfo.domain of every error of ours."""

RETRY_S = 1.0
"""Seconds after which a refused caller may try again, where nothing better is known."""

FULL_S = 60.0
"""Likewise, where somebody has to make room on a disk."""

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
    errors.DictionaryInUseError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StaleWriteError: grpc.StatusCode.ABORTED,
    errors.CollectionMovedError: grpc.StatusCode.ABORTED,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooManyCallsError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.NotAuthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotPermittedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.SwitchedOffError: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotReadyError: grpc.StatusCode.UNAVAILABLE,
    errors.StorageFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.CorruptArtefactError: grpc.StatusCode.DATA_LOSS,
    errors.DownloadError: grpc.StatusCode.UNAVAILABLE,
}
"""The code of each error that can be raised."""

_PASSING = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
"""Codes of what may succeed later: RetryInfo says when to try again."""


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
    if STATUS[type(error)] in _PASSING:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(1000 * _retry_s(error)))
        found.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return found


def _retry_s(error: errors.RibolexError) -> float:
    if isinstance(error, errors.StorageFullError):
        return FULL_S
    known = error.retry_s if isinstance(error, errors.OverloadedError) else None
    return RETRY_S if known is None else known


def _packed(detail: message.Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


@asynccontextmanager
async def answering(
    context: grpc.aio.ServicerContext[Any, Any],
    metadata: tuple[tuple[str, str], ...],
    on_error: Callable[[Exception], None],
) -> AsyncIterator[None]:
    """Turns what a servicer raises within the block into a status.

    Args:
        context: of the call.
        metadata: goes with the status.
        on_error: told of every error that is turned.
    """
    try:
        yield
        return
    except grpc.aio.AbortError:
        raise
    except Exception as error:
        failed = error
    # Out of the block: gRPC may log what it gets with the error behind it, whose words
    # may quote a sequence.
    on_error(failed)
    status = rich_status(failed)
    if status.code == code_pb2.INTERNAL:
        log_fault(_LOG, "a call failed by a fault of ours", failed)
    known = rpc_status.to_status(status)
    trailing = (*known.trailing_metadata, *metadata)
    await context.abort(known.code, known.details, trailing)
