"""The line in front of the model: bounded, and emptied in batches.

Knows callers, deadlines and room; nothing of asyncio, the model or what a code is.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from ribolex.errors import NotReadyError, OverloadedError
from ribolex.server.engine.plan import Waiting, plan

_WINDOW = 4096
"""Entries from the head of the line that one plan looks at: bounds its cost."""

Outcome = TypeVar("Outcome")


class Work(NamedTuple):
    """One sequence to encode."""

    key: Hashable
    """Equal for all that may share a batch."""
    n_tokens: int
    content: Any
    """Whatever the taker needs to do it."""


@dataclass(slots=True, eq=False)
class Ticket(Generic[Outcome]):
    """One caller's sequences, and the future in which the caller waits for them.

    The future gets the outcomes of all sequences, in their order, or one error.
    Cancelling it takes the ticket out of the line. Fields are changed by the queue
    and the taker only; resolving is thread-safe.
    """

    works: Sequence[Work]
    deadline_s: float | None = None
    """On `time.monotonic`'s clock; None waits for ever."""
    future: Future[list[Outcome]] = field(default_factory=Future)
    arrived_s: float = field(default_factory=time.monotonic)
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    @property
    def n_tokens(self) -> int:
        """Tokens of all its sequences."""
        return sum(work.n_tokens for work in self.works)

    def settle(self, place: int, outcome: Outcome) -> None:
        """Notes one outcome; the last one answers the caller."""
        self.outcomes[place] = outcome
        if len(self.outcomes) == len(self.works):
            done = [self.outcomes[i] for i in range(len(self.works))]
            try:
                self.future.set_result(done)
            except InvalidStateError:
                return  # the caller left, or another batch failed first

    def fail(self, error: BaseException) -> None:
        """Answers the caller with an error, unless it has an answer already."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return


class Entry(NamedTuple, Generic[Outcome]):
    """One sequence in the line: a place in a ticket."""

    ticket: Ticket[Outcome]
    place: int

    @property
    def work(self) -> Work:
        """What is to be done."""
        return self.ticket.works[self.place]


class Queue(Generic[Outcome]):
    """A bounded line of sequences. Thread-safe.

    Room is counted in tokens and in requests (tickets with a sequence in the line).
    A ticket whose caller is gone or whose deadline has passed never reaches a batch.
    After `close` every ticket that was ever accepted has been answered or taken.

    Attributes:
        n_tokens: Tokens in the line.
        n_requests: Tickets with a sequence in the line.
    """

    def __init__(
        self, *, max_tokens: int, max_requests: int, batch_tokens: int
    ) -> None:
        self._max_tokens = max_tokens
        self._max_requests = max_requests
        self._batch_tokens = batch_tokens
        self._line: list[Entry[Outcome]] = []
        self.n_tokens = 0
        self.n_requests = 0
        self._changed = threading.Condition()
        self._closed: NotReadyError | None = None
        self._on_room: Callable[[], None] = lambda: None

    def watch(self, on_room: Callable[[], None]) -> None:
        """Has `on_room` called, from the taker's thread, whenever room appears."""
        self._on_room = on_room

    def put(self, ticket: Ticket[Outcome]) -> None:
        """Adds all of a ticket's sequences to the line, or none. Does not block.

        A ticket larger than all the room there is gets in when the line is empty.

        Raises:
            OverloadedError: there is no room for it now.
            NotReadyError: the queue is closed.
        """
        with self._changed:
            if self._closed is not None:
                raise self._closed
            if not ticket.works:
                ticket.future.set_result([])
                return
            n_requests = self.n_requests + 1
            n_tokens = self.n_tokens + ticket.n_tokens
            if n_requests > self._max_requests:
                raise OverloadedError("requests", self._max_requests, n_requests)
            if n_tokens > self._max_tokens and self._line:
                raise OverloadedError("tokens", self._max_tokens, n_tokens)
            self._line += [Entry(ticket, i) for i in range(len(ticket.works))]
            self.n_requests, self.n_tokens = n_requests, n_tokens
            self._changed.notify()

    def take(self) -> list[Entry[Outcome]] | None:
        """Removes the next batch from the line, waiting for one. Blocks.

        Returns:
            At least one entry, all with one key; None once the queue is closed.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._line or self._closed)
                expired = self._sweep()
                batch = self._cut()
                self._count()
                is_closed = self._closed is not None
            for ticket in expired:
                ticket.fail(TimeoutError("the deadline passed in the queue"))
            self._on_room()
            if batch:
                return batch
            if is_closed:
                return None

    def close(self, error: NotReadyError) -> None:
        """Refuses what comes from now on, and what is in the line, with `error`."""
        with self._changed:
            self._closed = error
            left, self._line = self._line, []
            self._count()
            self._changed.notify_all()
        for entry in left:
            entry.ticket.fail(error)
        self._on_room()

    def _count(self) -> None:
        self.n_tokens = sum(entry.work.n_tokens for entry in self._line)
        self.n_requests = len({id(entry.ticket) for entry in self._line})

    def _sweep(self) -> list[Ticket[Outcome]]:
        """Removes what nobody waits for any more; gives the tickets that expired."""
        now_s = time.monotonic()
        expired: dict[int, Ticket[Outcome]] = {}
        kept = []
        for entry in self._line:
            ticket = entry.ticket
            if ticket.future.done():
                continue
            if ticket.deadline_s is not None and ticket.deadline_s <= now_s:
                expired[id(ticket)] = ticket
                continue
            kept.append(entry)
        self._line = kept
        return list(expired.values())

    def _cut(self) -> list[Entry[Outcome]]:
        window = self._line[:_WINDOW]
        seen = [Waiting(entry.work.key, entry.work.n_tokens) for entry in window]
        places = plan(seen, self._batch_tokens)
        batch = [window[place] for place in places]
        for place in reversed(places):
            del self._line[place]
        return batch
