"""How a failed call becomes an error of ours: the only place that reads gRPC codes.

The details of a failure travel as google.rpc messages. The few read here are declared
here, in a pool of their own, so that the client needs no package that ships them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from ribolex.client import errors

ERRORS: dict[grpc.StatusCode, type[errors.RibolexError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.IncompatibleDictionaryError,
    grpc.StatusCode.ABORTED: errors.StaleWriteError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.OverloadedError,
    grpc.StatusCode.UNAVAILABLE: errors.NotReadyError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.TimedOutError,
    grpc.StatusCode.CANCELLED: errors.CancelledError,
    grpc.StatusCode.DATA_LOSS: errors.CorruptArtefactError,
    grpc.StatusCode.INTERNAL: errors.ServerError,
    grpc.StatusCode.UNKNOWN: errors.ServerError,
    grpc.StatusCode.UNIMPLEMENTED: errors.ServerError,
    grpc.StatusCode.UNAUTHENTICATED: errors.NotAuthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotPermittedError,
}
"""Every code but OK; a test says so."""

_REASONS: dict[str, type[errors.RibolexError]] = {
    "INVALID_SEQUENCE": errors.InvalidSequenceError,
    "SEQUENCE_TOO_LONG": errors.SequenceTooLongError,
    "DICTIONARY_NOT_FOUND": errors.DictionaryNotFoundError,
    "FEATURE_NOT_FOUND": errors.FeatureNotFoundError,
    "COLLECTION_NOT_FOUND": errors.CollectionNotFoundError,
    "RNA_NOT_FOUND": errors.RnaNotFoundError,
    "DICTIONARY_EXISTS": errors.DictionaryExistsError,
    "COLLECTION_EXISTS": errors.CollectionExistsError,
    "DICTIONARY_IN_USE": errors.DictionaryInUseError,
}
"""ErrorInfo.reason, where it says more than the code."""

_DETAILS = "grpc-status-details-bin"


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turns what gRPC raises within into an error of ours, chained.

    Args:
        address: The server, for the message when it is not reachable.

    Raises:
        RibolexError: The call failed.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise error_of(error, address) from error


def error_of(error: grpc.RpcError, address: str) -> errors.RibolexError:
    """Returns the error that stands for a failed call."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return errors.ServerError(str(error))
    code = error.code()
    text = error.details() or f"the server said {code.name} and nothing else"
    if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in text.lower():
        text = f"no server answers at {address} (start one with: ribolex serve)"
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
        text = f"no answer from {address} in time: {text}"
    details = _details(error)
    kind = ERRORS.get(code, errors.ServerError)
    finer = _REASONS.get(details.reason, kind)
    # There is no one error above all that FAILED_PRECONDITION stands for.
    is_finer = issubclass(finer, kind) or finer is errors.DictionaryInUseError
    return (finer if is_finer else kind)(
        text, violations=details.violations, retry_after_s=details.retry_after_s
    )


class _Details(NamedTuple):
    reason: str = ""
    violations: tuple[errors.FieldViolation, ...] = ()
    retry_after_s: float | None = None


def _details(error: grpc.Call | grpc.aio.AioRpcError) -> _Details:
    """Returns what the trailing metadata say; nothing if they cannot be read."""
    packed = {pair[0]: pair[1] for pair in error.trailing_metadata() or ()}.get(
        _DETAILS
    )
    if not isinstance(packed, bytes):
        return _Details()
    found = _Details()
    try:
        for detail in _Status.FromString(packed).details:
            found = _with(found, detail.type_url.rpartition("/")[2], detail.value)
    except message.DecodeError:
        return _Details()
    return found


def _with(found: _Details, kind: str, packed: bytes) -> _Details:
    """Returns the details with those of one google.rpc message added."""
    if kind == "google.rpc.ErrorInfo":
        info = _ErrorInfo.FromString(packed)
        return found._replace(reason=info.reason) if info.domain == "ribolex" else found
    if kind == "google.rpc.BadRequest":
        faults = _BadRequest.FromString(packed).field_violations
        violations = [errors.FieldViolation(f.field, f.description) for f in faults]
        return found._replace(violations=(*found.violations, *violations))
    if kind == "google.rpc.RetryInfo":
        delay = _RetryInfo.FromString(packed).retry_delay
        return found._replace(retry_after_s=delay.seconds + delay.nanos * 1e-9)
    return found


# Fields of each message as (name, number, type); "*" marks a repeated one.
_TYPES = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "Detail": [("type_url", 1, "string"), ("value", 2, "bytes")],
    "Status": [
        ("code", 1, "int32"),
        ("message", 2, "string"),
        ("details", 3, "*Detail"),
    ],
    "ErrorInfo": [("reason", 1, "string"), ("domain", 2, "string")],
    "Violation": [("field", 1, "string"), ("description", 2, "string")],
    "BadRequest": [("field_violations", 1, "*Violation")],
    "Delay": [("seconds", 1, "int64"), ("nanos", 2, "int32")],
    "RetryInfo": [("retry_delay", 1, "Delay")],
}


def _declare() -> dict[str, Any]:
    """Returns the classes of _MESSAGES, wire-compatible with google.rpc's."""
    file = descriptor_pb2.FileDescriptorProto(
        name="ribolex/client/status.proto", package="ribolex.client", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=name)
        for label, number, kind in fields:
            added = declared.field.add(name=label, number=number)
            added.label = _TYPES.LABEL_OPTIONAL
            if kind.startswith("*"):
                added.label = _TYPES.LABEL_REPEATED
            if (inner := kind.lstrip("*")) in _MESSAGES:
                added.type = _TYPES.TYPE_MESSAGE
                added.type_name = f".ribolex.client.{inner}"
            else:
                added.type = _TYPES.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClassesForFiles([file.name], pool)


_CLASSES = _declare()
_Status = _CLASSES["ribolex.client.Status"]
_ErrorInfo = _CLASSES["ribolex.client.ErrorInfo"]
_BadRequest = _CLASSES["ribolex.client.BadRequest"]
_RetryInfo = _CLASSES["ribolex.client.RetryInfo"]
