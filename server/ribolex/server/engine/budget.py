"""How many tokens a batch may have: fewer for a while when memory ran out.

Knows nothing of the model, nor of what used the memory.
"""

import logging
import threading
import time

_LOG = logging.getLogger(__name__)

_WHILE_S = 60.0


class Budget:
    """Tokens of a batch. Thread-safe."""

    def __init__(self, n_tokens: int) -> None:
        self._most = self._now = n_tokens
        self._until_s = 0.0
        self._lock = threading.Lock()

    def now(self) -> int:
        """Returns the budget; once a minute has passed with a lower one it doubles."""
        with self._lock:
            now_s = time.monotonic()
            if self._now < self._most and now_s >= self._until_s:
                self._now = min(2 * self._now, self._most)
                self._until_s = now_s + _WHILE_S
            return self._now

    def lower(self, n_tokens: int) -> None:
        """Makes it at most so many, at least 1."""
        with self._lock:
            self._now = max(1, min(self._now, n_tokens))
            self._until_s = time.monotonic() + _WHILE_S
        _LOG.warning("out of memory, batches of at most %d tokens now", n_tokens)
