"""Many requests of one stream at work, their answers in order.

Knows neither messages nor what an answer takes.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Generic, NamedTuple, TypeVar

from ribolex.errors import NotReadyError

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Answered(NamedTuple, Generic[Request, Answer]):
    """A request with its answer."""

    request: Request
    answer: Answer


async def until_drained(
    requests: AsyncIterator[Request], draining: asyncio.Event
) -> AsyncGenerator[Request, None]:
    """Yields the requests of a stream until it ends or the server drains.

    Raises:
        NotReadyError: the server drains; what was read before is unharmed.
    """
    drained = asyncio.ensure_future(draining.wait())
    coming: asyncio.Future[Request] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(requests))
            await asyncio.wait((coming, drained), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise NotReadyError("draining")
            try:
                request = coming.result()
            except StopAsyncIteration:
                return
            yield request
    finally:
        drained.cancel()
        if coming is not None:
            coming.cancel()


async def in_order(
    requests: AsyncGenerator[Request, None],
    answer: Callable[[Request], Coroutine[None, None, Answer]],
    *,
    in_flight: int,
) -> AsyncGenerator[Answered[Request, Answer], None]:
    """Yields each request with its answer, in the order of the requests.

    At most `in_flight` requests are read and not yet taken back from here, so a slow
    reader of answers slows the reading of requests. An error, of a request or of the
    stream, is raised in its turn, after all answers before it; the rest is cancelled.
    """
    line: asyncio.Queue[tuple[Request, asyncio.Task[Answer]] | None] = asyncio.Queue()
    room = asyncio.Semaphore(in_flight)
    tasks: set[asyncio.Task[Answer]] = set()

    async def read() -> None:
        try:
            async with aclosing(requests):
                await room.acquire()
                async for request in requests:
                    task = asyncio.create_task(answer(request))
                    tasks.add(task)
                    line.put_nowait((request, task))
                    await room.acquire()
        finally:
            line.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (entry := await line.get()) is not None:
            request, task = entry
            result = await task
            tasks.discard(task)
            yield Answered(request, result)
            room.release()
        await reader
    finally:
        reader.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(reader, *tasks, return_exceptions=True)
