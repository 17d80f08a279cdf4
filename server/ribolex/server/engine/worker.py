"""The thread that owns the language model: takes batches, computes, answers.

Knows nothing of asyncio, callers or messages, nor of what a task computes.
"""

import logging
import threading
import time
from collections.abc import Hashable, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar

from ribolex.errors import NotReadyError
from ribolex.lm import LanguageModel
from ribolex.server.engine.queue import Entry, Queue

_LOG = logging.getLogger(__name__)


class Computed(NamedTuple):
    """What one sequence became and where its time went."""

    outcome: Any
    """As its task says."""
    batch: int
    """Number of the batch that it was in."""
    queue_s: float
    compute_s: float
    """Of the whole batch."""


Outcome = TypeVar("Outcome", covariant=True)


class Task(Protocol[Outcome]):
    """What is to be done with one sequence: `Work.content` in the worker's queue."""

    @property
    def key(self) -> Hashable:
        """Equal for all that one batch may hold, which are then of one class."""

    def run(self, lm: LanguageModel, batch: Sequence[Any]) -> Sequence[Outcome]:
        """Returns what each task of a batch becomes, in their order.

        Args:
            lm: used by this thread alone.
            batch: tasks of this one's key, itself among them.
        """


class Worker:
    """Runs from `start` until its queue is closed; then `join` returns.

    A batch that fails fails its own callers and nobody else's. Whatever happens, no
    caller is left without an answer.
    """

    def __init__(self, lm: LanguageModel, queue: Queue[Computed]) -> None:
        self._lm = lm
        self._queue = queue
        self._thread = threading.Thread(target=self._run, name="ribolex-worker")
        self._numbers = count()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self) -> None:
        """Waits for the batch in progress. Blocks; the queue must be closed."""
        self._thread.join()

    def _run(self) -> None:
        batch: list[Entry[Computed]] | None = None
        try:
            while (batch := self._queue.take()) is not None:
                self._answer(batch)
        finally:
            # Reached with a batch only if the thread dies of what is no Exception.
            error = NotReadyError("the worker has stopped")
            self._queue.close(error)
            if batch is not None:
                _fail(batch, error)

    def _answer(self, batch: list[Entry[Computed]]) -> None:
        tasks: list[Task[Any]] = [entry.work.content for entry in batch]
        begun_s = time.monotonic()
        try:
            outcomes = tasks[0].run(self._lm, tasks)
        except Exception as error:  # the edge of this thread: callers get it instead
            _LOG.exception("a batch failed, n_sequences %d", len(batch))
            _fail(batch, error)
            return
        compute_s = time.monotonic() - begun_s
        number = next(self._numbers)
        for entry, outcome in zip(batch, outcomes, strict=True):
            queue_s = begun_s - entry.ticket.arrived_s
            done = Computed(outcome, number, queue_s, compute_s)
            entry.ticket.settle(entry.place, done)
        n_tokens = sum(entry.work.n_tokens for entry in batch)
        _LOG.debug(
            "batch done, n_sequences %d, n_tokens %d, compute_s %.4f",
            len(batch),
            n_tokens,
            compute_s,
        )


def _fail(batch: list[Entry[Computed]], error: BaseException) -> None:
    for entry in batch:
        entry.ticket.fail(error)
