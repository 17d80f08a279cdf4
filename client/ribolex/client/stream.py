"""Streams in the caller's thread: bounded batches, a bounded number of them ahead.

Knows nothing of what is asked or answered, only that each request gets one answer,
and that answers come in the order of the requests.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import grpc

from ribolex.client.errors import ServerError, TimedOutError

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Member = TypeVar("_Member")


def answers_in_order(
    method: grpc.StreamStreamMultiCallable[_Request, _Response],
    requests: Iterable[_Request],
    n_ahead: int,
    timeout_s: float,
    metadata: tuple[tuple[str, str], ...] = (),
) -> Iterator[_Response]:
    """Yields the answers to the requests, which are drawn as answers are taken.

    Requests are drawn in the thread that takes the answers, so an error of theirs
    comes out here. Leaving early ends the call.

    Args:
        method: the stub's method.
        requests: drawn one by one.
        n_ahead: requests without an answer at any time, at least 1.
        timeout_s: longest wait for one answer, in seconds.
        metadata: of the call.

    Raises:
        TimedOutError: an answer did not come in time.
        grpc.RpcError: the call failed.
    """
    outbox: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
    call = method(iter(outbox.get, None), metadata=metadata)
    n_open = 0
    try:
        for request in requests:
            if n_open == n_ahead:
                yield _next(call, timeout_s)
                n_open -= 1
            outbox.put(request)
            n_open += 1
        outbox.put(None)
        for _ in range(n_open):
            yield _next(call, timeout_s)
    finally:
        # gRPC reads the outbox in a thread of its own, which this lets go.
        outbox.put(None)
        call.cancel()


def _next(call: grpc._CallIterator[_Response], timeout_s: float) -> _Response:
    """Returns the next answer; gRPC itself knows no deadline for one of a stream."""
    is_late = threading.Event()

    def give_up() -> None:
        is_late.set()
        call.cancel()

    timer = threading.Timer(timeout_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        return next(call)
    except StopIteration as error:
        raise ServerError(
            "the server ended the stream before its last answer"
        ) from error
    except grpc.RpcError as error:
        if is_late.is_set():
            message = f"no answer within {timeout_s:g} s"
            raise TimedOutError(message) from error
        raise
    finally:
        timer.cancel()


def in_batches(
    members: Iterable[_Member],
    size: Callable[[_Member], int],
    max_members: int,
    max_size: int,
) -> Iterator[list[_Member]]:
    """Yields the members in their order, in lists bounded by number and by size.

    A member larger than max_size makes a list of its own.
    """
    batch: list[_Member] = []
    total = 0
    for member in members:
        if batch and (len(batch) == max_members or total + size(member) > max_size):
            yield batch
            batch, total = [], 0
        batch.append(member)
        total += size(member)
    if batch:
        yield batch
