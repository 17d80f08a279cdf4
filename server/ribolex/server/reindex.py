"""Collections that are indexed anew, under another dictionary, while they are in use.

Codes are computed in the bulk lane, a part of a batch at a time with a rest after each,
so that searches go first. Then the neighbours of some RNAs are compared, writes wait
for the last few RNAs, and one exchange has all searches see the new index. Knows
nothing of messages.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from ribolex.dictionary import Dictionary
from ribolex.errors import NotReadyError, RibolexError
from ribolex.rna import Rna
from ribolex.server.dictionaries import Dictionaries
from ribolex.server.engine.encoding import EncodeTask, Encoding, Recipe
from ribolex.server.engine.front import Engine, Order
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.task import cost
from ribolex.server.index.generations import Plan
from ribolex.server.index.intake import Encoded
from ribolex.server.index.lag import Lag
from ribolex.server.index.moving import Move
from ribolex.server.index.records import Place
from ribolex.server.index.store import CollectionStore
from ribolex.server.unbroken import Unbroken

_LOG = logging.getLogger(__name__)

_PART = 64
"""RNAs that are stored together."""
_BATCH_SHARE = 4
"""Parts of the model's batches that are encoded before a rest: so much less is what
who comes meanwhile waits."""
_LAST = 256
"""RNAs for which writes may wait in the end."""
_POLL_S = 0.5

Result = TypeVar("Result")
State = Literal["encoding", "comparing", "held", "done"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection has come."""

    state: State
    """"held": the neighbours differ too much, and it stays where it was."""
    n_done: int
    """RNAs in the new index as they are in the old one."""
    n_rnas: int
    overlap: float | None = None
    """Mean part of the ten nearest that are the same before and after."""


class Reindexing:
    """One collection on its way; `run` once.

    Attributes:
        progress: So far.
    """

    def __init__(
        self,
        move: Move,
        dictionary: Dictionary,
        engine: Engine,
        collections: CollectionStore,
        unbroken: Unbroken,
    ) -> None:
        self._move, self._dictionary = move, dictionary
        self._engine, self._collections = engine, collections
        self._unbroken = unbroken
        self.progress = Progress("encoding", 0, 0)

    async def run(self) -> None:
        """Brings it there, unless the neighbours differ too much.

        What was done before is not done again.

        Raises:
            InvalidRequestError: an RNA cannot be encoded any more.
            NotReadyError: the server ends; another start goes on.
        """
        move = self._move
        while True:
            await self._catch_up()
            self._tell("comparing")
            overlap = await self._overlap()
            self._tell("comparing", overlap)
            if overlap < move.plan.min_overlap:
                self._tell("held", overlap)
                _LOG.warning(
                    "collection %s stays: neighbours overlap by %.3f, expected %.3f",
                    move.name, overlap, move.plan.min_overlap,
                )  # fmt: skip
                return
            if await self._unbroken.do(self._exchange()):
                self._tell("done", overlap)
                return

    async def _catch_up(self) -> None:
        """Returns once the new index is all but in step with the old one."""
        while True:
            lag = await self._follow(await self._move.lag(), self._move.plan.max_share)
            if len(lag.missing) <= _LAST:
                return

    async def _overlap(self) -> float:
        """Returns the overlap of neighbours, once both indexes can be searched."""
        while True:
            try:
                return await self._move.overlap()
            except NotReadyError as error:
                # One that is in a Milvus may be behind for a while.
                _LOG.info("collection %s waits: %s", self._move.name, error)
                await asyncio.sleep(_POLL_S)

    async def _exchange(self) -> bool:
        """Returns whether the new index is searched from now on."""
        move = self._move
        move.old.may_write.clear()
        try:
            # Behind all that was lined up before.
            await move.old.run(lambda collection: None)
            lag = await move.lag()
            if len(lag.missing) > _LAST:
                return False
            await self._follow(lag, 1.0)
            await self._collections.moves.flip(move)
        finally:
            move.old.may_write.set()
        return True

    async def _follow(self, lag: Lag, max_share: float) -> Lag:
        """Gives the new index what it lacked; returns what it lacked."""
        n_done = lag.n_rnas - len(lag.missing)
        self.progress = Progress(self.progress.state, n_done, lag.n_rnas)
        await self._move.forget(lag.extra)
        max_tokens = self._engine.queue.limits.batch_tokens // _BATCH_SHARE
        for start in range(0, len(lag.missing), _PART):
            found = await self._move.read(lag.missing[start : start + _PART].tolist())
            rnas: list[Encoded] = []
            for part in _cut(found, max_tokens):
                rnas += await _rested(self._encode(part), max_share)
            places = [place for place, _ in found]
            await _rested(self._move.put(places, rnas), max_share)
            done = n_done + min(start + _PART, len(lag.missing))
            self.progress = Progress("encoding", done, lag.n_rnas)
        return lag

    async def _encode(self, part: Sequence[tuple[Place, Rna]]) -> list[Encoded]:
        recipe = Recipe(self._dictionary.sae.k, None)
        order = Order(
            [rna.sequence for _, rna in part],
            lambda text: EncodeTask(text, self._dictionary, recipe),
            lane=Lane.BULK,
            is_patient=True,
            is_kept=False,
            where=lambda i: part[i][1].name,
        )
        answer = await self._engine.compute(order)
        rnas = []
        for (_, rna), outcome in zip(part, answer.outcomes, strict=True):
            if not isinstance(outcome, Encoding):
                raise outcome
            rnas.append(Encoded(rna, outcome.codes, outcome.fvu))
        return rnas

    def _tell(self, state: State, overlap: float | None = None) -> None:
        told = self.progress
        self.progress = Progress(state, told.n_done, told.n_rnas, overlap)


class Reindexer:
    """All collections that are on their way. For one event loop; `close` in the end."""

    def __init__(
        self, engine: Engine, dictionaries: Dictionaries, collections: CollectionStore
    ) -> None:
        self._engine = engine
        self._dictionaries = dictionaries
        self._collections = collections
        self._jobs: dict[str, tuple[Reindexing, asyncio.Task[None]]] = {}
        self._line = asyncio.Lock()
        self._unbroken = Unbroken()

    @property
    def n_left(self) -> dict[str, int]:
        """RNAs that are left, of each collection that is being worked on."""
        jobs = {n: job for n, (job, task) in self._jobs.items() if not task.done()}
        return {n: j.progress.n_rnas - j.progress.n_done for n, j in jobs.items()}

    async def resume(self) -> None:
        """Goes on with what was begun before the server ended."""
        for name, move in list(self._collections.moves.moves.items()):
            try:
                await self.begin(name, move.plan)
            except RibolexError as error:
                _LOG.error("collection %s is not indexed on: %s", name, error)

    async def begin(self, name: str, plan: Plan) -> None:
        """Has a collection indexed under another dictionary, in the background.

        If it is on its way there it goes on, with that plan.

        Raises:
            CollectionNotFoundError: there is none of that name.
            DictionaryNotFoundError: there is no such dictionary.
            IncompatibleDictionaryError: it does not fit the model.
            InvalidRequestError: the collection is under that dictionary, or on its
                way to another.
        """
        found = await self._dictionaries.fitting(plan.dictionary, plan.version)
        # Opens it, if that is still to be done.
        await self._collections.run(name, lambda collection: None)
        await self._unbroken.do(self._begin(name, plan, found.dictionary))

    async def _begin(self, name: str, plan: Plan, dictionary: Dictionary) -> None:
        async with self._line:
            move = await self._collections.moves.begin(name, dictionary, plan)
            if name in self._jobs and not self._jobs[name][1].done():
                return
            job = Reindexing(
                move, dictionary, self._engine, self._collections, self._unbroken
            )
            task = asyncio.create_task(job.run())
            task.add_done_callback(partial(_note, name))
            self._jobs[name] = job, task

    async def watch(self, name: str) -> AsyncGenerator[Progress, None]:
        """Yields how far a collection has come, now and on, until it is there.

        Raises:
            RibolexError: what ended it.
        """
        if name not in self._jobs:
            raise NotReadyError("the re-indexing was ended")
        job, task = self._jobs[name]
        while not task.done():
            yield job.progress
            await asyncio.wait((task,), timeout=_POLL_S)
        if task.cancelled():
            raise NotReadyError("the re-indexing was ended")
        task.result()
        yield job.progress

    async def end(self, name: str) -> None:
        """Stops the work on a collection and deletes what of it is not searched.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        await self._unbroken.do(self._end(name))

    async def _end(self, name: str) -> None:
        async with self._line:
            await self._stop(name)
            await self._collections.moves.end(name)

    async def delete(self, name: str) -> int:
        """Deletes a collection, with all that goes on with it."""
        return await self._unbroken.do(self._delete(name))

    async def _delete(self, name: str) -> int:
        async with self._line:
            await self._stop(name)
            return await self._collections.delete(name)

    async def close(self) -> None:
        """Stops all work; another start goes on with it."""
        await self._unbroken.settle()
        for name in list(self._jobs):
            await self._stop(name)

    async def _stop(self, name: str) -> None:
        if name in self._jobs:
            _, task = self._jobs.pop(name)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _rested(work: Awaitable[Result], max_share: float) -> Result:
    """Returns what work gives, after a rest: so much of the time it may take."""
    begun_s = time.monotonic()
    result = await work
    took_s = time.monotonic() - begun_s
    await asyncio.sleep(took_s * (1 - max_share) / max_share)
    return result


def _cut(
    found: Sequence[tuple[Place, Rna]], max_tokens: int
) -> list[list[tuple[Place, Rna]]]:
    """Returns RNAs in parts of so many tokens; one alone may have more."""
    parts: list[list[tuple[Place, Rna]]] = []
    n_tokens = 0
    for one in found:
        more = cost(len(one[1].sequence))
        if not parts or n_tokens + more > max_tokens:
            parts.append([])
            n_tokens = 0
        parts[-1].append(one)
        n_tokens += more
    return parts


def _note(name: str, task: "asyncio.Task[None]") -> None:
    if task.cancelled() or task.exception() is None:
        return
    error = task.exception()
    if isinstance(error, RibolexError | TimeoutError):
        _LOG.error("collection %s is not indexed on: %s", name, error)
    else:
        _LOG.error("the re-indexing of %s failed", name, exc_info=error)
