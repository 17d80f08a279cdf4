"""How errors look from outside: every one mapped, every detail in place."""

import inspect
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ribolex import errors
from ribolex.server.status import STATUS, reason_of, rich_status

ABSTRACT = {errors.RibolexError, errors.NotFoundError, errors.AlreadyExistsError}


def details(status: status_pb2.Status) -> dict[str, Message]:
    kinds: list[type[Any]] = [
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RetryInfo,
    ]
    found: dict[str, Message] = {}
    for packed in status.details:
        for kind in kinds:
            message = kind()
            if packed.Unpack(message):
                found[kind.__name__] = message
    return found


def test_every_error_of_ours_has_a_code() -> None:
    tree = {
        member
        for _, member in inspect.getmembers(errors, inspect.isclass)
        if issubclass(member, errors.RibolexError)
    }
    assert set(STATUS) == tree - ABSTRACT


def test_a_faulty_field_is_named() -> None:
    status = rich_status(errors.SequenceTooLongError("sequences[3]", 1022, 1500))
    assert status.code == code_pb2.INVALID_ARGUMENT
    (violation,) = details(status)["BadRequest"].field_violations  # type: ignore[attr-defined]
    assert violation.field == "sequences[3]"
    assert violation.description == "1500 nucleotides, expected at most 1022"


def test_a_program_can_read_which_error_it_was() -> None:
    status = rich_status(errors.SequenceTooLongError("sequences[3]", 1022, 1500))
    info = details(status)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("SEQUENCE_TOO_LONG", "ribolex")
    assert info.metadata["limit"] == "1022"


def test_an_overloaded_server_says_when_to_try_again() -> None:
    status = rich_status(errors.OverloadedError("tokens", 10, 20))
    assert status.code == code_pb2.RESOURCE_EXHAUSTED
    retry = details(status)["RetryInfo"]
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.seconds > 0


def test_a_fault_of_ours_tells_nothing() -> None:
    status = rich_status(KeyError("secret"))
    assert (status.code, status.message) == (code_pb2.INTERNAL, "internal error")
    assert not status.details


def test_a_deadline_that_passed_in_the_queue_is_one() -> None:
    assert rich_status(TimeoutError("late")).code == code_pb2.DEADLINE_EXCEEDED


@pytest.mark.parametrize("kind", list(STATUS))
def test_reasons_read_like_constants(kind: type[errors.RibolexError]) -> None:
    error = kind.__new__(kind)
    assert reason_of(error).replace("_", "").isupper()
    assert isinstance(STATUS[kind], grpc.StatusCode)


PASSING: list[errors.RibolexError] = [
    errors.OverloadedError("tokens", 10, 20, 2.5),
    errors.TooManyCallsError("somebody", 1, 2),
    errors.NotReadyError("loading"),
    errors.DownloadError("https://here", "is away"),
    errors.StorageFullError("data"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_whatever_may_succeed_later_says_when(error: errors.RibolexError) -> None:
    retry = details(rich_status(error))["RetryInfo"]
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() in (1000, 2500, 60_000)


def test_all_that_may_succeed_later_was_tried() -> None:
    codes = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
    passing = {kind for kind, code in STATUS.items() if code in codes}
    assert passing == {type(error) for error in PASSING}
