"""How much of the server one caller may take.

Knows callers by name and messages by what they bring; nothing of what is done with
them.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ribolex.errors import InvalidRequestError, TooManyCallsError
from ribolex.server.convert.load import Load


class CallLimits:
    """Bounds on the calls of one client and on one message. For one event loop."""

    def __init__(self, *, max_calls: int, max_nucleotides: int) -> None:
        self._max_calls = max_calls
        self._max_nucleotides = max_nucleotides
        self._open: Counter[str] = Counter()

    @contextmanager
    def call(self, client: str) -> Iterator[None]:
        """Counts a call as open for the time of a block.

        Raises:
            TooManyCallsError: the client has as many open as it may.
        """
        got = self._open[client] + 1
        if got > self._max_calls:
            raise TooManyCallsError(client, self._max_calls, got)
        self._open[client] = got
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]

    def check(self, load: Load) -> None:
        """Does nothing if a message brings no more than it may.

        Raises:
            InvalidRequestError: it has too many nucleotides.
        """
        if load.n_nucleotides > self._max_nucleotides:
            raise InvalidRequestError(
                load.field,
                f"{load.n_nucleotides} nucleotides in one message, expected at most "
                f"{self._max_nucleotides} (--max-request-nucleotides)",
            )
