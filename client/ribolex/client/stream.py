"""Streams in the caller's thread: bounded batches, a bounded number of them ahead.

Knows nothing of what is asked or answered, only that each request gets one answer, in
one message or in several that follow one another.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import grpc

from ribolex.client.errors import ServerError, TimedOutError

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Member = TypeVar("_Member")

ENDED_EARLY = "the server ended the stream before its last answer"
TOO_MANY = "the server sent more answers than there were requests"


def answers_in_order(
    method: grpc.StreamStreamMultiCallable[_Request, _Response],
    requests: Iterable[_Request],
    n_ahead: int,
    timeout_s: float,
    metadata: tuple[tuple[str, str], ...] = (),
    goes_on: Callable[[_Response], bool] = lambda message: False,
) -> Iterator[list[_Response]]:
    """Yields the answers to the requests, which are drawn as answers are taken.

    Requests are drawn in the thread that takes the answers, so an error of theirs
    comes out here. Leaving early ends the call.

    Args:
        method: the stub's method.
        requests: drawn one by one.
        n_ahead: requests without an answer at any time, at least 1.
        timeout_s: longest wait for one message, in seconds.
        metadata: of the call.
        goes_on: whether more messages follow of the same answer.

    Raises:
        TimedOutError: an answer did not come in time.
        ServerError: there were more answers or fewer than requests.
        grpc.RpcError: the call failed.
    """
    outbox: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
    call = method(iter(outbox.get, None), metadata=metadata)
    n_open = 0

    def whole() -> list[_Response]:
        messages = [_next(call, timeout_s)]
        while goes_on(messages[-1]):
            messages.append(_next(call, timeout_s))
        return messages

    try:
        for request in requests:
            if n_open == n_ahead:
                yield whole()
                n_open -= 1
            outbox.put(request)
            n_open += 1
        outbox.put(None)
        for _ in range(n_open):
            yield whole()
        _end(call, timeout_s)
    finally:
        # gRPC reads the outbox in a thread of its own, which this lets go.
        outbox.put(None)
        call.cancel()


def _next(call: grpc._CallIterator[_Response], timeout_s: float) -> _Response:
    """Returns the next message; gRPC itself knows no deadline for one of a stream."""
    try:
        with _in_time(call, timeout_s):
            return next(call)
    except StopIteration as error:
        raise ServerError(ENDED_EARLY) from error


def _end(call: grpc._CallIterator[_Response], timeout_s: float) -> None:
    """Waits for the end: leaving before it, the server would see a caller that left."""
    with _in_time(call, timeout_s):
        for _ in call:
            raise ServerError(TOO_MANY)


@contextmanager
def _in_time(call: grpc._CallIterator[_Response], timeout_s: float) -> Iterator[None]:
    """Cancels the call if the block takes longer."""
    is_late = threading.Event()

    def give_up() -> None:
        is_late.set()
        call.cancel()

    timer = threading.Timer(timeout_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except grpc.RpcError as error:
        if is_late.is_set():
            raise TimedOutError(no_answer(timeout_s)) from error
        raise
    finally:
        timer.cancel()


def no_answer(timeout_s: float) -> str:
    """Returns how a wait that took too long is told."""
    return f"no answer within {timeout_s:g} s"


def in_batches(
    members: Iterable[_Member],
    size: Callable[[_Member], int],
    max_members: int,
    max_size: int,
) -> Iterator[list[_Member]]:
    """Yields the members in their order, in lists bounded by number and by size.

    A member larger than max_size makes a list of its own.
    """
    batcher = Batcher(size, max_members, max_size)
    for member in members:
        if batch := batcher.add(member):
            yield batch
    if batcher.batch:
        yield batcher.batch


class Batcher(Generic[_Member]):
    """Members in lists bounded by number and by size, as `in_batches` says.

    Attributes:
        batch: What was added since the last full one.
    """

    def __init__(
        self, size: Callable[[_Member], int], max_members: int, max_size: int
    ) -> None:
        self._size = size
        self._max_members = max_members
        self._max_size = max_size
        self._total = 0
        self.batch: list[_Member] = []

    def add(self, member: _Member) -> list[_Member]:
        """Adds a member; returns the batch that had no room for it, or nothing."""
        full: list[_Member] = []
        more = self._size(member)
        is_full = len(self.batch) == self._max_members
        if self.batch and (is_full or self._total + more > self._max_size):
            full, self.batch, self._total = self.batch, [], 0
        self.batch.append(member)
        self._total += more
        return full
