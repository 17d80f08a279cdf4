"""How fast the model works, as measured, and what follows for those who are refused.

Knows nothing of queues or callers.
"""

import random
import threading

_KEEP = 0.9
"""Weight of the past at each batch: about the last ten count."""
_LEAST_S, _MOST_S = 0.1, 30.0
_UNKNOWN_S = 1.0


class Rate:
    """Tokens a second over the last batches. Thread-safe."""

    def __init__(self, random_numbers: random.Random | None = None) -> None:
        self._random = random_numbers or random.Random()
        self._lock = threading.Lock()
        self._n_tokens = 0.0
        self._seconds = 0.0

    def note(self, n_tokens: int, seconds: float) -> None:
        """Adds a batch."""
        with self._lock:
            self._n_tokens = self._n_tokens * _KEEP + n_tokens
            self._seconds = self._seconds * _KEEP + seconds

    def seconds_of(self, n_tokens: float) -> float | None:
        """Returns how long so many tokens will take; None before the first batch."""
        with self._lock:
            if not self._n_tokens:
                return None
            return n_tokens * self._seconds / self._n_tokens

    def delay_s(self, n_tokens: float) -> float:
        """Returns when to try again if so many tokens must be computed before.

        Within a tenth of a second and half a minute, give or take a quarter, so that
        those who were refused together do not come back together.
        """
        seconds = self.seconds_of(n_tokens)
        known = _UNKNOWN_S if seconds is None else seconds
        return min(max(known, _LEAST_S), _MOST_S) * self._random.uniform(0.75, 1.25)
