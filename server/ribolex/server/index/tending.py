"""Has a Milvus have what the collections of a server have, and nothing else.

Whatever could not be done at once, because the Milvus was away or there was too much
of it, is done here a little at a time, so that searches and writes go between. What no
collection needs any more is dropped. Knows nothing of codes.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping

from ribolex.errors import CorruptArtefactError, NotReadyError, RibolexError
from ribolex.server.index import folders, generations
from ribolex.server.index.milvus import Milvus
from ribolex.server.index.milvus_rows import alias_of, stem_of
from ribolex.server.index.moves import Moves
from ribolex.server.index.owner import Owner

_LOG = logging.getLogger(__name__)

_POLL_S = 1.0
_SLICE_S = 0.25
"""That a collection is kept from searches and writes at a time."""
_TIDY_S = 600.0


class Tending:
    """For one event loop; `close` it in the end.

    Attributes:
        n_behind: Collections whose searches fail until the Milvus has all of them.
    """

    def __init__(
        self, milvus: Milvus, owners: Mapping[str, Owner], moves: Moves
    ) -> None:
        """Does nothing until `start`.

        Args:
            milvus: that keeps the codes.
            owners: of what is searched.
            moves: of what is built.
        """
        self._milvus, self._owners, self._moves = milvus, owners, moves
        self._task: asyncio.Task[None] | None = None
        self._tidied: frozenset[str] | None = None
        self._tidied_s = 0.0
        self.n_behind = self._n_failed = 0

    @property
    def is_up(self) -> bool:
        """Whether the Milvus answered when it was asked last."""
        return self._milvus.is_up

    def notes(self) -> list[str]:
        """Returns what is not as it should be."""
        if not self.is_up:
            return [f"Milvus at {self._milvus.address.url} is away"]
        return [f"Milvus lacks codes of {self.n_behind} collections"] * (
            self.n_behind > 0
        )

    def start(self) -> None:
        """Begins."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Ends it; what is not done then is done after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._milvus.close)

    async def _run(self) -> None:
        while True:
            try:
                self.n_behind = await self._catch_up()
                await self._tidy()
            except RibolexError as error:
                _LOG.debug("later: %s", error)
            except Exception:
                # Nobody waits for it, and it must go on.
                _LOG.exception("a Milvus could not be tended")
            is_working = self.n_behind > self._n_failed and self._milvus.is_up
            await asyncio.sleep(_SLICE_S if is_working else _POLL_S)

    async def _catch_up(self) -> int:
        """Returns how many indexes are still behind, of those that are searched.

        One that fails by itself, as what is damaged does, keeps no other one waiting.
        """
        n_behind, self._n_failed = 0, 0
        coming = [move.new for move in self._moves.moves.values()]
        for owner in [*self._owners.values(), *coming]:
            if not owner.is_loaded or owner.is_gone:
                continue
            try:
                is_done = await owner.run(lambda one: one.catch_up(_SLICE_S))
            except NotReadyError:
                raise  # the Milvus is away for all of them
            except Exception:
                _LOG.exception("a collection cannot catch up with its Milvus")
                is_done = False
                self._n_failed += owner not in coming
            n_behind += not is_done and owner not in coming
        return n_behind

    async def _tidy(self) -> None:
        """Drops what is of no collection, now and then and after each change."""
        # What the disk says: a change is told elsewhere before it is there.
        stems = await asyncio.to_thread(lambda: frozenset(self._stems()))
        is_late = time.monotonic() > self._tidied_s + _TIDY_S
        if stems != self._tidied or is_late:
            await asyncio.to_thread(self._milvus.tidy, self._stems)
            self._tidied, self._tidied_s = stems, time.monotonic()

    def _stems(self) -> Iterator[str]:
        """Yields what the names of all begin with that some folder needs."""
        prefix = self._milvus.prefix
        for folder in folders.there(self._milvus.root):
            name = folder.name
            try:
                found = generations.read(folder)
            except CorruptArtefactError:
                yield f"{alias_of(prefix, name)}_"
                continue
            for one in {found.current, found.kept, found.coming} - {None}:
                yield stem_of(prefix, name, one or "")
