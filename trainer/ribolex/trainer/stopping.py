"""The wish that a run ends, as SIGTERM and SIGINT bring it.

Work that can be thrown away is left at once; work that keeps where it stands asks, and
keeps it first. Knows nothing of what the work is.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """Raised where a run ends because it was asked to; no error, nothing is lost."""


class Stop:
    """Whether the run is to end. Signals reach the main thread only.

    Attributes:
        is_asked: Whether it is.
    """

    def __init__(self, *, at_once: bool = True) -> None:
        """Makes one that nothing has asked yet.

        Args:
            at_once: raise where a signal comes, unless within `careful`.
        """
        self.is_asked = False
        self._n_careful = 0 if at_once else 1

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes SIGTERM and SIGINT as the wish, until the block ends."""
        before = {each: signal.signal(each, self._take) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    @contextmanager
    def careful(self) -> Iterator[None]:
        """Within the block nothing is interrupted; whatever runs there asks."""
        self._n_careful += 1
        try:
            yield
        finally:
            self._n_careful -= 1

    def ask(self) -> None:
        """Wishes the end."""
        self.is_asked = True

    def check(self) -> None:
        """Does nothing, but raises Stopped if the end is wished."""
        if self.is_asked:
            raise Stopped

    def _take(self, _: int, frame: FrameType | None) -> None:
        is_second, self.is_asked = self.is_asked, True
        if is_second or not self._n_careful:
            raise Stopped
