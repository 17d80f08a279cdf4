"""Work that is done to its end, though who asked for it has left.

For what changes disk and memory, which must say the same: the call that asked may meet
its deadline at any await. Knows nothing of what is done.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

_LOG = logging.getLogger(__name__)

Result = TypeVar("Result")


class Unbroken:
    """Pieces of such work. For one event loop; `settle` in the end."""

    def __init__(self) -> None:
        # The event loop alone would let them be collected.
        self._tasks: set[asyncio.Task[Any]] = set()

    async def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Returns what work gives; a caller that is cancelled leaves once it is done.

        So locks and files that the caller holds are held as long as they are needed.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait((task,))
            if not task.cancelled() and (error := task.exception()) is not None:
                _LOG.warning("failed, and nobody waits for it: %s", error)
            raise

    async def settle(self) -> None:
        """Waits for all that is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
