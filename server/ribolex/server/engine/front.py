"""What coroutines see of the engine: sequences in, outcomes or faults out.

Checks sequences, lines them up and waits; never blocks the event loop. Knows nothing
of messages or of what is computed.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from ribolex.errors import InvalidRequestError, NotReadyError, OverloadedError
from ribolex.lm import LanguageModel
from ribolex.server.engine.encoding import cost, read_sequence
from ribolex.server.engine.queue import Queue, Ticket, Work
from ribolex.server.engine.worker import Computed, Task, Worker

Outcome = TypeVar("Outcome")


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
    is_patient: bool = False
    """Whether to wait for room in a full queue."""
    where: Callable[[int], str] = "sequences[{}]".format
    """What an error calls the sequence of a number."""


class Answer(NamedTuple, Generic[Outcome]):
    """What became of an order."""

    outcomes: list[Outcome | InvalidRequestError]
    """Of each sequence, in their order: what its task gave, or what is wrong."""
    sequences: list[str]
    """As read: upper case, U for T, degapped if asked; as sent where refused."""
    queue_s: float
    """The longest wait of any of them."""
    batches: dict[int, float]
    """Seconds of compute of each batch with a part of the order, by its number."""


class Engine:
    """A language model, its queue and its worker. Started by construction.

    For one event loop; `close` must be called in the end.

    Attributes:
        max_nucleotides: The longest sequence that is taken.
    """

    def __init__(
        self, lm: LanguageModel, queue: Queue[Computed], *, max_nucleotides: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._queue = queue
        self.max_nucleotides = max_nucleotides
        self._worker = Worker(lm, queue)
        queue.watch(self._tell_room)
        self._worker.start()

    async def compute(self, order: Order[Outcome]) -> Answer[Outcome]:
        """Returns what became of each sequence of an order.

        Cancelling it takes the order out of the queue.

        Raises:
            OverloadedError: the queue is full, and the order is not patient.
            NotReadyError: the engine is closed.
            TimeoutError: the deadline passed.
        """
        # Off the loop: an order may be megabytes of letters.
        checked = await asyncio.to_thread(self._check, order)
        works = [work for _, work in checked if isinstance(work, Work)]
        ticket: Ticket[Computed] = Ticket(works, order.deadline_s)
        await self._admit(ticket, order.is_patient)
        computed = await asyncio.wrap_future(ticket.future)
        left = iter(computed)
        outcomes: list[Outcome | InvalidRequestError] = [
            next(left).outcome if isinstance(work, Work) else work
            for _, work in checked
        ]
        return Answer(
            outcomes,
            [text for text, _ in checked],
            max((done.queue_s for done in computed), default=0.0),
            {done.batch: done.compute_s for done in computed},
        )

    async def close(self) -> None:
        """Refuses everything from now on and waits for the batch in progress."""
        self._queue.close(NotReadyError("draining"))
        await asyncio.to_thread(self._worker.join)

    def _check(
        self, order: Order[Outcome]
    ) -> list[tuple[str, Work | InvalidRequestError]]:
        """Returns each sequence as it is read, with its work or its fault."""
        checked: list[tuple[str, Work | InvalidRequestError]] = []
        for i, sequence in enumerate(order.sequences):
            try:
                text = read_sequence(
                    sequence, order.where(i), self.max_nucleotides, degap=order.degap
                )
            except InvalidRequestError as error:
                checked.append((sequence, error))
                continue
            task = order.task(text)
            checked.append((text, Work(task.key, cost(len(text)), task)))
        return checked

    async def _admit(self, ticket: Ticket[Computed], is_patient: bool) -> None:
        while True:
            # No await between the refusal and the wait: no room is missed.
            room = self._room
            try:
                return self._queue.put(ticket)
            except OverloadedError:
                if not is_patient:
                    raise
            await room.wait()

    def _tell_room(self) -> None:
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._room.set()
        self._room = asyncio.Event()
