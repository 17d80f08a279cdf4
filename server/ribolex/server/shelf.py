"""Dictionary versions in memory: loaded once, checked once, given back.

Knows nothing of which version is current, nor of what a check is.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ribolex.dictionary import Dictionary
from ribolex.lm import in_passing_thread
from ribolex.server.index.atoms import Atoms

_MAX_OTHERS = 4
"""Versions kept besides those that must be; the one used longest ago goes first."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Shelved:
    """A dictionary in memory, with what is drawn from it once."""

    dictionary: Dictionary
    """Its autoencoder lies on the model's device."""
    atoms: Atoms
    ancestor: str = ""
    """The version that its lineage goes back to, "name@version"; "" if there is none,
    or it was purged."""

    @property
    def ref(self) -> str:
        """The version: "name@version"."""
        return self.dictionary.ref


@dataclass(slots=True)
class _Place:
    loading: asyncio.Task[Shelved]
    vetting: asyncio.Task[None] | None = None


class Shelf:
    """Versions in memory, by "name@version". For one event loop.

    A version that fell off lives on for those who still hold it, and is gone with the
    last of them.
    """

    def __init__(
        self,
        load: Callable[[str], Shelved],
        vet: Callable[[Dictionary], Awaitable[None]],
        bound: Callable[[], Collection[str]],
    ) -> None:
        """Sets it up.

        Args:
            load: gives a version or raises; called in a thread.
            vet: raises if a version is not to be encoded with.
            bound: gives the versions that do not fall off whatever happens.
        """
        self._load = load
        self._vet = vet
        self._bound = bound
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._kept: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self._places)

    async def get(self, ref: str) -> Shelved:
        """Returns a version, loaded if it is not there; raises what `load` raises."""
        if ref not in self._places:
            task = asyncio.create_task(in_passing_thread(self._load, ref))
            task.add_done_callback(partial(self._forget_failed, ref))
            self._places[ref] = _Place(task)
            self._trim()
        self._places.move_to_end(ref)
        # Shielded: others may wait for the same.
        return await asyncio.shield(self._places[ref].loading)

    async def vetted(self, ref: str) -> Shelved:
        """Returns a version that was checked; raises what `load` or `vet` raise."""
        found = await self.get(ref)
        place = self._places.get(ref)
        if place is None:  # it fell off meanwhile
            await self._vet(found.dictionary)
            return found
        if place.vetting is None:
            place.vetting = asyncio.create_task(self._check(found))
            place.vetting.add_done_callback(partial(self._forget_failed, ref))
        await asyncio.shield(place.vetting)
        return found

    def keep(self, refs: Iterable[str]) -> None:
        """Says which versions must stay; those that had to until now fall off."""
        before, self._kept = self._kept, frozenset(refs)
        for ref in before - self._kept:
            self.drop(ref)

    def drop(self, ref: str) -> None:
        """Lets a version fall off, unless it must stay."""
        if ref not in self._kept and ref not in self._bound():
            self._places.pop(ref, None)

    async def _check(self, found: Shelved) -> None:
        await self._vet(found.dictionary)

    def _trim(self) -> None:
        stay = self._kept | frozenset(self._bound())
        others = [ref for ref in self._places if ref not in stay]
        for ref in others[: max(0, len(others) - _MAX_OTHERS)]:
            del self._places[ref]

    def _forget_failed(self, ref: str, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None:
            return
        place = self._places.get(ref)
        if place is not None and task in (place.loading, place.vetting):
            del self._places[ref]
