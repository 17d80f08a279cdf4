"""The lines in front of the model: bounded, and emptied in batches.

Knows callers, deadlines and room; nothing of asyncio, the model or what a code is.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from ribolex.errors import InvalidRequestError, NotReadyError, OverloadedError
from ribolex.server.engine.budget import Budget
from ribolex.server.engine.plan import PRICES, Lane, Waiting, line_of, plan
from ribolex.server.engine.rate import Rate
from ribolex.server.engine.task import Task, cost
from ribolex.server.engine.ticket import Computed, Entry, Flight, Ticket

_LATE = "the deadline passed in the queue"


class Limits(NamedTuple):
    """How much may wait."""

    max_tokens: int
    """In each lane."""
    max_requests: int
    """In each lane."""
    batch_tokens: int


class Queue:
    """Bounded lines of windows. Thread-safe.

    Each lane has room of its own, in tokens (of flights, until they are computed) and
    in requests (tickets, until they are answered). Whoever has the same to be computed
    as another joins its flight and takes no tokens. A ticket whose caller is gone or
    late never reaches a batch, nor does a flight that all have left. After `close`
    every ticket that was ever accepted has been answered or is in a taken batch.

    Attributes:
        limits: As given.
        rate: Told of each batch by the taker; says when to try again.
        budget: Of the next batch; lowered by the taker when memory runs out.
        n_tokens: Tokens of each lane.
        n_requests: Tickets of each lane.
    """

    def __init__(self, limits: Limits, rate: Rate) -> None:
        self.limits = limits
        self.rate = rate
        self.budget = Budget(limits.batch_tokens)
        self.n_tokens = dict.fromkeys(Lane, 0)
        self.n_requests = dict.fromkeys(Lane, 0)
        # Ordered dicts: first and any other leave in constant time.
        self._lines: tuple[OrderedDict[Entry, None], ...]
        self._lines = tuple(OrderedDict() for _ in PRICES)
        self._paid: tuple[int, ...] = (0,) * len(PRICES)
        self._flights: dict[Hashable, Flight] = {}
        self._changed = threading.Condition()
        self._closed: NotReadyError | None = None
        self._on_room: Callable[[], None] = lambda: None

    def watch(self, on_room: Callable[[], None]) -> None:
        """Has `on_room` called, from any thread, whenever room may have appeared."""
        self._on_room = on_room

    def put(self, ticket: Ticket[Any]) -> None:
        """Adds all of a ticket's tasks, or none. Does not block.

        Raises:
            InvalidRequestError: there will never be room for so much at once.
            OverloadedError: there is no room for it now.
            NotReadyError: the queue is closed.
        """
        tasks = {task.identity: task for task in ticket.tasks}
        costs = {name: cost(len(task.text)) for name, task in tasks.items()}
        with self._changed:
            if self._closed is not None:
                raise self._closed
            if ticket.tasks:
                self._admit(ticket, costs)
                self._changed.notify()
        if not ticket.tasks:
            ticket.future.set_result([])
            return
        ticket.future.add_done_callback(partial(self._leave, ticket))

    def take(self) -> list[Entry] | None:
        """Removes the next batch from the lines, waiting for one. Blocks.

        Returns:
            At least one entry, all with one key, within the budget unless it is one
            alone; None once the queue is closed.
        """
        while True:
            late: list[Ticket[Any]] = []
            with self._changed:
                self._changed.wait_for(lambda: any(self._lines) or self._closed)
                if self._closed is not None:
                    return None
                batch = self._cut(late)
            for ticket in late:
                ticket.fail(TimeoutError(_LATE))
            if batch:
                return batch

    def finish(self, flight: Flight, done: Computed[Any]) -> None:
        """Answers all who wait for a flight."""
        for ticket, places in self._land(flight).items():
            for place in places:
                ticket.settle(place, done)
        self._on_room()

    def fail(self, flight: Flight, error: BaseException) -> None:
        """Answers all who wait for a flight with an error."""
        for ticket in self._land(flight):
            ticket.fail(error)
        self._on_room()

    def close(self, error: NotReadyError) -> None:
        """Refuses what comes from now on, and what is in the lines, with `error`."""
        with self._changed:
            self._closed = error
            left = {entry.flight for line in self._lines for entry in line}
            self._changed.notify_all()
        for flight in left:
            self.fail(flight, error)
        self._on_room()

    def overload(self, lane: Lane, n_tokens: int) -> OverloadedError:
        """Returns the error of a lane in which there would be so many tokens."""
        limit = self.limits.max_tokens
        delay_s = self._delay_s(lane, max(0, n_tokens - limit))
        return OverloadedError("tokens", limit, n_tokens, delay_s)

    def _admit(self, ticket: Ticket[Any], costs: dict[Hashable, int]) -> None:
        lane, limits = ticket.lane, self.limits
        self._check_ever(sum(costs.values()))
        found = self._flights
        wanted = sum(
            n_tokens
            for identity, n_tokens in costs.items()
            if identity not in found or found[identity].lane > lane
        )
        n_tokens = self.n_tokens[lane] + wanted
        n_requests = self.n_requests[lane] + 1
        if n_requests > limits.max_requests:
            mean = self.n_tokens[lane] / self.n_requests[lane]
            raise OverloadedError(
                "requests", limits.max_requests, n_requests, self._delay_s(lane, mean)
            )
        if n_tokens > limits.max_tokens:
            raise self.overload(lane, n_tokens)
        self.n_requests[lane] = n_requests
        line = line_of(lane, sum(costs.values()), limits.batch_tokens)
        for place, task in enumerate(ticket.tasks):
            flight = self._board(task, line, lane)
            flight.waiters.setdefault(ticket, []).append(place)
            ticket.flights.append(flight)

    def _check_ever(self, n_tokens: int) -> None:
        limit = self.limits.max_tokens
        if n_tokens > limit:
            raise InvalidRequestError(
                "sequences",
                f"{n_tokens} tokens, expected at most {limit}, the server's room for "
                "what waits (--max-queue-tokens): send fewer of them",
            )

    def _delay_s(self, lane: Lane, n_tokens: float) -> float:
        """Returns when so many tokens of a lane will be done, if the other is busy."""
        prices = {each: PRICES[line_of(each, 0, 1)] for each in Lane}
        speeds = {each: 1 / price for each, price in prices.items()}
        busy = sum(speeds[each] for each in Lane if each == lane or self.n_tokens[each])
        return self.rate.delay_s(n_tokens * busy / speeds[lane])

    def _board(self, task: Task[Any], line: int, lane: Lane) -> Flight:
        """Returns the flight of a task: one that is there, or a new one in its line."""
        identity = task.identity
        flight = self._flights.get(identity)
        if flight is None:
            flight = self._flights[identity] = Flight.of(task, line, lane)
            entries = [Entry(flight, i) for i in range(len(flight.windows))]
            self._lines[line].update(dict.fromkeys(entries))
            self.n_tokens[lane] += flight.n_tokens
        elif line < flight.line:
            # Who joins a slower flight makes it faster.
            entries = self._remove(flight)
            self._lines[line].update(dict.fromkeys(entries))
            self.n_tokens[flight.lane] -= flight.n_tokens
            self.n_tokens[lane] += flight.n_tokens
            flight.line, flight.lane = line, lane
        return flight

    def _cut(self, late: list[Ticket[Any]]) -> list[Entry]:
        now_s = time.monotonic()
        seen: list[list[Entry]] = [[] for _ in self._lines]
        lines = [
            _waiting(self._living(line, now_s, late), entries)
            for line, entries in zip(self._lines, seen, strict=True)
        ]
        made = plan(lines, self._paid, self.budget.now())
        self._paid = made.paid
        batch = [seen[pick.line][pick.place] for pick in made.picks]
        for entry in batch:
            del self._lines[entry.flight.line][entry]
        return batch

    def _living(
        self, line: Iterable[Entry], now_s: float, late: list[Ticket[Any]]
    ) -> Iterator[Entry]:
        """Yields the entries that somebody can still use; notes who is late."""
        for entry in line:
            waiters = entry.flight.waiters
            gone = [ticket for ticket in waiters if ticket.is_late(now_s)]
            late += gone
            if len(gone) < len(waiters):
                yield entry

    def _leave(self, ticket: Ticket[Any], _: object) -> None:
        """Takes a ticket out that has been answered, or whose caller is gone."""
        with self._changed:
            self.n_requests[ticket.lane] -= 1
            for flight in ticket.flights:
                if flight.waiters.pop(ticket, None) and not flight.waiters:
                    self._drop(flight)
            ticket.flights = []
        self._on_room()

    def _land(self, flight: Flight) -> dict[Ticket[Any], list[int]]:
        """Takes a flight out; gives who waited for it."""
        with self._changed:
            waiters, flight.waiters = flight.waiters, {}
            if waiters:
                self._drop(flight)
        return waiters

    def _drop(self, flight: Flight) -> None:
        del self._flights[flight.identity]
        self.n_tokens[flight.lane] -= flight.n_tokens
        self._remove(flight)

    def _remove(self, flight: Flight) -> list[Entry]:
        """Takes what is left of a flight out of its line."""
        line = self._lines[flight.line]
        entries = [Entry(flight, i) for i in range(len(flight.windows))]
        left = [entry for entry in entries if entry in line]
        for entry in left:
            del line[entry]
        return left


def _waiting(line: Iterable[Entry], seen: list[Entry]) -> Iterator[Waiting]:
    """Yields what the plan sees of entries; keeps those that it has seen."""
    for entry in line:
        seen.append(entry)
        yield Waiting(entry.flight.key, entry.n_tokens)
