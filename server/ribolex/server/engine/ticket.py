"""Callers, and the computations that they wait for.

A ticket is one caller's tasks; a flight is one task being computed, for all tickets
that hold one of its identity. Knows nothing of lines, threads or the model.
"""

import time
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from ribolex.lm.windows import Window, cut
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.task import Draft, Task, n_tokens

Outcome = TypeVar("Outcome")


class Spent(NamedTuple):
    """Seconds that one batch took."""

    prepare_s: float
    compute_s: float


class Computed(NamedTuple, Generic[Outcome]):
    """What one task became, and when."""

    outcome: Outcome
    batches: dict[int, Spent]
    """Those that had a window of it, by their numbers."""
    done_s: float
    """On `time.monotonic`'s clock."""


@dataclass(slots=True, eq=False)
class Ticket(Generic[Outcome]):
    """One caller's tasks, and the future in which the caller waits for them.

    The future gets what all tasks became, in their order, or one error. Cancelling it
    takes the ticket out of the queue. Answering is thread-safe, the rest belongs to
    the queue.
    """

    tasks: Sequence[Task[Outcome]]
    lane: Lane = Lane.INTERACTIVE
    deadline_s: float | None = None
    """On `time.monotonic`'s clock; None has none."""
    trace: Any | None = None
    """What the caller is known by if it is traced."""
    is_begun: bool = False
    """Whether a batch with a part of it was begun; told of those who are traced."""
    future: Future[list[Computed[Outcome]]] = field(default_factory=Future)
    arrived_s: float = field(default_factory=time.monotonic)
    flights: "list[Flight]" = field(default_factory=list)
    """Of its tasks, in their order, while it is in the queue."""
    _done: dict[int, Computed[Outcome]] = field(default_factory=dict)

    def settle(self, place: int, done: Computed[Outcome]) -> None:
        """Notes what one task became; the last one answers the caller."""
        self._done[place] = done
        if len(self._done) < len(self.tasks):
            return
        try:
            self.future.set_result([self._done[i] for i in range(len(self.tasks))])
        except InvalidStateError:
            return  # the caller left, or another task failed first

    def fail(self, error: BaseException) -> None:
        """Answers the caller with an error, unless it has an answer already."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return

    def is_late(self, now_s: float) -> bool:
        """Returns whether its deadline has passed."""
        return self.deadline_s is not None and self.deadline_s <= now_s


@dataclass(slots=True, eq=False)
class Flight:
    """One task from its admission to its outcome.

    Line and waiters belong to the queue, and are changed under its lock; draft, windows
    left and batches to the thread that computes.
    """

    task: Task[Any]
    key: Hashable
    identity: Hashable
    """Both are the task's."""
    line: int
    """That its windows wait in."""
    lane: Lane
    """Whose room it takes."""
    windows: Sequence[Window]
    n_tokens: int
    waiters: dict[Ticket[Any], list[int]] = field(default_factory=dict)
    """Who waits, and for which of their tasks; nobody once it is of no use."""
    draft: Draft[Any] | None = None
    n_left: int = 0
    batches: dict[int, Spent] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task[Any], line: int, lane: Lane) -> "Flight":
        """Returns the flight of a task, nobody waiting yet."""
        windows = cut(len(task.text))
        total = sum(map(n_tokens, windows))
        return cls(
            task, task.key, task.identity, line, lane, windows, total,
            n_left=len(windows),
        )  # fmt: skip


class Entry(NamedTuple):
    """One window in a line or a batch."""

    flight: Flight
    place: int

    @property
    def window(self) -> Window:
        """The part of the sequence that is read."""
        return self.flight.windows[self.place]

    @property
    def n_tokens(self) -> int:
        """What it costs."""
        return n_tokens(self.window)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return bool(self.flight.waiters)
