"""What the services stand on, and whether it is there yet."""

import asyncio
import time
from dataclasses import dataclass

from ribolex.errors import NotReadyError
from ribolex.lm import LanguageModel
from ribolex.server.cache.results import ResultCache
from ribolex.server.dictionaries import Dictionaries
from ribolex.server.engine.front import Engine
from ribolex.server.index.store import CollectionStore
from ribolex.server.metrics import Metrics
from ribolex.server.reindex import Reindexer
from ribolex.server.services.room import Room
from ribolex.server.swaps import Swaps


@dataclass(frozen=True, slots=True)
class Backend:
    """All that is under the services, loaded."""

    lm: LanguageModel
    """Its identity is for all; only the engine computes with it."""
    engine: Engine
    dictionaries: Dictionaries
    collections: CollectionStore
    max_sequences: int
    """In one request."""
    max_message_bytes: int
    max_scan_tokens: int
    """That the model may be asked to read for one scan, comparison or steering."""
    is_steerable: bool
    """Whether admins may make features fire otherwise."""
    room: Room
    """For answers in parts on their way out."""
    metrics: Metrics
    swaps: Swaps
    cache: ResultCache
    reindexer: Reindexer


class Gate:
    """Lets calls in once the backend is loaded, and tells streams when to end.

    Attributes:
        draining: Set once the server is to finish what it has and read no more.
    """

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self.draining = asyncio.Event()

    def open(self, backend: Backend) -> None:
        """Lets calls in."""
        self._backend = backend

    def is_open(self) -> bool:
        """Returns whether calls are let in."""
        return not self.why_closed()

    def why_closed(self) -> str:
        """Returns why no call is let in, or is soon not; "" if they are."""
        if self.draining.is_set():
            return "draining"
        if self._backend is None:
            return "loading"
        return "the engine has died" if self._backend.engine.died.is_set() else ""

    def notes(self) -> list[str]:
        """Returns what is not as it should be, though calls are let in."""
        if self._backend is None:
            return []
        tending = self._backend.collections.tending
        notes = self._backend.swaps.notes()
        return notes if tending is None else notes + tending.notes()

    def enter(self) -> Backend:
        """Returns the backend.

        Raises:
            NotReadyError: it is not loaded yet.
        """
        if self._backend is None:
            raise NotReadyError("loading")
        return self._backend


def deadline_of(time_remaining_s: float | None) -> float | None:
    """Returns a caller's deadline on `time.monotonic`'s clock."""
    return None if time_remaining_s is None else time.monotonic() + time_remaining_s
