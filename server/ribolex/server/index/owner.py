"""A collection and the thread that it lives in.

Whatever is asked of it is done there, one thing after the other, so that no lock is
needed and no coroutine blocks. Changes that come while others are written go to disk
together, in one transaction. Knows nothing of other collections or of messages.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from ribolex.dictionary import Dictionary
from ribolex.errors import CollectionNotFoundError
from ribolex.server.index.collection import Change, Collection
from ribolex.server.index.faults import translated
from ribolex.server.index.intake import Storing
from ribolex.server.index.records import Written
from ribolex.server.index.schema import RECORDS
from ribolex.server.index.upkeep import RelativesOptions

_LOG = logging.getLogger(__name__)

_MAX_GROUP = 4096
"""RNAs of a transaction, unless one change alone has more."""

Result = TypeVar("Result")
OnCommit = Callable[[int, float], None]
"""Told of each transaction: how many changes shared it, and how long it took."""


class _Waiting(NamedTuple):
    """A change, and who waits until it is on disk."""

    change: Change
    done: asyncio.Future[Written]

    @property
    def n_rnas(self) -> int:
        change = self.change
        return len(change.rnas if isinstance(change, Storing) else change.names)


class Owner:
    """A thread and the collection that lives in it. For one event loop.

    Attributes:
        dictionary_ref: What the collection is indexed under, "name@version"; "" while
            that is not known.
        name: Of the collection.
        loading: Has the index built; None before.
        is_loaded: Whether it was.
        is_gone: Whether it is closed.
        fault: Why it is not known what of the folder is searched; else None.
        content_id: Of the dictionary, once it is loaded.
        may_write: Whether changes may be lined up; whoever makes one looks first.
    """

    def __init__(
        self,
        folder: Path,
        options: RelativesOptions,
        ref: str = "",
        on_commit: OnCommit = lambda n_changes, took_s: None,
        name: str = "",
    ) -> None:
        self.folder = folder
        self.name = name or folder.name
        self.content_id = ""
        self.may_write = asyncio.Event()
        self.may_write.set()
        self._options = options
        self.dictionary_ref = ref
        self.loading: asyncio.Task[None] | None = None
        self.is_loaded = self.is_gone = False
        self.fault: Exception | None = None
        self._on_commit = on_commit
        self._thread = ThreadPoolExecutor(1, f"ribolex-{self.name}")
        self._collection: Collection | None = None
        self._waiting: deque[_Waiting] = deque()
        self._is_in_line = False

    @property
    def n_rnas(self) -> int:
        """RNAs in the collection; 0 while it is not open."""
        return 0 if self._collection is None else self._collection.n_rnas

    async def run(self, job: Callable[[Collection], Result]) -> Result:
        """Returns what a job gives, done in the thread after all before it."""
        if self.is_gone:
            raise CollectionNotFoundError(self.name)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._do, job)

    async def load(self, dictionary: Dictionary) -> None:
        """Has the index built, once; raises as `Collection.load`."""
        await self.run(lambda collection: collection.load(dictionary))
        self.content_id = dictionary.content_id
        self.is_loaded = True

    async def lead(self) -> None:
        """Tells the indexes that this is what is searched.

        They go by it from then on: what of it fails now is done later.
        """
        try:
            await self.run(Collection.lead)
        except Exception:
            # Whatever it is, the collection can be used.
            _LOG.exception("collection %s: its index does not lead yet", self.name)

    async def write(self, change: Change) -> Written:
        """Returns what became of a change once it is on disk and every search sees it.

        Those that wait when the thread comes to them are written in one transaction,
        in the order they came. One that cannot be written fails alone. If its caller
        is cancelled it may still be made, whole.
        """
        if self.is_gone:
            raise CollectionNotFoundError(self.name)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Written] = loop.create_future()
        self._waiting.append(_Waiting(change, done))
        # The thread takes this down before it takes what waits: none is forgotten.
        if not self._is_in_line:
            self._is_in_line = True
            loop.run_in_executor(self._thread, self._write_waiting, loop)
        return await done

    async def close(self) -> None:
        """Waits for the jobs in line and closes the collection. Never fails."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._shut)
        self._thread.shutdown(wait=False)
        if self.loading is not None:
            self.loading.cancel()  # it may wait for a dictionary
            await asyncio.wait((self.loading,))

    def _write_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_in_line = False
        # Those that come from now on have a turn of their own: searches go between.
        there = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for group in _groups(there):
            for one, result in zip(group, self._write(group), strict=True):
                loop.call_soon_threadsafe(_tell, one.done, result)

    def _write(self, group: list[_Waiting]) -> list[Written | Exception]:
        """Returns what became of each change, or why it was not made."""
        changes = [one.change for one in group]
        begun_s = time.monotonic()
        try:
            done = self._do(lambda collection: collection.write(changes))
            self._on_commit(len(group), time.monotonic() - begun_s)
            return [*done]
        except Exception as error:
            if len(group) == 1:
                return [error]
            _LOG.warning("%d changes written apart: %s", len(group), error)
        return [result for one in group for result in self._write([one])]

    def _do(self, job: Callable[[Collection], Result]) -> Result:
        if self.is_gone:
            raise CollectionNotFoundError(self.name)
        with translated(self.folder / RECORDS):
            if self.fault is not None:
                raise self.fault.with_traceback(None)
            if self._collection is None:
                self._collection = Collection(self.folder, self._options)
            return job(self._collection)

    def _shut(self) -> None:
        self.is_gone = True
        if self._collection is not None:
            try:
                self._collection.close()
            except Exception:
                # All that was acknowledged is on disk, and who closes has more to do.
                _LOG.exception("collection %s was not closed in order", self.name)


def _groups(waiting: list[_Waiting]) -> Iterator[list[_Waiting]]:
    """Yields changes in transactions of bounded size, without those given up."""
    group: list[_Waiting] = []
    n_rnas = 0
    for one in waiting:
        if one.done.cancelled():
            continue
        if group and n_rnas + one.n_rnas > _MAX_GROUP:
            yield group
            group, n_rnas = [], 0
        group.append(one)
        n_rnas += one.n_rnas
    if group:
        yield group


def _tell(done: asyncio.Future[Written], result: Written | Exception) -> None:
    if done.done():  # its caller has left
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
