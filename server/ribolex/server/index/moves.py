"""Collections of a data folder that move to another dictionary: begun, flipped, ended.

Knows folders and owners; nothing of how RNAs are encoded, or of when.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ribolex.dictionary import Dictionary
from ribolex.disk import sync
from ribolex.errors import CollectionNotFoundError, InvalidRequestError
from ribolex.server.index import generations
from ribolex.server.index.collection import Collection
from ribolex.server.index.details import Aside, aside_of
from ribolex.server.index.facts import Facts
from ribolex.server.index.faults import translated
from ribolex.server.index.generations import Generations, Plan
from ribolex.server.index.moving import Move
from ribolex.server.index.owner import Owner

_LOG = logging.getLogger(__name__)

Own = Callable[[Path, str, str], Owner]
"""Gives the owner of a folder, a dictionary version and a generation in it."""


class Moves:
    """All of a store. For one event loop.

    Attributes:
        moves: Those begun and not ended, by the collection's name.
        kept: By name the dictionary version of what is kept from before, or "".
    """

    def __init__(self, root: Path, owners: dict[str, Owner], own: Own) -> None:
        """Begins with none.

        Args:
            root: folder of all collections.
            owners: of what is searched, by name; changed by `flip`.
            own: makes one.
        """
        self._root, self._owners, self._own = root, owners, own
        self.moves: dict[str, Move] = {}
        self.kept: dict[str, str] = {}

    @property
    def refs(self) -> set[str]:
        """Dictionary versions of what is begun or kept."""
        return {m.plan.ref for m in self.moves.values()} | set(self.kept.values())

    async def begin(self, name: str, dictionary: Dictionary, plan: Plan) -> Move:
        """Begins, or goes on, to index a collection under another dictionary.

        Raises:
            CollectionNotFoundError: there is none of that name.
            InvalidRequestError: it is under that dictionary, or on its way to another.
        """
        owner = self._owner(name)
        facts = await owner.run(lambda collection: collection.facts)
        if facts.content_id == dictionary.content_id:
            raise InvalidRequestError(
                "dictionary", f"{plan.ref} is what {name!r} is indexed under"
            )
        new = Facts.of(name, dictionary, facts.measure)
        new = replace(new, created_at_s=facts.created_at_s)
        with translated(self._root / name):
            begun = await asyncio.to_thread(_begin, self._root / name, new, plan)
        self.kept[name] = begun.kept_ref
        if name not in self.moves:
            await self.follow(name, begun, dictionary)
        self.moves[name].plan = plan
        return self.moves[name]

    async def flip(self, move: Move) -> None:
        """Has searches and writes see the new index of a collection from now on.

        Nothing may be written meanwhile: see `Owner.may_write`.
        """
        name, old = move.name, move.old
        folder, kept_ref = self._root / name, old.dictionary_ref
        moved = await asyncio.to_thread(_flip, folder, kept_ref)
        # The disk says so: nothing that may fail comes before memory says it, too.
        self._owners[name] = move.new
        self.kept[name] = kept_ref
        del self.moves[name]
        _LOG.info("collection %s moved to %s", name, move.new.dictionary_ref)
        await old.close()
        await move.new.lead()
        await asyncio.to_thread(generations.try_tidy, folder, moved)

    async def end(self, name: str) -> None:
        """Deletes what of a collection is not searched: begun, or kept from before.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        self._owner(name)
        await self.forget(name)
        await asyncio.to_thread(_end, self._root / name)

    async def follow(
        self, name: str, found: Generations, dictionary: Dictionary
    ) -> None:
        """Opens the new index of a collection that was begun."""
        assert found.coming is not None
        assert found.plan is not None
        new = self._own(self._root / name, found.plan.ref, found.coming)
        try:
            await new.load(dictionary)
        except BaseException:
            await new.close()
            raise
        self.moves[name] = Move(name, found.plan, self._owner(name), new)

    async def aside(self, name: str) -> Aside:
        """Returns what there is of a collection beside what is searched."""
        return await asyncio.to_thread(aside_of, self._root / name)

    async def forget(self, name: str) -> None:
        """Closes what there is of a collection beside what is searched."""
        self.kept.pop(name, None)
        move = self.moves.pop(name, None)
        if move is not None:
            await move.new.close()

    def _owner(self, name: str) -> Owner:
        if name not in self._owners:
            raise CollectionNotFoundError(name)
        return self._owners[name]


def _begin(folder: Path, facts: Facts, plan: Plan) -> Generations:
    """Makes room for a collection under another dictionary; returns what is what.

    What was kept from before, or begun, under that dictionary is used on.
    """
    found = generations.read(folder)
    if found.coming is not None and found.plan is not None:
        if found.plan.ref != plan.ref:
            raise InvalidRequestError(
                "dictionary",
                f"the collection is on its way to {found.plan.ref}; end that first",
            )
        begun = replace(found, plan=plan)
    elif found.kept_ref == plan.ref:
        begun = replace(found, kept=None, kept_ref="", coming=found.kept, plan=plan)
    else:
        # What an earlier try left may have the name.
        generations.tidy(folder, found)
        name = found.next_name()
        (folder / name).mkdir()
        Collection.create(folder / name, facts)
        sync(folder / name)
        begun = replace(found, coming=name, plan=plan)
    generations.write(folder, begun)
    return begun


def _end(folder: Path) -> None:
    """Deletes what is not searched."""
    found = generations.read(folder)
    left = Generations(found.current)
    generations.write(folder, left)
    generations.tidy(folder, left)


def _flip(folder: Path, kept_ref: str) -> Generations:
    """Makes what was built what is searched, and keeps that for a way back.

    After an error it is not.
    """
    found = generations.read(folder)
    assert found.coming is not None
    moved = Generations(found.coming, kept=found.current, kept_ref=kept_ref)
    try:
        generations.write(folder, moved)
    except OSError as error:
        # The next start goes by what can be read, whether or not that would outlast
        # a power cut.
        if generations.read(folder) != moved:
            raise
        _LOG.error("%s: moved, but not known to be on disk: %s", folder, error)
    return moved
