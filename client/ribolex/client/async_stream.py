"""Streams in an event loop: bounded batches, a bounded number of them ahead.

The asynchronous twin of `stream`. Knows nothing of what is asked or answered, only that
each request gets one answer, in one message or in several that follow one another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeVar

import grpc.aio

from ribolex.client.connection import closed_or
from ribolex.client.errors import ServerError, TimedOutError
from ribolex.client.stream import ENDED_EARLY, TOO_MANY, Batcher, no_answer

_Response = TypeVar("_Response")
_Member = TypeVar("_Member")


async def answers_in_order(
    method: Callable[..., Any],
    requests: AsyncGenerator[Any, None],
    n_ahead: int,
    timeout_s: float,
    metadata: tuple[tuple[str, str], ...],
    goes_on: Callable[[_Response], bool] = lambda message: False,
) -> AsyncGenerator[list[_Response], None]:
    """Yields the answers to the requests, which are drawn as answers are taken.

    An error of the requests comes out here, after the answers before it. Leaving early
    ends the call, if the iterator is closed (`contextlib.aclosing`) or forgotten.

    Args:
        method: the stub's method.
        requests: drawn one by one.
        n_ahead: requests without an answer at any time, at least 1.
        timeout_s: longest wait for one message, in seconds; the time in which there is
            no request to answer does not count.
        metadata: of the call.
        goes_on: whether more messages follow of the same answer.

    Raises:
        TimedOutError: an answer did not come in time.
        ServerError: there were more answers or fewer than requests.
        CancelledError: the connection was closed underneath.
        grpc.RpcError: the call failed.
    """
    call = method(metadata=metadata)
    room = asyncio.Semaphore(n_ahead)
    is_sent: asyncio.Queue[bool] = asyncio.Queue()

    async def send() -> None:
        try:
            async with aclosing(requests):
                await room.acquire()
                async for request in requests:
                    is_sent.put_nowait(True)
                    await call.write(request)
                    await room.acquire()
            await call.done_writing()
        finally:
            is_sent.put_nowait(False)

    # Beside the reading: the server may wait for us to read before it reads on.
    sender = asyncio.create_task(send())
    try:
        while await is_sent.get():
            messages = [await _next(call, timeout_s)]
            while goes_on(messages[-1]):
                messages.append(await _next(call, timeout_s))
            yield messages
            room.release()
        await sender
        await _end(call, timeout_s)
    finally:
        sender.cancel()
        call.cancel()
        await asyncio.gather(sender, return_exceptions=True)


async def _next(call: Any, timeout_s: float) -> Any:
    message = await _read(call, timeout_s)
    if message is grpc.aio.EOF:
        if (await call.code()) is not grpc.StatusCode.OK:
            await _fail(call)
        raise ServerError(ENDED_EARLY)
    return message


async def _end(call: Any, timeout_s: float) -> None:
    """Waits for the end: leaving before it, the server would see a caller that left."""
    if await _read(call, timeout_s) is not grpc.aio.EOF:
        raise ServerError(TOO_MANY)


async def _read(call: Any, timeout_s: float) -> Any:
    """Returns the next message; gRPC itself knows no deadline for one of a stream."""
    try:
        async with asyncio.timeout(timeout_s):
            return await call.read()
    except TimeoutError as error:
        raise TimedOutError(no_answer(timeout_s)) from error
    except asyncio.CancelledError as error:
        raise closed_or(error) from error


async def _fail(call: Any) -> None:
    raise grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        await call.details(),
    )


async def in_batches(
    members: Iterable[_Member] | AsyncIterable[_Member],
    size: Callable[[_Member], int],
    max_members: int,
    max_size: int,
) -> AsyncGenerator[list[_Member], None]:
    """Yields the members in their order, in lists bounded by number and by size.

    A member larger than max_size makes a list of its own.
    """
    batcher = Batcher(size, max_members, max_size)
    async for member in _drawn(members):
        if batch := batcher.add(member):
            yield batch
    if batcher.batch:
        yield batcher.batch


async def _drawn(
    members: Iterable[_Member] | AsyncIterable[_Member],
) -> AsyncGenerator[_Member, None]:
    if isinstance(members, AsyncIterable):
        async for member in members:
            yield member
    else:
        for member in members:
            yield member
