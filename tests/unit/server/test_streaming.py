"""Streams: answers in order, bounded in flight, errors in their turn."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

import pytest

from ribolex.errors import NotReadyError
from ribolex.server.services.streaming import Answered, in_order, until_drained

T = TypeVar("T")


async def drain(stream: AsyncGenerator[T, None], into: list[T]) -> None:
    async for each in stream:
        into.append(each)


async def numbers(n: int) -> AsyncGenerator[int, None]:
    for i in range(n):
        yield i


async def test_answers_come_in_order_however_long_each_takes() -> None:
    async def answer(i: int) -> int:
        await asyncio.sleep(0.002 * (7 - i) % 0.005)
        return 10 * i

    got = [pair async for pair in in_order(numbers(8), answer, in_flight=4)]
    assert got == [(i, 10 * i) for i in range(8)]


async def test_no_more_are_read_than_may_be_in_flight() -> None:
    reads = 0

    async def counted() -> AsyncGenerator[int, None]:
        nonlocal reads
        for i in range(20):
            reads += 1
            yield i

    async def answer(i: int) -> int:
        return i

    answers = in_order(counted(), answer, in_flight=3)
    for taken in range(5):
        await anext(answers)
        for _ in range(10):
            await asyncio.sleep(0)
        # The one just taken is given back when the next is asked for.
        assert reads <= taken + 3
    await answers.aclose()


async def test_an_error_comes_after_the_answers_before_it() -> None:
    async def answer(i: int) -> int:
        if i == 2:
            raise ValueError("the third")
        await asyncio.sleep(0.01)
        return i

    got: list[Answered[int, int]] = []
    with pytest.raises(ValueError, match="third"):
        await drain(in_order(numbers(6), answer, in_flight=6), got)
    assert got == [(0, 0), (1, 1)]


async def test_work_in_flight_is_cancelled_when_the_reader_of_answers_leaves() -> None:
    cancelled = []

    async def answer(i: int) -> int:
        try:
            await asyncio.sleep(30 if i else 0)
        except asyncio.CancelledError:
            cancelled.append(i)
            raise
        return i

    answers = in_order(numbers(3), answer, in_flight=3)
    await anext(answers)
    await answers.aclose()
    assert sorted(cancelled) == [1, 2]


async def test_draining_ends_an_idle_stream_after_what_was_read() -> None:
    draining = asyncio.Event()

    async def idle() -> AsyncGenerator[int, None]:
        yield 1
        draining.set()
        await asyncio.sleep(30)

    got: list[int] = []
    with pytest.raises(NotReadyError):
        await drain(until_drained(idle(), draining), got)
    assert got == [1]


async def test_a_stream_that_ends_is_no_error() -> None:
    got = [i async for i in until_drained(numbers(3), asyncio.Event())]
    assert got == [0, 1, 2]
