"""Room in memory for answers that are larger than a message.

Knows nothing of what they hold.
"""

import asyncio
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
        self._line = asyncio.Lock()
        self._freed = asyncio.Event()
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
        self._check_ever(n_bytes, field)
        if self.n_taken + n_bytes > self._limit:
            got = self.n_taken + n_bytes
            raise OverloadedError("bytes of answers", self._limit, got)
        self.n_taken += n_bytes
        try:
            yield
        finally:
            self._give(n_bytes)

    @contextmanager
    def account(self) -> Iterator["Account"]:
        """Gives what one stream takes room with; what it has left is given back."""
        account = Account(self)
        try:
            yield account
        finally:
            account.give(account.n_taken)

    async def _take(self, n_bytes: int, field: str) -> None:
        self._check_ever(n_bytes, field)
        async with self._line:
            while self.n_taken + n_bytes > self._limit:
                self._freed.clear()
                await self._freed.wait()
            self.n_taken += n_bytes

    def _give(self, n_bytes: int) -> None:
        self.n_taken -= n_bytes
        self._freed.set()

    def _check_ever(self, n_bytes: int, field: str) -> None:
        if n_bytes > self._limit:
            raise InvalidRequestError(
                field,
                f"the answer takes {n_bytes} bytes, expected at most {self._limit}, "
                "the server's room for answers (--max-embedding-mib): send fewer "
                "sequences, name fewer layers, or ask for float16 or for one row a "
                "sequence",
            )


class Account:
    """What one stream holds of a room; takes in the order of its requests.

    Attributes:
        n_taken: Bytes that it holds now.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.n_taken = 0

    async def take(self, n_bytes: int, field: str) -> None:
        """Takes room, waiting for it behind those that came before.

        Raises:
            InvalidRequestError: there will never be so much; `field` makes it so large.
        """
        if n_bytes:
            await self._room._take(n_bytes, field)
            self.n_taken += n_bytes

    def give(self, n_bytes: int) -> None:
        """Gives some of it back."""
        self.n_taken -= n_bytes
        self._room._give(n_bytes)
