"""Calls that carry a collection as one file: out in chunks, and in again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from ribolex.errors import InvalidRequestError
from ribolex.server.convert.collection import encode_summary
from ribolex.server.services.gate import Backend
from ribolex.server.services.streaming import until_drained
from ribolex.v1 import collection_pb2

_CHUNK = 1 << 18
"""Bytes of a message: below the smallest limit that a server can be given."""


async def snapshot(
    backend: Backend, request: collection_pb2.SnapshotRequest
) -> AsyncGenerator[collection_pb2.SnapshotResponse, None]:
    """Yields the file of a collection, taken when the call came.

    Raises:
        CollectionNotFoundError: there is none of that name.
        CorruptArtefactError: its file is damaged.
    """
    taken = await backend.collections.snapshot(request.collection)
    with taken.file as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield collection_pb2.SnapshotResponse(chunk=chunk)


async def restore(
    backend: Backend,
    requests: AsyncIterator[collection_pb2.RestoreRequest],
    draining: asyncio.Event,
) -> collection_pb2.RestoreResponse:
    """Makes a collection of the file that a stream brings; see `CollectionStore`.

    Raises:
        InvalidRequestError: the name is none, or there was no message.
        RibolexError: as `CollectionStore.restore`.
        NotReadyError: the server drains.
    """
    name, is_first = "", True
    async with (
        backend.collections.receiving() as path,
        aclosing(until_drained(requests, draining)) as coming,
    ):
        with await asyncio.to_thread(path.open, "wb") as file:
            async for request in coming:
                if is_first and request.name:
                    name = request.name
                    backend.collections.check_free(name)
                is_first = False
                await asyncio.to_thread(file.write, request.chunk)
        if is_first:
            raise InvalidRequestError("chunk", "the stream had no message")
        summary = await backend.collections.restore(path, name)
    return collection_pb2.RestoreResponse(collection=encode_summary(summary))
