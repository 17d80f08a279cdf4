"""Two threads: one prepares the next batch, one owns the model and computes.

Knows nothing of asyncio, callers or messages, nor of what a task computes.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import torch

from ribolex.errors import NotReadyError
from ribolex.lm import LanguageModel
from ribolex.lm.inference import Laid
from ribolex.server.engine.handover import Handover
from ribolex.server.engine.observer import (
    BatchDone,
    Observer,
    TracedBatch,
    Tracer,
    Waiter,
)
from ribolex.server.engine.queue import Queue
from ribolex.server.engine.stages import noted
from ribolex.server.engine.task import lay_out
from ribolex.server.engine.ticket import Computed, Entry, Spent
from ribolex.server.logs import log_fault

_LOG = logging.getLogger(__name__)

_OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)
_STOPPED = "the worker has stopped"
_AHEAD_S = 0.002
"""A batch is begun to be prepared so long before it is needed, besides what preparing
took the last time: what a busy machine may take to wake a thread."""


class Prepared(NamedTuple):
    """A batch that is ready to be computed."""

    entries: list[Entry]
    laid: list[Laid] | None
    """None if that failed, and is to be tried again with less."""
    prepare_s: float

    @property
    def n_tokens(self) -> int:
        """What it costs."""
        return sum(entry.n_tokens for entry in self.entries)


class Worker:
    """Runs from `start` until its queue is closed; then `join` returns.

    What fails in a batch fails its own callers and nobody else's: a batch that fails is
    computed again in halves, with at most 2 log2(n) forwards more, which finds one
    culprit among n windows; those that are not told apart by then fail together. A
    batch beyond the device's memory is halved as often as it takes, and batches stay
    smaller for a while. Whatever happens, no caller is left without an answer.
    """

    def __init__(
        self,
        lm: LanguageModel,
        queue: Queue,
        on_death: Callable[[], None],
        observer: Observer,
    ) -> None:
        """Sets it up.

        Args:
            lm: to be used by nobody else.
            queue: to be taken from by nobody else.
            on_death: called, from any thread, if it ends before it is told to.
            observer: told of batches and failures.
        """
        self._lm = lm
        self._queue = queue
        self._on_death = on_death
        self._observer = observer
        self._handover: Handover[Prepared] = Handover()
        # Daemons: a device that hangs is not to keep the process from ending.
        self._threads = [
            threading.Thread(target=run, name=f"ribolex-{name}", daemon=True)
            for name, run in (("prepare", self._prepare), ("compute", self._compute))
        ]
        self._numbers = count()

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Waits for the batch in progress. Blocks; the queue must be closed.

        Returns:
            Whether it is done; if not, the device hangs.
        """
        end_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _prepare(self) -> None:
        """What the preparing thread does."""
        entries: list[Entry] | None = None
        ahead_s, is_told = _AHEAD_S, False
        try:
            while self._handover.await_need(ahead_s):
                entries = self._queue.take()
                if entries is None:
                    break
                prepared = self._lay_out(entries)
                ahead_s = _AHEAD_S + 2 * prepared.prepare_s
                if not self._handover.give(prepared):
                    break
                entries = None
            is_told = True
        finally:
            self._end(entries or [], is_told=is_told)

    def _compute(self) -> None:
        """What the computing thread does."""
        batch: Prepared | None = None
        is_told = False
        try:
            while (batch := self._handover.receive(self._expect_s)) is not None:
                if self._observer.tracer is None:
                    self._answer(batch)
                else:
                    self._trace(batch, self._observer.tracer)
            is_told = True
        finally:
            self._end(batch.entries if batch else [], is_told=is_told)

    def _end(self, entries: list[Entry], *, is_told: bool) -> None:
        """Closes everything; a thread that dies leaves nobody waiting."""
        error = NotReadyError(_STOPPED)
        if not is_told:
            self._queue.close(error)
        self._handover.close()
        self._fail(entries, error)
        if not is_told:
            waiting = self._handover.receive(self._expect_s)
            self._fail(waiting.entries if waiting else [], error)
            self._on_death()

    def _expect_s(self, batch: Prepared) -> float:
        return self._queue.rate.seconds_of(batch.n_tokens) or 0.0

    def _lay_out(self, entries: list[Entry]) -> Prepared:
        begun_s = time.monotonic()
        laid: list[Laid] | None = None
        try:
            laid = self._laid(entries)
        except Exception:  # the computing thread tries again, and finds the culprit
            _LOG.debug("a batch cannot be prepared")
        return Prepared(entries, laid, time.monotonic() - begun_s)

    def _laid(self, entries: Sequence[Entry]) -> list[Laid]:
        windows = ((entry.flight.task, entry.window) for entry in entries)
        return lay_out(self._lm, windows)

    def _trace(self, batch: Prepared, tracer: Tracer) -> None:
        """Computes a batch and tells of it, if it is for somebody who is traced."""
        # In the order of the batch, each once.
        waiters = dict.fromkeys(
            ticket
            for entry in batch.entries
            for ticket in tuple(entry.flight.waiters)
            if ticket.trace is not None
        )
        if not waiters:
            self._answer(batch)
            return
        begun_s = time.monotonic()
        with noted() as stages:
            self._answer(batch)
        new = [ticket for ticket in waiters if not ticket.is_begun]
        for ticket in new:
            ticket.is_begun = True
        done = TracedBatch(
            [Waiter(ticket.trace, ticket.arrived_s) for ticket in new],
            [ticket.trace for ticket in waiters],
            stages,
            len(batch.entries),
            batch.n_tokens,
            batch.prepare_s,
            begun_s,
            time.monotonic(),
        )
        try:
            tracer.tell(done)
        except Exception as error:  # what only looks on must not end the engine
            log_fault(_LOG, "a batch could not be traced", error)

    def _answer(self, batch: Prepared) -> None:
        """Computes a batch, in parts if it must be, and answers."""
        begun_s, number = time.monotonic(), next(self._numbers)
        groups, laid = [batch.entries], batch.laid
        n_retries = 2 * (len(batch.entries) - 1).bit_length()
        n_done = 0
        while groups:
            group = groups.pop()
            wanted = [entry for entry in group if entry.is_wanted]
            if len(wanted) < len(group):
                laid = None  # somebody left since it was prepared
            if not wanted:
                continue
            error = self._try(wanted, laid, batch.prepare_s, begun_s, number)
            laid = None
            if error is None:
                n_done += sum(entry.n_tokens for entry in wanted)
                continue
            is_memory = isinstance(error, _OUT_OF_MEMORY)
            if is_memory:
                torch.cuda.empty_cache()  # does nothing without a GPU
                self._queue.budget.lower(sum(entry.n_tokens for entry in wanted) // 2)
            if len(wanted) == 1 or (n_retries < 2 and not is_memory):
                self._give_up(wanted, error)
                continue
            n_retries -= 0 if is_memory else 2
            half = len(wanted) // 2
            groups += [wanted[half:], wanted[:half]]
        compute_s = time.monotonic() - begun_s
        if n_done:
            self._queue.rate.note(n_done, compute_s)
            done = BatchDone(len(batch.entries), n_done, batch.prepare_s, compute_s)
            self._observer.on_batch(done)
        _LOG.debug("batch done, n_tokens %d, compute_s %.4f", n_done, compute_s)

    def _try(
        self,
        entries: list[Entry],
        laid: list[Laid] | None,
        prepare_s: float,
        begun_s: float,
        number: int,
    ) -> Exception | None:
        """Computes some windows and answers whom they complete; or returns why not."""
        tasks = [entry.flight.task for entry in entries]
        try:
            laid = self._laid(entries) if laid is None else laid
            parts = tasks[0].run(self._lm, laid, tasks)
        except Exception as error:  # the edge of this thread: callers get it instead
            if isinstance(error, _OUT_OF_MEMORY):
                error.with_traceback(None)  # its frames hold the memory
            return error
        spent = Spent(prepare_s, time.monotonic() - begun_s)
        for entry, part in zip(entries, parts, strict=True):
            entry.flight.batches[number] = spent
            if entry.is_wanted:
                self._take(entry, part)
        return None

    def _take(self, entry: Entry, part: Any) -> None:
        """Adds a window to its flight; the last one answers."""
        flight = entry.flight
        try:
            if flight.draft is None:
                flight.draft = flight.task.begin(self._lm)
            flight.draft.take(entry.window, part)
            flight.n_left -= 1
            if flight.n_left:
                return
            outcome = flight.draft.finish()
        except Exception as error:
            self._give_up([entry], error)
            return
        self._queue.finish(flight, Computed(outcome, flight.batches, time.monotonic()))

    def _give_up(self, entries: list[Entry], error: Exception) -> None:
        self._observer.on_failure()
        log_fault(_LOG, "windows failed", error, n_windows=len(entries))
        if isinstance(error, _OUT_OF_MEMORY):
            error = NotReadyError("out of memory")
        self._fail(entries, error)

    def _fail(self, entries: list[Entry], error: BaseException) -> None:
        for entry in entries:
            self._queue.fail(entry.flight, error)
