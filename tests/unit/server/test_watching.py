"""Watchers are told in order, and the slow ones are let go."""

import asyncio

import pytest

from ribolex.errors import OverloadedError
from ribolex.server.watching import Change, Watchers


def change(version: int) -> Change:
    return Change("activated", "tiny", version)


async def test_all_are_told_in_order_of_what_comes_while_they_watch() -> None:
    watchers = Watchers()
    watchers.tell(change(1))
    with watchers.watching() as first, watchers.watching() as second:
        watchers.tell(change(2))
        watchers.tell(change(3))
        for watcher in (first, second):
            assert [(await anext(watcher)).version for _ in range(2)] == [2, 3]
    assert len(watchers) == 0


async def test_one_who_does_not_read_is_dropped_and_told_so() -> None:
    watchers = Watchers()
    with watchers.watching() as slow, watchers.watching() as quick:
        for version in range(100):
            watchers.tell(change(version))
            assert (await anext(quick)).version == version
        assert len(watchers) == 1
        with pytest.raises(OverloadedError, match="65 changes would wait"):
            await anext(slow)


async def test_one_who_waits_is_woken() -> None:
    watchers = Watchers()
    with watchers.watching() as watcher:
        waiting = asyncio.create_task(anext(watcher))
        await asyncio.sleep(0)
        watchers.tell(change(7))
        assert (await waiting).version == 7
