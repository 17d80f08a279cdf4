"""What part of the truth searches find: a few of them, done again thoroughly.

Works in a thread of its own, of the lowest priority, one search at a time. Knows
nothing of searches.
"""

import logging
import os
import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_LOG = logging.getLogger(__name__)

_REMEMBERED = 256
"""Searches that the estimate is the mean of: the last ones."""
_ENOUGH = 20
"""Fewer give no estimate: one search that finds half would look like a fault."""


class RecallSample:
    """Estimates the recall of live searches. Thread-safe; `close` it in the end."""

    def __init__(self, fraction: float, seed: int | None = None) -> None:
        """Begins with no estimate.

        Args:
            fraction: of searches that are done again, 0 to 1.
            seed: of the choice; None for another one each time.
        """
        self._fraction = fraction
        self._random = random.Random(seed)
        self._recalls: deque[float] = deque(maxlen=_REMEMBERED)
        self._is_busy = threading.Lock()
        self._is_closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, "ribolex-recall", _step_back)

    @property
    def recall(self) -> float:
        """Mean over the searches that were done again last; nan for under 20."""
        recalls = list(self._recalls)
        n = len(recalls)
        return sum(recalls) / n if n >= _ENOUGH else float("nan")

    @property
    def is_closed(self) -> bool:
        """Whether measuring is to end."""
        return self._is_closed.is_set()

    def offer(self, measure: Callable[[], float | None]) -> None:
        """Has one search measured, if it is chosen and no other one is measured now.

        Args:
            measure: gives the recall, None if there was nothing to find; called in
                another thread. What it raises is logged.
        """
        if self._random.random() >= self._fraction or self.is_closed:
            return
        if self._is_busy.acquire(blocking=False):
            self._thread.submit(self._measure, measure)

    def close(self) -> None:
        """Ends the thread; waits for a measurement that is going on."""
        self._is_closed.set()
        self._thread.shutdown()

    def _measure(self, measure: Callable[[], float | None]) -> None:
        try:
            recall = measure()
            if recall is not None:
                self._recalls.append(recall)
        except Exception:
            # Nobody waits for it, and no later sample may suffer.
            _LOG.exception("the recall of a search could not be measured")
        finally:
            self._is_busy.release()


def _step_back() -> None:
    """Gives this thread what processor time the others leave."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
