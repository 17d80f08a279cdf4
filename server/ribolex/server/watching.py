"""Changes of dictionaries, told to whoever watches.

Knows nothing of what makes a change, or of who is told.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from ribolex.errors import OverloadedError

ChangeKind = Literal["serving", "kept", "loaded", "activated", "refused", "retired"]

_MAX_UNREAD = 64


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a version."""

    kind: ChangeKind
    name: str
    version: int
    content_id: str = ""
    """Empty if it was not loaded."""
    reason: str = ""
    """Why it was refused."""
    time_s: float = field(default_factory=time.time)


class Watcher:
    """One who is told; yields changes as they come. For one reader."""

    def __init__(self) -> None:
        self._unread: asyncio.Queue[Change] = asyncio.Queue()
        self._is_lost = False

    def __aiter__(self) -> "Watcher":
        return self

    async def __anext__(self) -> Change:
        """Returns the next change.

        Raises:
            OverloadedError: more came than were read; some are lost.
        """
        change = await self._unread.get()
        if self._is_lost:
            raise OverloadedError("changes", _MAX_UNREAD, _MAX_UNREAD + 1)
        return change

    def tell(self, change: Change) -> bool:
        """Adds a change; returns False if the watcher is too slow, now or before."""
        if self._unread.qsize() >= _MAX_UNREAD:
            self._is_lost = True
        if not self._is_lost:
            self._unread.put_nowait(change)
        return not self._is_lost


class Watchers:
    """All who are told. For one event loop; telling never waits."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._watchers)

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        """Gives a watcher that is told of all that comes within the block."""
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def tell(self, change: Change) -> None:
        """Tells all; who is too slow is told of no more."""
        self._watchers = {each for each in self._watchers if each.tell(change)}
