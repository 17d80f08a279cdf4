"""One call of UpsertRnas: RNAs read, encoded and stored, batch after batch."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ribolex.dictionary import Dictionary
from ribolex.errors import CollectionMovedError, InvalidRequestError
from ribolex.rna import Rna
from ribolex.server.convert import codes as convert
from ribolex.server.convert.collection import decode_rna
from ribolex.server.engine.encoding import EncodeTask, Encoding, Recipe
from ribolex.server.engine.front import Order
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.task import cost
from ribolex.server.engine.ticket import Spent
from ribolex.server.index.intake import Encoded, Storing, check_rna
from ribolex.server.memory import give_back
from ribolex.server.services.gate import Backend
from ribolex.server.services.outcomes import count_answer
from ribolex.server.services.streaming import in_order, until_drained
from ribolex.v1 import collection_pb2

_IN_FLIGHT = 4
"""Batches at work: one is stored while others are encoded."""
_MAX_PART = 131_072
"""Tokens of a batch, whose codes are in memory until it is stored: 16 MiB at
k = 16. A longer RNA is a batch of its own."""
_MAX_REJECTIONS = 1000
_MANY = 256
"""RNAs of a call that leaves enough freed memory behind to give it back: fewer than
clients put into one."""


class _Part(NamedTuple):
    """Some RNAs of one message, few enough to be encoded and stored together."""

    rnas: Sequence[Rna]
    in_message: int
    """Place of the first of them in its message."""
    in_stream: int
    """Place of the first of them among all of the stream."""
    degap: bool


class _Fault(NamedTuple):
    """An RNA of a part that is refused."""

    place: int
    """In the part."""
    error: InvalidRequestError


class _Ready(NamedTuple):
    """What became of a part before it is stored."""

    rnas: list[Encoded]
    content_id: str
    """Of the dictionary of their codes."""
    faults: list[_Fault]
    queue_s: float
    batches: dict[int, Spent]


class Upsert:
    """One call and its counts so far."""

    def __init__(self, backend: Backend, deadline_s: float | None) -> None:
        self._backend = backend
        self._deadline_s = deadline_s
        self._collection = ""
        self._dictionary: Dictionary | None = None
        self._queue_s = 0.0
        self._batches: dict[int, Spent] = {}
        self._response = collection_pb2.UpsertRnasResponse()

    async def run(
        self,
        requests: AsyncIterator[collection_pb2.UpsertRnasRequest],
        draining: asyncio.Event,
    ) -> collection_pb2.UpsertRnasResponse:
        """Returns the answer, once all that it counts is stored.

        Raises:
            InvalidRequestError: the stream does not say which collection it is for.
            CollectionNotFoundError: it is not, or no longer, there.
            NotReadyError: the server drains; what was stored stays stored.
        """
        begun_s = time.monotonic()
        parts = self._parts(until_drained(requests, draining))
        async for part, ready in in_order(parts, self._encode, in_flight=_IN_FLIGHT):
            await self._store(part, ready)
        if not self._collection:
            raise InvalidRequestError(
                "collection", "the stream had no message, expected a name in the first"
            )
        if self._response.n_inserted + self._response.n_updated >= _MANY:
            await asyncio.to_thread(give_back)
        total_s = time.monotonic() - begun_s
        timing = convert.encode_timing(self._queue_s, self._batches, total_s)
        self._response.timing.CopyFrom(timing)
        return self._response

    async def _parts(
        self, requests: AsyncIterator[collection_pb2.UpsertRnasRequest]
    ) -> AsyncGenerator[_Part, None]:
        in_stream = 0
        async for request in requests:
            await self._settle_collection(request.collection)
            lengths = [len(rna.sequence) for rna in request.rnas]
            max_tokens = min(_MAX_PART, self._backend.engine.max_tokens)
            costs = map(cost, lengths)
            for start, stop in _cut(costs, self._backend.max_sequences, max_tokens):
                rnas = [decode_rna(rna) for rna in request.rnas[start:stop]]
                yield _Part(rnas, start, in_stream + start, request.degap)
            in_stream += len(request.rnas)

    async def _settle_collection(self, name: str) -> None:
        """Learns from the first message which collection the stream is for."""
        if self._collection:
            if name not in ("", self._collection):
                raise InvalidRequestError(
                    "collection", f"{name!r}, expected {self._collection!r} as before"
                )
            return
        if not name:
            raise InvalidRequestError(
                "collection", "is empty, expected a name in the first message"
            )
        await self._take_dictionary(name)
        self._collection = name

    async def _take_dictionary(self, name: str) -> None:
        """Learns what the collection is indexed under now."""
        facts = (await self._backend.collections.summary(name)).facts
        found = await self._backend.dictionaries.fitting(
            facts.dictionary, facts.version
        )
        self._dictionary = found.dictionary

    async def _encode(self, part: _Part) -> _Ready:
        dictionary = self._dictionary
        assert dictionary is not None  # a part comes after its collection is settled
        faults, sound = [], []
        structures: list[str | None] = []
        for place, rna in enumerate(part.rnas):
            try:
                where = f"rnas[{part.in_message + place}]"
                structures.append(check_rna(rna, where, degap=part.degap))
                sound.append(place)
            except InvalidRequestError as error:
                faults.append(_Fault(place, error))
        recipe = Recipe(dictionary.sae.k, None)
        order = Order(
            [part.rnas[place].sequence for place in sound],
            lambda text: EncodeTask(text, dictionary, recipe),
            degap=part.degap,
            deadline_s=self._deadline_s,
            lane=Lane.BULK,
            is_patient=True,
            is_kept=False,  # each RNA comes once
            where=lambda i: f"rnas[{part.in_message + sound[i]}].sequence",
        )
        answer = await self._backend.engine.compute(order)
        count_answer(self._backend.metrics, order.lane, answer)
        ready = []
        for place, structure, sequence, outcome in zip(
            sound, structures, answer.sequences, answer.outcomes, strict=True
        ):
            if isinstance(outcome, Encoding):
                rna = replace(part.rnas[place], sequence=sequence, structure=structure)
                ready.append(Encoded(rna, outcome.codes, outcome.fvu))
            else:
                faults.append(_Fault(place, outcome))
        content_id = dictionary.content_id
        return _Ready(ready, content_id, sorted(faults), answer.queue_s, answer.batches)

    async def _store(self, part: _Part, ready: _Ready) -> None:
        while True:
            try:
                written = await self._backend.collections.write(
                    self._collection, Storing(ready.rnas), ready.content_id
                )
                break
            except CollectionMovedError:
                # To another dictionary, while these were encoded for the one before.
                await self._take_dictionary(self._collection)
                ready = await self._encode(part)
        self._queue_s = max(self._queue_s, ready.queue_s)
        self._batches |= ready.batches
        self._response.n_inserted += written.n_inserted
        self._response.n_updated += written.n_updated
        self._response.n_rejected += len(ready.faults)
        room = _MAX_REJECTIONS - len(self._response.rejections)
        for place, error in ready.faults[: max(0, room)]:
            self._response.rejections.add(
                index=part.in_stream + place,
                name=part.rnas[place].name,
                rejection=convert.encode_rejection(error),
            )


def _cut(
    costs: Iterable[int], max_rnas: int, max_tokens: int = _MAX_PART
) -> Iterator[tuple[int, int]]:
    """Yields first and end of each part of some RNAs, none of them too large."""
    start, stop, n_tokens = 0, 0, 0
    for place, more in enumerate(costs):
        is_full = place - start == max_rnas or n_tokens + more > max_tokens
        if place > start and is_full:
            yield start, place
            start, n_tokens = place, 0
        n_tokens += more
        stop = place + 1
    if start < stop:
        yield start, stop
