"""Whether something that fails is to be tried again.

Knows nothing of what it is.
"""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Opens after some failures in a row; then one try at a time, after a rest.

    Thread-safe. Each try that `may_try` allows is to end in `succeed` or `fail`.
    """

    def __init__(
        self,
        n_failures: int = 5,
        rest_s: float = 5.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._n_failures = n_failures
        self._rest_s = rest_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._n_failed = 0
        self._next_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it failed too often, and has not succeeded since."""
        return self._n_failed >= self._n_failures

    def may_try(self) -> bool:
        """Returns whether to try now; while open True once in every rest."""
        with self._lock:
            if not self.is_open:
                return True
            now_s = self._now_s()
            if now_s < self._next_s:
                return False
            self._next_s = now_s + self._rest_s
            return True

    def succeed(self) -> None:
        """Closes it."""
        with self._lock:
            self._n_failed = 0

    def fail(self) -> bool:
        """Notes a failure; returns whether that opened it, or kept it open."""
        with self._lock:
            self._n_failed += 1
            if self.is_open:
                self._next_s = self._now_s() + self._rest_s
            return self.is_open
