"""All collections of a data folder, each on a thread of its own.

Knows nothing of messages, or of what is done with a collection.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ribolex.dictionary import Dictionary
from ribolex.errors import (
    CollectionExistsError,
    CollectionMovedError,
    CollectionNotFoundError,
    DictionaryNotFoundError,
    IncompatibleDictionaryError,
    RibolexError,
)
from ribolex.server.index import folders, generations
from ribolex.server.index.collection import Change, Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.faults import translated
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.moves import Moves
from ribolex.server.index.owner import OnCommit, Owner, Result
from ribolex.server.index.records import Written
from ribolex.server.index.schema import RECORDS
from ribolex.server.index.snapshot import Taken, take_open, unpack
from ribolex.server.index.tending import Tending
from ribolex.server.index.upkeep import RelativesOptions
from ribolex.server.logs import traceback_of
from ribolex.server.unbroken import Unbroken

_LOG = logging.getLogger(__name__)

FindDictionary = Callable[[str, int], Awaitable[Dictionary]]
"""Gives the dictionary of a name and version, or raises."""


class Summary(NamedTuple):
    """A collection's facts and its size."""

    facts: Facts
    n_rnas: int


class CollectionStore:
    """The collections in a folder. For one event loop; `close` it in the end.

    The folder is locked: a second server is refused.

    Attributes:
        moves: Collections that move to another dictionary.
        tending: Of the Milvus that keeps the codes; None without one.
    """

    def __init__(
        self,
        root: Path,
        measure: SearchMeasure,
        find_dictionary: FindDictionary,
        options: RelativesOptions = RelativesOptions(),  # noqa: B008
        on_commit: OnCommit = lambda n_changes, took_s: None,
    ) -> None:
        """Locks the folder, which is made if it is not there.

        Args:
            root: the folder.
            measure: for new collections, unless they are told another.
            find_dictionary: gives what collections are indexed under.
            options: of searches that align.
            on_commit: told of every transaction, in the thread that made it.

        Raises:
            NotReadyError: another server uses the folder.
        """
        self._root = root = root.absolute()  # file: URIs are made of it
        self._measure = measure
        self._find_dictionary = find_dictionary
        self._options = options
        self._on_commit = on_commit
        self._owners: dict[str, Owner] = {}
        self._unbroken = Unbroken()
        self.moves = Moves(root, self._owners, self._own)
        self.tending: Tending | None = None
        if options.milvus is not None:
            self.tending = Tending(options.milvus, self._owners, self.moves)
        root.mkdir(parents=True, exist_ok=True)
        self._lock = folders.lock(root)

    @property
    def measure(self) -> SearchMeasure:
        """How new collections measure likeness."""
        return self._measure

    @property
    def sizes(self) -> dict[str, int]:
        """RNAs by collection, as far as they are known now."""
        return {name: owner.n_rnas for name, owner in self._owners.items()}

    @property
    def recall(self) -> float:
        """Part of the hits that sensitive searches find, measured on a sample.

        nan before the first.
        """
        sample = self._options.sample
        return float("nan") if sample is None else sample.recall

    @property
    def bound(self) -> set[str]:
        """Dictionary versions ("name@version") that collections are indexed under."""
        refs = {owner.dictionary_ref for owner in self._owners.values()}
        return (refs | self.moves.refs) - {""}

    async def open(self) -> None:
        """Opens every collection in the folder and builds its index.

        One that cannot be opened is logged; using it says what is wrong.
        """
        there = await asyncio.to_thread(folders.tidy, self._root)
        for folder in there:
            if not folders.NAME.fullmatch(folder.name):
                continue
            try:
                await self._open(folder)
            except Exception as error:  # whatever it is, the others are served
                what = error if isinstance(error, RibolexError) else traceback_of(error)
                _LOG.error("collection %s cannot be opened: %s", folder.name, what)
        if self.tending is not None:
            self.tending.start()

    async def _open(self, folder: Path) -> None:
        name = folder.name
        self._owners[name] = unknown = self._own(folder)
        try:
            found = await asyncio.to_thread(generations.read, folder)
        except Exception as error:
            unknown.fault = error  # told to who uses it
            raise
        self._owners[name] = owner = self._own(folder, "", found.current)
        await asyncio.to_thread(generations.try_tidy, folder, found)
        self.moves.kept[name] = found.kept_ref
        await self._load(owner)
        if (plan := found.plan) is not None:
            dictionary = await self._find_dictionary(plan.dictionary, plan.version)
            await self.moves.follow(name, found, dictionary)

    async def create(
        self, name: str, dictionary: Dictionary, measure: SearchMeasure
    ) -> Summary:
        """Makes an empty collection, on disk when this returns.

        Raises:
            InvalidRequestError: the name cannot be one.
            CollectionExistsError: it is taken.
        """
        self.check_free(name)
        facts = Facts.of(name, dictionary, measure)
        made = self._take_up(facts, partial(_create, self._root, facts))
        with translated(self._root):
            await self._unbroken.do(made)
        _LOG.info("collection %s made for %s", name, dictionary.ref)
        return Summary(facts, 0)

    async def summary(self, name: str) -> Summary:
        """Returns the facts of one collection.

        Raises:
            CollectionNotFoundError: there is none of that name.
            CorruptArtefactError: its file is damaged.
        """
        return await self._owner(name).run(_summary)

    async def list(self) -> Sequence[Summary]:
        """Returns all collections by name; those that cannot be read are left out."""
        found = []
        for name, owner in sorted(self._owners.items()):
            try:
                found.append(await owner.run(_summary))
            except Exception as error:
                _LOG.warning("collection %s is not listed: %s", name, error)
        return found

    async def delete(self, name: str) -> int:
        """Deletes a collection for good; returns how many RNAs it had.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        owner = self._owner(name)
        try:
            n_rnas = (await owner.run(_summary)).n_rnas
        except CollectionNotFoundError:
            raise
        except RibolexError:  # what cannot be read can be deleted
            n_rnas = 0
        if self._owners.pop(name, None) is None:
            raise CollectionNotFoundError(name)
        await self._unbroken.do(self._delete(name, owner))
        _LOG.info("collection %s deleted, n_rnas %d", name, n_rnas)
        return n_rnas

    async def _delete(self, name: str, owner: Owner) -> None:
        folder = self._root / name
        await self.moves.forget(name)
        await owner.close()
        try:
            await asyncio.to_thread(folders.delete, folder)
        except OSError:
            at = str(owner.folder.relative_to(folder))  # still there
            self._owners[name] = self._own(folder, owner.dictionary_ref, at)
            raise

    async def snapshot(self, name: str) -> Taken:
        """Takes a collection as it is now, while it is read and written.

        Raises:
            CollectionNotFoundError: there is none of that name.
            CorruptArtefactError: its file is damaged.
        """
        owner = self._owner(name)
        await owner.run(_summary)
        out = folders.coming(self._root)
        taken = await take_open(name, owner.folder / RECORDS, out)
        _LOG.info("collection %s taken, n_rnas %d", name, taken.manifest.n_rnas)
        return taken

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[Path]:
        """Gives a path for a snapshot, for `restore`; what is left there goes."""
        coming = folders.coming(self._root)
        try:
            with translated(self._root):
                coming.mkdir()
                yield coming / RECORDS
        finally:
            await asyncio.to_thread(shutil.rmtree, coming, ignore_errors=True)

    async def restore(self, snapshot: Path, name: str = "") -> Summary:
        """Makes a collection of a snapshot, whole and on disk when this returns.

        Args:
            snapshot: a path from `receiving`; the file is used up.
            name: of the new collection; empty for what it was.

        Raises:
            InvalidRequestError: the name cannot be one.
            CollectionExistsError: it is taken.
            CorruptInputError: the file is no snapshot, or cut short.
            CorruptArtefactError: it does not have the digest that it tells.
            IncompatibleDictionaryError: the dictionary is unknown, or another one here.
        """
        facts = await asyncio.to_thread(unpack, snapshot, name)
        self.check_free(facts.name)
        await self._check_dictionary(facts)
        put = partial(folders.place, snapshot.parent, self._root / facts.name)
        owner = await self._unbroken.do(self._take_up(facts, put))
        await self._load(owner)
        _LOG.info("collection %s restored, n_rnas %d", facts.name, owner.n_rnas)
        return Summary(facts, owner.n_rnas)

    async def _take_up(self, facts: Facts, put: Callable[[], None]) -> Owner:
        """Returns the owner of a collection, once it was put in its place."""
        await asyncio.to_thread(put)
        ref = f"{facts.dictionary}@{facts.version}"
        self._owners[facts.name] = owner = self._own(self._root / facts.name, ref)
        return owner

    def check_free(self, name: str) -> None:
        """Does nothing if a collection of that name could be made now.

        Raises:
            InvalidRequestError: the name cannot be one.
            CollectionExistsError: it is taken.
        """
        folders.check_name(name)
        if name in self._owners:
            raise CollectionExistsError(name)

    async def _check_dictionary(self, facts: Facts) -> None:
        ref = f"{facts.dictionary}@{facts.version}"
        try:
            found = await self._find_dictionary(facts.dictionary, facts.version)
        except DictionaryNotFoundError as error:
            raise IncompatibleDictionaryError(
                ref, "content_id", "unknown here", facts.content_id
            ) from error
        got = found.content_id, found.sae.n_features
        if got != (facts.content_id, facts.n_features):
            raise IncompatibleDictionaryError(
                ref, "content_id", found.content_id, facts.content_id
            )

    async def run(
        self, name: str, job: Callable[[Collection], Result], under: str = ""
    ) -> Result:
        """Returns what a job gives that is done to a collection in its thread.

        Args:
            name: of the collection.
            job: that changes nothing.
            under: content id of the dictionary that the job takes for granted; empty
                if it does not.

        Raises:
            CollectionNotFoundError: there is none of that name.
            CollectionMovedError: it is under another dictionary by now.
            RibolexError: it cannot be opened, or what the job raises.
        """
        return await (await self._ready(name, under)).run(job)

    async def change(self, name: str, job: Callable[[Collection], Result]) -> Result:
        """Returns what a job gives that changes a collection; else as `run`."""
        return await (await self._writable(name, "")).run(job)

    async def write(self, name: str, change: Change, under: str = "") -> Written:
        """Returns what became of a change once it is on disk and every search sees it.

        Changes that come at the same time share a transaction. Arguments and errors
        are those of `run`.
        """
        return await (await self._writable(name, under)).write(change)

    async def close(self) -> None:
        """Closes all collections after what is in line for them."""
        if self._options.sample is not None:
            await asyncio.to_thread(self._options.sample.close)
        if self.tending is not None:
            await self.tending.close()
        await self._unbroken.settle()
        for name, owner in self._owners.items():
            await self.moves.forget(name)
            await owner.close()
        self._owners.clear()
        os.close(self._lock)

    def _own(self, folder: Path, ref: str = "", at: str = "") -> Owner:
        return Owner(folder / at, self._options, ref, self._on_commit, folder.name)

    async def _ready(self, name: str, under: str) -> Owner:
        owner = self._owner(name)
        await self._load(owner)
        if under and owner.content_id != under:
            raise CollectionMovedError(name, owner.dictionary_ref)
        return owner

    async def _writable(self, name: str, under: str) -> Owner:
        while True:
            owner = await self._ready(name, under)
            if owner.may_write.is_set():
                return owner
            await owner.may_write.wait()

    def _owner(self, name: str) -> Owner:
        owner = self._owners.get(name)
        if owner is None:
            raise CollectionNotFoundError(name)
        return owner

    async def _load(self, owner: Owner) -> None:
        # Looked at here, not in the thread: callers would wait for it one by one.
        if owner.is_loaded:
            return
        if owner.loading is None or owner.loading.done():
            owner.loading = asyncio.create_task(self._build(owner))
        # All wait for one, and it goes on without those that have left.
        await asyncio.wait((owner.loading,))
        if owner.is_gone:
            raise CollectionNotFoundError(owner.name)
        owner.loading.result()

    async def _build(self, owner: Owner) -> None:
        facts = (await owner.run(_summary)).facts
        owner.dictionary_ref = f"{facts.dictionary}@{facts.version}"
        dictionary = await self._find_dictionary(facts.dictionary, facts.version)
        await owner.load(dictionary)
        await owner.lead()
        _LOG.info("collection %s opened", facts.name)


def _summary(collection: Collection) -> Summary:
    return Summary(collection.facts, collection.n_rnas)


def _create(root: Path, facts: Facts) -> None:
    made = folders.coming(root)
    made.mkdir()
    try:
        Collection.create(made, facts)
        folders.place(made, root / facts.name)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
