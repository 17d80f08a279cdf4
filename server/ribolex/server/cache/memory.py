"""Bytes by key, as many as there is room for; the ones used longest ago go first.

Knows nothing of what they are.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

_OVERHEAD = 200
"""Bytes that an entry takes besides key and value, about."""
_PART = 8
"""No value may take more than so much of the room, an eighth."""


class MemoryCache:
    """Thread-safe.

    Attributes:
        n_bytes: Taken now; at most the limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Returns the values that are there, by key."""
        found = {}
        with self._lock:
            for key in keys:
                value = self._found.get(key)
                if value is not None:
                    self._found.move_to_end(key)
                    found[key] = value
        return found

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Adds values, but for those that are too large; others make room."""
        with self._lock:
            for key, value in values.items():
                self._drop(key)
                if _size(key, value) > self._limit // _PART:
                    continue
                self._found[key] = value
                self.n_bytes += _size(key, value)
            while self.n_bytes > self._limit:
                self._drop(next(iter(self._found)))

    def drop(self, key: bytes) -> None:
        """Removes a value, if it is there."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        value = self._found.pop(key, None)
        if value is not None:
            self.n_bytes -= _size(key, value)


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD
