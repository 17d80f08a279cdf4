"""The asynchronous client: the methods of `Client`, awaited.

What a method asks for, and how its answer is read, is told where `Client` has it; here
is only how streams of batches are waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import aclosing
from pathlib import Path
from typing import Any

from ribolex.client import convert, hits, records, snapshots
from ribolex.client.ask import Ask, awaited, awaited_pages
from ribolex.client.async_stream import answers_in_order, in_batches
from ribolex.client.client import Client
from ribolex.client.collection import MAX_SIZE as MAX_UPSERT
from ribolex.client.collection import UpsertTally, reindex_request, size_of, unheard
from ribolex.client.connection import AsyncConnection, closed_or
from ribolex.client.dictionary import watch_request
from ribolex.client.encoder import (
    MAX_SEQUENCES,
    MAX_SIZE,
    OnRejection,
    checked,
    embed_size,
    stream_request,
    wait_s,
)
from ribolex.client.errors import OverloadedError
from ribolex.client.search import N_AHEAD, How, accepted, query_request
from ribolex.client.status import translated
from ribolex.v1 import collection_pb2, encoder_pb2


class AsyncClient(AsyncConnection):
    """A connection to one server, with all that can be asked over it, awaited.

    For one event loop, and made within it; any number of tasks may use it at once.
    Methods and parameters are those of `Client`, where they are described. Cancelling
    whoever awaits one ends the call, and the server computes it no further. Streams are
    asynchronous iterators and take asynchronous iterables, too; leave one early within
    `contextlib.aclosing`, so that it ends there and then.
    """

    is_serving = awaited(Client.is_serving)
    encode = awaited(Client.encode)
    embed = awaited(Client.embed)
    scan = awaited(Client.scan)
    steer = awaited(Client.steer)
    create_collection = awaited(Client.create_collection)
    get_collection = awaited(Client.get_collection)
    list_collections = awaited_pages(Client.list_collections)
    delete_collection = awaited(Client.delete_collection)
    restore = awaited(Client.restore)
    end_reindex = awaited(Client.end_reindex)
    get_rna = awaited(Client.get_rna)
    list_rnas = awaited_pages(Client.list_rnas)
    delete_rnas = awaited(Client.delete_rnas)
    search = awaited(Client.search)
    search_pages = awaited_pages(Client.search_pages)
    search_features = awaited(Client.search_features)
    search_features_pages = awaited_pages(Client.search_features_pages)
    align = awaited(Client.align)
    compare = awaited(Client.compare)
    feature = awaited(Client.feature)
    features = awaited_pages(Client.features)
    nearest_features = awaited(Client.nearest_features)
    map_features = awaited(Client.map_features)
    dictionaries = awaited_pages(Client.dictionaries)
    activate = awaited(Client.activate)
    roll_back = awaited(Client.roll_back)
    retire = awaited(Client.retire)

    async def encode_stream(
        self,
        sequences: Iterable[str] | AsyncIterable[str],
        *,
        level: records.Level = "sequence",
        pooling: records.Pooling = "max",
        k: int | None = None,
        dictionary: str | records.DictionaryRef | None = None,
        half: bool = False,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
        batch: int = MAX_SEQUENCES,
        n_ahead: int = 4,
        as_ready: bool = False,
    ) -> AsyncIterator[records.Encoded]:
        """Yields the codes of any number of sequences; see `Client.encode_stream`."""
        options = convert.encode_options(level, pooling, k, dictionary, half, degap)

        async def requests() -> AsyncGenerator[encoder_pb2.EncodeStreamRequest, None]:
            async for part in in_batches(sequences, len, batch, MAX_SIZE):
                yield stream_request(part, options, as_ready)

        answers = answers_in_order(
            self._encoder.EncodeStream,
            requests(),
            n_ahead,
            self.timeout_s,
            self._metadata,
            goes_on=_continues,
        )
        with translated(self.address):
            async with aclosing(answers):
                async for messages in answers:
                    yield checked(convert.streamed(messages, level), on_rejection)

    async def embed_stream(
        self,
        sequences: Iterable[str] | AsyncIterable[str],
        *,
        layers: Sequence[int] = (),
        hook: records.Hook = "normed",
        pooling: records.DensePooling | None = None,
        half: bool = False,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
        batch: int = MAX_SEQUENCES,
    ) -> AsyncIterator[records.Embedded]:
        """Yields activations, batch by batch, in order; see `Client.embed_stream`."""
        async for part in in_batches(sequences, len, batch, embed_size(layers)):
            give_up_s = time.monotonic() + self.timeout_s
            while True:
                try:
                    answer = await self.embed(
                        part, layers=layers, hook=hook, pooling=pooling, half=half,
                        degap=degap, on_rejection=on_rejection,
                    )  # fmt: skip
                    break
                except OverloadedError as error:
                    await asyncio.sleep(wait_s(error, give_up_s))
            yield answer

    async def search_stream(
        self,
        collection: str,
        sequences: Iterable[str] | AsyncIterable[str],
        *,
        top_k: int = 10,
        max_shared_features: int = 5,
        degap: bool = False,
        sensitivity: hits.Sensitivity | None = None,
        max_e_value: float | None = None,
        where: hits.Where = (),
        exact: bool = False,
        on_rejection: OnRejection = "raise",
        n_ahead: int = N_AHEAD,
    ) -> AsyncIterator[hits.Hits]:
        """Yields the hits of any number of queries; see `Client.search_stream`."""
        how = How(
            top_k, max_shared_features, degap, sensitivity, max_e_value, where, exact
        )  # fmt: skip
        request = how.request(collection)

        async def requests() -> AsyncGenerator[
            collection_pb2.SearchSimilarStreamRequest, None
        ]:
            index = 0
            async for (sequence,) in in_batches(sequences, len, 1, 1):
                yield query_request(request, sequence, index)
                index += 1

        answers: AsyncGenerator[list[Any], None] = answers_in_order(
            self._collections.SearchSimilarStream,
            requests(),
            n_ahead,
            self.timeout_s,
            self._metadata,
        )
        with translated(self.address):
            async with aclosing(answers):
                async for (message,) in answers:
                    yield accepted(convert.streamed_hits(message), on_rejection)

    async def reindex(
        self,
        collection: str,
        dictionary: str | records.DictionaryRef | None = None,
        *,
        max_share: float = 0.5,
        min_overlap: float = 0.0,
    ) -> AsyncIterator[records.ReindexProgress]:
        """Indexes a collection under another dictionary; see `Client.reindex`."""
        request = reindex_request(collection, dictionary, max_share, min_overlap)
        with translated(self.address):
            call = self._collections.Reindex(request, metadata=self._metadata)
            try:
                async for answer in call:
                    yield convert.reindex_progress(answer)
            except asyncio.CancelledError as error:
                raise closed_or(error) from error
            finally:
                call.cancel()

    async def snapshot(
        self,
        collection: str,
        path: Path | str,
        *,
        on_progress: Callable[[int], object] = unheard,
    ) -> records.Snapshot:
        """Writes a collection to one file, as it is now; see `Client.snapshot`."""
        request = collection_pb2.SnapshotRequest(collection=collection)
        with snapshots.arriving(Path(path)) as file, translated(self.address):
            call = self._collections.Snapshot(
                request, timeout=self.timeout_s, metadata=self._metadata
            )
            try:
                async for answer in call:
                    on_progress(await asyncio.to_thread(file.write, answer.chunk))
            except asyncio.CancelledError as error:
                raise closed_or(error) from error
            finally:
                call.cancel()
        return await asyncio.to_thread(snapshots.describe_snapshot, Path(path))

    async def upsert(
        self,
        collection: str,
        rnas: Iterable[records.Rna] | AsyncIterable[records.Rna],
        *,
        degap: bool = False,
        batch: int = 512,
        on_progress: Callable[[int], object] = unheard,
    ) -> records.UpsertReport:
        """Stores RNAs, batch after batch; see `Client.upsert`."""
        tally = UpsertTally(collection, degap)
        async for part in in_batches(rnas, size_of, batch, MAX_UPSERT):
            request = tally.request(part)
            await self._ask(
                Ask(self._collections.UpsertRnas, iter([request]), tally.add)
            )
            on_progress(len(part))
        return tally.report

    async def watch(
        self, name: str | None = None
    ) -> AsyncIterator[records.DictionaryChange]:
        """Yields what the server uses, then every change; see `Client.watch`."""
        with translated(self.address):
            call = self._dictionaries.Watch(
                watch_request(name), metadata=self._metadata
            )
            try:
                async for message in call:
                    yield convert.dictionary_change(message)
            except asyncio.CancelledError as error:
                raise closed_or(error) from error
            finally:
                call.cancel()


def _continues(message: encoder_pb2.EncodeStreamResponse) -> bool:
    return message.continues
