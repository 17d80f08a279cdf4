"""From the thread that prepares batches to the one that computes: one at a time.

Knows nothing of what a batch is.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Handover(Generic[Batch]):
    """Room for one batch. For one giver and one receiver.

    A batch is to be made as late as possible, so that whoever comes in the meantime
    may be in it: `await_need` returns when the receiver is idle, or will be soon by
    what it said when it took the batch before.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._batch: Batch | None = None
        self._is_idle = False
        self._free_at_s = 0.0
        self._is_closed = False

    def await_need(self, ahead_s: float) -> bool:
        """Returns once a batch will be needed within some seconds. Blocks.

        Returns:
            False once it is closed.
        """
        with self._changed:
            while not self._is_closed:
                left_s = self._free_at_s - ahead_s - time.monotonic()
                if self._batch is None and (self._is_idle or left_s <= 0):
                    return True
                # While it is full only the receiver changes anything, or the end.
                self._changed.wait(left_s if self._batch is None else None)
            return False

    def give(self, batch: Batch) -> bool:
        """Puts a batch there, after `await_need` has returned True.

        Returns:
            False if it is closed, and nobody will receive the batch.
        """
        with self._changed:
            if self._is_closed:
                return False
            self._batch = batch
            self._changed.notify_all()
            return True

    def receive(self, seconds_of: Callable[[Batch], float]) -> Batch | None:
        """Returns the next batch, waiting for it. Blocks.

        Args:
            seconds_of: says how long the receiver will take for a batch.

        Returns:
            None once it is closed and empty.
        """
        with self._changed:
            self._is_idle = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._batch is not None or self._is_closed)
            batch, self._batch = self._batch, None
            self._is_idle = False
            if batch is not None:
                self._free_at_s = time.monotonic() + seconds_of(batch)
            self._changed.notify_all()
            return batch

    def close(self) -> None:
        """Ends all waiting, now and from now on."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
