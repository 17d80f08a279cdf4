"""A registry followed in a thread of its own, whether it is there or away.

Knows what a registry tells; nothing of what is done about it.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from ribolex.errors import NotReadyError, RibolexError
from ribolex.registry import Event, Registry
from ribolex.server.logs import log_fault

_LOG = logging.getLogger(__name__)

_POLL_S = 1.0
"""Longest wait for events in one call; so long an end may take."""
_RECONCILE_S = 30.0
_AWAY_S = 1.0
"""Between two tries while the registry is away."""


class Follower:
    """Tells of events as they come, and of the current version now and then.

    Both are called in its own thread. What was told may be told again.

    Attributes:
        away: Why the registry cannot be read; "" while it can.
    """

    def __init__(
        self,
        registry: Registry,
        name: str,
        on_events: Callable[[Sequence[Event]], None],
        on_current: Callable[[int], None],
        reconcile_s: float = _RECONCILE_S,
    ) -> None:
        """Sets it up.

        Args:
            registry: to follow.
            name: whose current version is looked up; "" for none.
            on_events: told of events of all names, first of all that is so.
            on_current: told of the current version of the name.
            reconcile_s: seconds between two looks at it.
        """
        self._registry = registry
        self._name = name
        self._on_events = on_events
        self._on_current = on_current
        self._reconcile_s = reconcile_s
        self._looked_s = time.monotonic()
        self._position: str | None = None
        self._ended = threading.Event()
        self.away = ""
        # A daemon: a registry that hangs is not to keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, name="ribolex-follow", daemon=True
        )

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def end(self) -> None:
        """Tells of nothing that is read from now on. Does not block."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._look()
            except RibolexError as error:
                self._note(str(error))
            except Exception as error:  # the edge of this thread, which is to go on
                log_fault(_LOG, "following the registry failed", error)
                self._note(f"a fault of ours ({type(error).__name__})")
            else:
                self._note("")
                continue
            self._ended.wait(_AWAY_S)

    def _look(self) -> None:
        # While it is away each try is a short one, so that its return is seen soon.
        events = self._registry.events(self._position, 0 if self.away else _POLL_S)
        if self._ended.is_set():
            return
        if events:
            self._position = events[-1].position
            self._on_events(events)
        is_time = time.monotonic() - self._looked_s >= self._reconcile_s
        if self._name and (is_time or self.away):
            self._looked_s = time.monotonic()
            version = self._registry.current(self._name)
            if version is None:
                raise NotReadyError(f"the registry knows no current {self._name}")
            self._on_current(version)

    def _note(self, reason: str) -> None:
        if reason and not self.away:
            _LOG.warning("the registry is away, serving on: %s", reason)
        elif self.away and not reason:
            _LOG.info("the registry is back")
        self.away = reason
