"""Runs a trainer again and again: when its corpus grows, or somebody asks.

One run at a time. A run that fails is told and does not end the watch. Knows nothing
of how anything is trained or shown.
"""

import logging
import time
from typing import Any

from ribolex.errors import CorruptArtefactError, NotReadyError, RibolexError
from ribolex.registry import Requests, TrainRequest, open_requests
from ribolex.registry.opening import BUNDLED
from ribolex.trainer.ledger import digest_of, read_json, write_json
from ribolex.trainer.process.corpora import FileState, Tables, count_nucleotides, look
from ribolex.trainer.process.run import Failure, Trainer, describe_error
from ribolex.trainer.ranks import on_first, rank

log = logging.getLogger(__name__)

RUN_FILE = "run.json"


def watch(trainer: Trainer) -> None:
    """Trains whenever there is a reason to, until it is stopped.

    What was going on when it was killed goes on first. All ranks take part.

    Raises:
        Stopped: that was wished; there is no other end.
    """
    cause = _Cause(trainer)
    while True:
        requests = on_first(cause.next)
        is_done, retry = False, False
        if rank() == 0:
            cause.begin()
        try:
            failures = [f for f in trainer.run() if isinstance(f, Failure)]
            is_done = not failures
            retry = any(_is_passing(each.error) for each in failures)
        except (RibolexError, OSError) as error:
            retry = _is_passing(error)
            trainer.reporter.tell("failed", error=describe_error(error))
        if rank() == 0:
            cause.end(requests or (), is_done=is_done, retry=retry)


def _is_passing(error: Exception) -> bool:
    """Returns whether it may go by itself."""
    return isinstance(error, NotReadyError | OSError)


class _Cause:
    """Finds reasons to train; on the first rank only."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._config = trainer, trainer.config
        self._file = self._config.workdir / RUN_FILE
        self._requests: Requests | None = None
        if self._config.registry != BUNDLED:
            self._requests = open_requests(self._config.registry)
        self._names = {each.name for each in self._config.dictionaries()}
        self._seen: tuple[FileState, ...] | None = None
        self._retry_at: float | None = None

    def next(self) -> tuple[TrainRequest, ...]:
        """Returns as soon as there is a reason; with the requests if they are it."""
        if self._seen is None:
            self._seen = look(self._config.corpus)
            if self._is_enough():
                return ()
        self._trainer.reporter.tell("waiting")
        while True:
            self._trainer.stop.check()
            if found := self._asked():
                for request in found:
                    self._trainer.reporter.tell("requested", dictionary=request.name)
                return found
            if self._retry_at is not None and time.monotonic() >= self._retry_at:
                return ()
            if self._is_changed() and self._is_enough():
                return ()

    def begin(self) -> None:
        """Notes that a run is at work, so that it goes on if it is killed."""
        self._retry_at = None
        self._seen = look(self._config.corpus)
        write_json(self._file, {**self._known(), "is_done": False})

    def end(
        self, requests: tuple[TrainRequest, ...], *, is_done: bool, retry: bool
    ) -> None:
        """Notes that a run is over, and what it was made from.

        Args:
            requests: that it answers; done with, whatever came of it.
            is_done: whether it went through, gates that failed included.
            retry: whether to try again before long.
        """
        if retry:
            self._retry_at = time.monotonic() + self._config.watch.retry_s
        for request in requests:
            assert self._requests is not None
            try:
                self._requests.settle(request)
            except NotReadyError as error:
                log.warning("a request stays, and will come again: %s", error)
        if is_done:
            assert self._trainer.tables is not None
            found = self._made_from(self._trainer.tables)
            write_json(self._file, {"is_done": True, **found})

    def _asked(self) -> tuple[TrainRequest, ...]:
        look_s = self._config.watch.look_s
        if self._requests is not None:
            try:
                return tuple(self._requests.wait(self._names, look_s))
            except NotReadyError as error:
                log.warning("requests cannot be read: %s", error)
        time.sleep(look_s)
        return ()

    def _is_changed(self) -> bool:
        """Returns whether files changed, once they have been at rest for a while."""
        now = look(self._config.corpus)
        if now == self._seen:
            return False
        while True:
            self._trainer.stop.check()
            time.sleep(self._config.watch.settle_s)
            before, now = now, look(self._config.corpus)
            if before == now:
                self._seen = now
                return True

    def _is_enough(self) -> bool:
        """Returns whether what is there is worth a run."""
        if not look(self._config.corpus):
            return False  # nobody has put anything there yet
        tell, known = self._trainer.reporter.tell, self._known()
        try:
            now = self._made_from(self._trainer.find_tables())
        except (RibolexError, OSError) as error:
            tell("failed", error=describe_error(error))
            return False
        if not known.get("is_done") or known.get("config") != now["config"]:
            return True
        if known.get("corpus") == now["corpus"]:
            return False
        growth = now["nucleotides"] / max(1, known["nucleotides"]) - 1
        reason = f"{growth:+.1%} nucleotides"
        is_enough = bool(growth >= self._config.watch.min_growth)
        tell("changed", reason=reason if is_enough else f"{reason}, too few")
        return is_enough

    def _made_from(self, tables: Tables) -> dict[str, Any]:
        return {
            "config": self._digest,
            "corpus": tables.digest,
            "nucleotides": count_nucleotides(tables),
        }

    def _known(self) -> dict[str, Any]:
        try:
            found = read_json(self._file)
        except CorruptArtefactError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def _digest(self) -> str:
        free = {"watch", "metrics", "threads", "workdir", "device"}
        return digest_of(self._config.model_dump(mode="json", exclude=free))
