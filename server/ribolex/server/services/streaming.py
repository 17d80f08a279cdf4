"""Many requests of one stream at work, their answers in order or once they are there.

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
    overtakes: Callable[[Request], bool] = lambda request: False,
) -> AsyncGenerator[Answered[Request, Answer], None]:
    """Yields each request with its answer, in the order of the requests.

    At most `in_flight` requests are read and not yet taken back from here, so a slow
    reader of answers slows the reading of requests. An error, of a request or of the
    stream, is raised in its turn, after all answers before it; the rest is cancelled.

    Args:
        requests: of one stream.
        answer: what is to be done with each.
        in_flight: as told above.
        overtakes: whether the answer comes once it is there, before those to requests
            before it; an error never does.
    """
    line: list[tuple[Request, asyncio.Task[Answer]]] = []
    came = asyncio.Event()
    room = asyncio.Semaphore(in_flight)

    async def read() -> None:
        async with aclosing(requests):
            await room.acquire()
            async for request in requests:
                task = asyncio.create_task(answer(request))
                task.add_done_callback(lambda _: came.set())
                line.append((request, task))
                came.set()
                await room.acquire()

    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: came.set())
    try:
        while line or not reader.done():
            came.clear()
            place = _first_ready(line, overtakes)
            if place is None:
                await came.wait()
                continue
            request, task = line[place]
            result = task.result()
            del line[place]
            yield Answered(request, result)
            room.release()
        await reader
    finally:
        reader.cancel()
        for _, task in line:
            task.cancel()
        left = (task for _, task in line)
        await asyncio.gather(reader, *left, return_exceptions=True)


def _first_ready(
    line: list[tuple[Request, asyncio.Task[Answer]]],
    overtakes: Callable[[Request], bool],
) -> int | None:
    """Returns the place of the request whose turn it is; None if all must wait."""
    for place, (request, task) in enumerate(line):
        if not task.done():
            continue
        is_sound = not task.cancelled() and task.exception() is None
        if place == 0 or (is_sound and overtakes(request)):
            return place
    return None
