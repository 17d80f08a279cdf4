"""Calls that move a collection to another dictionary, and end such a move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ribolex.errors import InvalidRequestError, NotReadyError
from ribolex.server.convert.collection import encode_progress, encode_summary
from ribolex.server.index.generations import Plan
from ribolex.server.services.gate import Backend
from ribolex.v1 import collection_pb2

_SHARE = 0.5


async def reindex(
    backend: Backend,
    request: collection_pb2.ReindexRequest,
    draining: asyncio.Event,
) -> AsyncGenerator[collection_pb2.ReindexResponse, None]:
    """Begins, or goes on, and yields how far it has come.

    Raises:
        InvalidRequestError: names the field.
        RibolexError: as `Reindexer.begin`, or what ended the work.
    """
    found = await backend.dictionaries.get(
        request.dictionary.name, request.dictionary.version
    )
    max_share = request.max_share if request.HasField("max_share") else _SHARE
    if not 0.01 <= max_share <= 1:
        raise InvalidRequestError("max_share", f"{max_share:g}, expected 0.01 to 1")
    if not 0 <= request.min_overlap <= 1:
        raise InvalidRequestError(
            "min_overlap", f"{request.min_overlap:g}, expected 0 to 1"
        )
    name, version = found.dictionary.name, found.dictionary.version
    plan = Plan(name, version, max_share, request.min_overlap)
    await backend.reindexer.begin(request.collection, plan)
    async with aclosing(backend.reindexer.watch(request.collection)) as states:
        async for progress in states:
            yield encode_progress(progress)
            if draining.is_set():
                raise NotReadyError("draining; the next start goes on")


async def end_reindex(
    backend: Backend, request: collection_pb2.EndReindexRequest
) -> collection_pb2.EndReindexResponse:
    """Deletes what of a collection is not searched.

    Raises:
        CollectionNotFoundError: there is no such collection.
    """
    await backend.reindexer.end(request.collection)
    summary = await backend.collections.summary(request.collection)
    return collection_pb2.EndReindexResponse(collection=encode_summary(summary))
