"""What a server's failure becomes at the caller, over a real socket."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from ribolex.client import Client, errors
from ribolex.client.status import ERRORS

Behaviour = Callable[[Any, grpc.ServicerContext], object]


class _Everything(grpc.GenericRpcHandler):
    """Answers every unary method in the same way."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._handler: grpc.RpcMethodHandler[Any, Any] = (
            grpc.unary_unary_rpc_method_handler(behaviour)
        )

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any]:
        return self._handler


@contextmanager
def _client(behaviour: Behaviour, timeout_s: float = 20.0) -> Iterator[Client]:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[_Everything(behaviour)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with Client(f"127.0.0.1:{port}", timeout_s=timeout_s) as client:
            yield client
        server.stop(None).wait()


def _aborting(code: grpc.StatusCode, text: str) -> Behaviour:
    return lambda request, context: context.abort(code, text)


def _aborting_richly(code: grpc.StatusCode, *details: Any) -> Behaviour:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message="so it is", details=packed)
    return lambda request, context: context.abort_with_status(
        rpc_status.to_status(status)
    )


FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", FAILURES)
def test_every_code_becomes_an_error_of_ours(code: grpc.StatusCode) -> None:
    behaviour = _aborting(code, "so it is")
    with _client(behaviour) as client, pytest.raises(ERRORS[code]) as caught:
        client.get_collection("mine")
    assert "so it is" in caught.value.message
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_field_violations_and_retry_come_along() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="options.k", description="65 is not in 1 to 64"
    )
    behaviour = _aborting_richly(
        grpc.StatusCode.INVALID_ARGUMENT,
        error_details_pb2.DebugInfo(detail="of no interest"),
        error_details_pb2.BadRequest(field_violations=[violation]),
        error_details_pb2.RetryInfo(
            retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)
        ),
    )
    with _client(behaviour) as client, pytest.raises(errors.RibolexError) as caught:
        client.get_collection("mine")
    expected = errors.FieldViolation("options.k", "65 is not in 1 to 64")
    assert caught.value.violations == (expected,)
    assert caught.value.retry_after_s == 1.5


@pytest.mark.parametrize(
    ("code", "reason", "domain", "expected"),
    [
        ("NOT_FOUND", "RNA_NOT_FOUND", "ribolex", errors.RnaNotFoundError),
        ("NOT_FOUND", "RNA_NOT_FOUND", "other", errors.NotFoundError),
        ("NOT_FOUND", "WHAT_NOT_FOUND", "ribolex", errors.NotFoundError),
        ("NOT_FOUND", "COLLECTION_EXISTS", "ribolex", errors.NotFoundError),
        (
            "INVALID_ARGUMENT",
            "SEQUENCE_TOO_LONG",
            "ribolex",
            errors.SequenceTooLongError,
        ),
    ],
)
def test_reason_makes_the_error_finer(
    code: str, reason: str, domain: str, expected: type[errors.RibolexError]
) -> None:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=domain)
    behaviour = _aborting_richly(grpc.StatusCode[code], info)
    with _client(behaviour) as client, pytest.raises(errors.RibolexError) as caught:
        client.get_collection("mine")
    assert type(caught.value) is expected


def test_details_that_cannot_be_read_do_no_harm() -> None:
    def behaviour(request: Any, context: grpc.ServicerContext) -> object:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "so it is")

    with _client(behaviour) as client, pytest.raises(errors.NotFoundError) as caught:
        client.get_collection("mine")
    assert caught.value.violations == ()


def test_server_that_is_not_there_is_named() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(errors.NotReadyError) as caught:
        client.get_collection("mine")
    assert "no server answers at 127.0.0.1:1" in caught.value.message


def test_answer_that_does_not_come_in_time_is_an_error() -> None:
    def behaviour(request: Any, context: grpc.ServicerContext) -> object:
        while context.is_active():
            pass
        return b""

    late = pytest.raises(errors.TimedOutError, match="in time")
    with _client(behaviour, timeout_s=0.2) as client, late:
        client.get_collection("mine")


def test_every_code_is_mapped() -> None:
    assert set(ERRORS) == set(FAILURES)


def test_module_docstring_draws_the_whole_tree() -> None:
    tree = {
        member.__name__
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.RibolexError)
    }
    words = (errors.__doc__ or "").split()
    assert {word for word in words if word.endswith("Error")} == tree
