"""What the services stand on, and whether it is there yet."""

import asyncio
import time
from dataclasses import dataclass

from ribolex.errors import NotReadyError
from ribolex.lm import LanguageModel
from ribolex.server.dictionaries import Dictionaries
from ribolex.server.engine.front import Engine
from ribolex.server.index.store import CollectionStore
from ribolex.server.services.room import Room


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
    room: Room
    """For activations on their way out."""


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
