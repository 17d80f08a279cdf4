"""Room in memory for answers that are larger than a message.

Knows nothing of what they hold.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ribolex.errors import InvalidRequestError, OverloadedError


class Room:
    """So many bytes, shared by the calls in progress. For one event loop.

    Attributes:
        n_taken: Bytes that are held now.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.n_taken = 0

    @contextmanager
    def hold(self, n_bytes: int, field: str) -> Iterator[None]:
        """Takes room for the time of a block.

        Args:
            n_bytes: how much.
            field: of the request, that makes it so large.

        Raises:
            InvalidRequestError: there will never be so much.
            OverloadedError: there is not so much now.
        """
        if n_bytes > self._limit:
            raise InvalidRequestError(
                field,
                f"the activations take {n_bytes} bytes, expected at most "
                f"{self._limit}, the server's room for them (--max-embedding-mib): "
                "send fewer sequences, name fewer layers, or ask for float16 or for "
                "one row a sequence",
            )
        if self.n_taken + n_bytes > self._limit:
            got = self.n_taken + n_bytes
            raise OverloadedError("bytes of activations", self._limit, got)
        self.n_taken += n_bytes
        try:
            yield
        finally:
            self.n_taken -= n_bytes
