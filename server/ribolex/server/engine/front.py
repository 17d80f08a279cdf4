"""What coroutines see of the engine: sequences in, outcomes or faults out.

Checks sequences, lines them up and waits; never blocks the event loop. Knows nothing
of messages or of what is computed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from ribolex.errors import InvalidRequestError, NotReadyError, OverloadedError
from ribolex.lm import LanguageModel
from ribolex.server.cache.results import ResultCache
from ribolex.server.engine.encoding import read_sequence
from ribolex.server.engine.observer import Observer
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.queue import Limits, Queue
from ribolex.server.engine.rate import Rate
from ribolex.server.engine.task import Task, cost, longest_within
from ribolex.server.engine.ticket import Computed, Spent, Ticket
from ribolex.server.engine.worker import Worker

_LOG = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")

_NOBODY = Observer()

_CHECKED_HERE = 4096
"""Letters that are checked on the event loop: in less time than it takes to hand them
to a thread. An order may be megabytes."""
_CLOSE_S = 60.0
"""Seconds that the batch in progress is given in the end."""


@dataclass(frozen=True, slots=True)
class Order(Generic[Outcome]):
    """Sequences with which the same is to be done."""

    sequences: Sequence[str]
    task: Callable[[str], Task[Outcome]]
    """What is to be done with a sequence, once it has been read."""
    degap: bool = False
    """Whether gap signs are taken out first."""
    deadline_s: float | None = None
    """On `time.monotonic`'s clock: past it nothing is computed for the caller."""
    lane: Lane = Lane.INTERACTIVE
    is_patient: bool = False
    """Whether to wait for room in a full lane."""
    is_kept: bool = True
    """Whether to look for its outcomes in the cache, and to keep them there."""
    where: Callable[[int], str] = "sequences[{}]".format
    """What an error calls the sequence of a number."""


class Answer(NamedTuple, Generic[Outcome]):
    """What became of an order."""

    outcomes: list[Outcome | InvalidRequestError]
    """Of each sequence, in their order: what its task gave, or what is wrong."""
    sequences: list[str]
    """As read: upper case, U for T, degapped if asked; as sent where refused."""
    queue_s: float
    """Until the last of them was done, less what its batches took."""
    batches: dict[int, Spent]
    """Of each batch with a part of the order, by its number."""
    n_cached: int = 0
    """Outcomes that came from the cache."""


class Done(NamedTuple, Generic[Outcome]):
    """What became of some tasks."""

    outcomes: list[Outcome]
    """In their order."""
    queue_s: float
    batches: dict[int, Spent]
    """Both as in `Answer`."""


class Engine:
    """A language model, its queue and its worker. Started by construction.

    For one event loop; `close` must be called in the end.

    Attributes:
        max_nucleotides: The longest sequence that is taken: as told, or what there is
            room for in the queue.
        max_tokens: What all sequences of an order may cost together.
        queue: To be looked at.
        died: Set if the worker ended before `close`; nothing is computed any more.
    """

    def __init__(
        self,
        lm: LanguageModel,
        limits: Limits,
        *,
        max_nucleotides: int,
        observer: Observer = _NOBODY,
        cache: ResultCache | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._observer = observer
        self._cache = cache
        self._patience = {lane: asyncio.Lock() for lane in Lane}
        self.max_nucleotides = min(max_nucleotides, longest_within(limits.max_tokens))
        self.max_tokens = limits.max_tokens
        self.died = asyncio.Event()
        self.queue = Queue(limits, Rate())
        self.queue.watch(lambda: self._tell(self._wake))
        self._worker = Worker(
            lm, self.queue, lambda: self._tell(self.died.set), observer
        )
        self._worker.start()

    async def compute(self, order: Order[Outcome]) -> Answer[Outcome]:
        """Returns what became of each sequence of an order.

        Cancelling it takes the order out of the queue.

        Raises:
            InvalidRequestError: it costs more than `max_tokens`.
            OverloadedError: the queue is full, and the order is not patient.
            NotReadyError: the engine is closed, or out of memory.
            TimeoutError: the deadline passed.
        """
        n_letters = sum(map(len, order.sequences))
        if n_letters <= _CHECKED_HERE:
            checked = self._check(order)
        else:
            checked = await asyncio.to_thread(self._check, order)
        tasks = [order.task(one) for one in checked if isinstance(one, str)]
        cache = self._cache if order.is_kept else None
        known = {} if cache is None else await cache.fetch(tasks)
        unknown = [task for place, task in enumerate(tasks) if place not in known]
        tracer = self._observer.tracer
        trace = tracer.here() if tracer is not None else None
        ticket = Ticket(unknown, order.lane, order.deadline_s, trace)
        done = await self._await(ticket, order.is_patient) if unknown else []
        if cache is not None:
            await cache.keep(unknown, [each.outcome for each in done])
        computed = (each.outcome for each in done)
        left = iter(
            [
                known[place] if place in known else next(computed)
                for place in range(len(tasks))
            ]
        )
        return Answer(
            [next(left) if isinstance(one, str) else one for one in checked],
            [
                one if isinstance(one, str) else sent
                for one, sent in zip(checked, order.sequences, strict=True)
            ],
            *_times(ticket.arrived_s, done),
            len(known),
        )

    async def compute_task(self, task: Task[Outcome]) -> Outcome:
        """Returns what one task became, whatever its length; it goes after requests.

        Raises:
            InvalidRequestError: it costs more than `max_tokens`.
            NotReadyError: the engine is closed, or out of memory.
        """
        return (await self.compute_bulk([task], None)).outcomes[0]

    async def compute_bulk(
        self, tasks: Sequence[Task[Outcome]], deadline_s: float | None
    ) -> Done[Outcome]:
        """Returns what tasks became; they wait for room, and go after requests.

        Args:
            tasks: their sequences are read already; not looked for in the cache.
            deadline_s: as of an order.

        Raises:
            InvalidRequestError: they cost more than `max_tokens`.
            NotReadyError: the engine is closed, or out of memory.
            TimeoutError: the deadline passed.
        """
        tracer = self._observer.tracer
        trace = tracer.here() if tracer is not None else None
        ticket = Ticket(tasks, Lane.BULK, deadline_s, trace)
        done = await self._await(ticket, is_patient=True)
        outcomes = [each.outcome for each in done]
        return Done(outcomes, *_times(ticket.arrived_s, done))

    async def close(self) -> None:
        """Refuses everything from now on and waits for the batch in progress."""
        self.queue.close(NotReadyError("draining"))
        if not await asyncio.to_thread(self._worker.join, _CLOSE_S):
            _LOG.error("the device hangs, its last batch is given up")

    def _check(self, order: Order[Outcome]) -> list[str | InvalidRequestError]:
        """Returns each sequence as it is read, or what is wrong with it."""
        checked: list[str | InvalidRequestError] = []
        for i, sequence in enumerate(order.sequences):
            try:
                text = read_sequence(
                    sequence, order.where(i), self.max_nucleotides, degap=order.degap
                )
            except InvalidRequestError as error:
                checked.append(error)
            else:
                checked.append(text)
        return checked

    async def _await(
        self, ticket: Ticket[Outcome], is_patient: bool
    ) -> list[Computed[Outcome]]:
        """Returns what the ticket's tasks became, or raises when it is too late."""
        left_s = None
        if ticket.deadline_s is not None:
            left_s = ticket.deadline_s - time.monotonic()
        try:
            async with asyncio.timeout(left_s):
                await self._admit(ticket, is_patient)
                return await asyncio.wrap_future(ticket.future)
        except asyncio.CancelledError:
            self._observer.on_drop("cancelled")
            raise
        except TimeoutError:
            self._observer.on_drop("expired")
            raise TimeoutError("the deadline passed in the queue") from None

    async def _admit(self, ticket: Ticket[Outcome], is_patient: bool) -> None:
        """Gets a ticket into the queue; the patient in the order in which they came."""
        lane = ticket.lane
        if not is_patient:
            if self._patience[lane].locked():  # nobody passes the patient
                n_tokens = sum(cost(len(task.text)) for task in ticket.tasks)
                raise self.queue.overload(lane, self.max_tokens + n_tokens)
            return self.queue.put(ticket)
        async with self._patience[lane]:
            while True:
                # No await between the refusal and the wait: no room is missed.
                room = self._room
                try:
                    return self.queue.put(ticket)
                except OverloadedError:
                    await room.wait()

    def _tell(self, what: Callable[[], None]) -> None:
        """Has something called on the event loop, unless that is closed."""
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            _LOG.debug("the event loop is closed")

    def _wake(self) -> None:
        self._room.set()
        self._room = asyncio.Event()


class _Times(NamedTuple):
    queue_s: float
    batches: dict[int, Spent]


def _times(arrived_s: float, done: Iterable[Computed[Outcome]]) -> _Times:
    """Returns how long an order waited, and what its batches took."""
    batches: dict[int, Spent] = {}
    done_s = arrived_s
    for each in done:
        batches |= each.batches
        done_s = max(done_s, each.done_s)
    spent_s = sum(map(sum, batches.values()))
    return _Times(max(0.0, done_s - arrived_s - spent_s), batches)
