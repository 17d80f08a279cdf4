"""Files that are read again when they change.

Knows nothing of what is in them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from ribolex.errors import RibolexError

_LOG = logging.getLogger(__name__)

EVERY_S = 1.0
"""Seconds between two looks at the files."""


async def follow(
    paths: Sequence[Path],
    reload: Callable[[], None],
    on_failure: Callable[[], None],
) -> None:
    """Calls `reload` in a thread whenever one of the files has changed, for ever.

    Looks, and is not told: that works on every file system, and with the links by
    which containers swap their secrets.

    Args:
        paths: files that are read.
        reload: raises OSError or RibolexError to go on with what was read before.
        on_failure: called after each of these.
    """
    seen = await asyncio.to_thread(_state, paths)
    while True:
        await asyncio.sleep(EVERY_S)
        now = await asyncio.to_thread(_state, paths)
        if now == seen:
            continue
        seen = now
        try:
            await asyncio.to_thread(reload)
        except (OSError, RibolexError) as error:
            on_failure()
            _LOG.error("a changed file is not taken, the old one holds: %s", error)


def _state(paths: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """Returns what differs once a file is another; None for one that is gone."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            state = path.stat()
            found.append((state.st_mtime_ns, state.st_size, state.st_ino))
        except OSError:
            found.append(None)
    return found
