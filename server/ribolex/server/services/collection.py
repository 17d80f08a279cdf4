"""CollectionService: RNAs stored and found."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc

from ribolex.errors import (
    IncompatibleDictionaryError,
    NotFoundError,
    NotReadyError,
)
from ribolex.server.convert import codes as convert
from ribolex.server.convert import collection as encode
from ribolex.server.index.collection import Collection
from ribolex.server.services.align import align
from ribolex.server.services.compare import compare
from ribolex.server.services.feature_search import search_features
from ribolex.server.services.gate import Gate, deadline_of
from ribolex.server.services.reindex import end_reindex, reindex
from ribolex.server.services.rnas import delete_rnas, list_rnas
from ribolex.server.services.search import Caller, answer_query, search_similar
from ribolex.server.services.snapshot import restore, snapshot
from ribolex.server.services.streaming import in_order, until_drained
from ribolex.server.services.upsert import Upsert
from ribolex.v1 import collection_pb2, collection_pb2_grpc

_IN_FLIGHT = 8
"""Queries of one stream at work: some are encoded together while another searches."""


class CollectionService(collection_pb2_grpc.CollectionServiceServicer):
    """Stores RNAs with their codes under one dictionary version, and finds them."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def CreateCollection(  # noqa: N802
        self,
        request: collection_pb2.CreateCollectionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.CreateCollectionResponse:
        """Makes an empty collection."""
        backend = self._gate.enter()
        ref, measure = request.dictionary, backend.collections.measure
        pooling = convert.decode_pooling(request.pooling, "pooling", measure.pooling)
        found = await backend.dictionaries.fitting(ref.name, ref.version)
        summary = await backend.collections.create(
            request.name, found.dictionary, replace(measure, pooling=pooling)
        )
        return collection_pb2.CreateCollectionResponse(
            collection=encode.encode_summary(summary)
        )

    async def GetCollection(  # noqa: N802
        self,
        request: collection_pb2.GetCollectionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.GetCollectionResponse:
        """Gives one collection's facts and how much it holds."""
        collections = self._gate.enter().collections
        summary = await collections.summary(request.name)
        response = collection_pb2.GetCollectionResponse(
            collection=encode.encode_summary(summary)
        )
        # Without its dictionary it cannot be opened, and the facts are all there is.
        with contextlib.suppress(
            NotFoundError, IncompatibleDictionaryError, NotReadyError
        ):
            details = await collections.run(request.name, Collection.details)
            response.details.CopyFrom(encode.encode_details(details))
            aside = await collections.moves.aside(request.name)
            encode.add_aside(response.details, aside)
        return response

    async def ListCollections(  # noqa: N802
        self,
        request: collection_pb2.ListCollectionsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.ListCollectionsResponse:
        """Lists collections by name, a page at a time."""
        backend = self._gate.enter()
        page = convert.decode_page(request.page_size, request.page_token)
        summaries = await backend.collections.list()
        found, token = convert.cut_page(summaries, page, lambda each: each.facts.name)
        return collection_pb2.ListCollectionsResponse(
            collections=[encode.encode_summary(each) for each in found],
            next_page_token=token,
        )

    async def DeleteCollection(  # noqa: N802
        self,
        request: collection_pb2.DeleteCollectionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.DeleteCollectionResponse:
        """Deletes a collection with all its RNAs, for good."""
        n_rnas = await self._gate.enter().reindexer.delete(request.name)
        return collection_pb2.DeleteCollectionResponse(n_rnas=n_rnas)

    async def Snapshot(  # noqa: N802
        self,
        request: collection_pb2.SnapshotRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[collection_pb2.SnapshotResponse]:
        """Gives a collection as one file, in chunks."""
        async with aclosing(snapshot(self._gate.enter(), request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def Restore(  # noqa: N802
        self,
        request_iterator: AsyncIterator[collection_pb2.RestoreRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.RestoreResponse:
        """Makes a collection of such a file."""
        return await restore(self._gate.enter(), request_iterator, self._gate.draining)

    async def Reindex(  # noqa: N802
        self,
        request: collection_pb2.ReindexRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[collection_pb2.ReindexResponse]:
        """Moves a collection to another dictionary, and tells how far it is."""
        states = reindex(self._gate.enter(), request, self._gate.draining)
        async with aclosing(states):
            async for state in states:
                yield state

    async def EndReindex(  # noqa: N802
        self,
        request: collection_pb2.EndReindexRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.EndReindexResponse:
        """Deletes what of a collection is not searched."""
        return await end_reindex(self._gate.enter(), request)

    async def UpsertRnas(  # noqa: N802
        self,
        request_iterator: AsyncIterator[collection_pb2.UpsertRnasRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.UpsertRnasResponse:
        """Encodes a stream of batches of RNAs and stores them."""
        deadline_s = deadline_of(context.time_remaining())
        upsert = Upsert(self._gate.enter(), deadline_s)
        return await upsert.run(request_iterator, self._gate.draining)

    async def GetRna(  # noqa: N802
        self,
        request: collection_pb2.GetRnaRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.GetRnaResponse:
        """Gives one stored RNA, with its codes if asked."""
        backend = self._gate.enter()
        levels = convert.decode_levels(request.levels, "levels")
        facts, record = await backend.collections.run(
            request.collection,
            lambda collection: (collection.facts, collection.get(request.name)),
        )
        response = encode.encode_record(record, facts, levels)
        convert.check_size(
            response, backend.max_message_bytes, "levels", "ask for sequence codes only"
        )
        return response

    async def ListRnas(  # noqa: N802
        self,
        request: collection_pb2.ListRnasRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.ListRnasResponse:
        """Lists stored RNAs by name, a page at a time."""
        return await list_rnas(self._gate.enter(), request)

    async def DeleteRnas(  # noqa: N802
        self,
        request: collection_pb2.DeleteRnasRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.DeleteRnasResponse:
        """Deletes stored RNAs, for good."""
        return await delete_rnas(self._gate.enter(), request)

    async def SearchSimilar(  # noqa: N802
        self,
        request: collection_pb2.SearchSimilarRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.SearchSimilarResponse:
        """Finds similar RNAs and says what makes them so."""
        deadline_s = deadline_of(context.time_remaining())
        return await search_similar(Caller(self._gate.enter(), deadline_s), request)

    async def SearchSimilarStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[collection_pb2.SearchSimilarStreamRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[collection_pb2.SearchSimilarStreamResponse]:
        """Searches with a stream of queries, answers in their order."""
        deadline_s = deadline_of(context.time_remaining())
        caller = Caller(self._gate.enter(), deadline_s, is_streaming=True)

        async def answer(
            message: collection_pb2.SearchSimilarStreamRequest,
        ) -> collection_pb2.SearchSimilarStreamResponse:
            return await answer_query(caller, message.request)

        requests = until_drained(request_iterator, self._gate.draining)
        answers = in_order(requests, answer, in_flight=_IN_FLIGHT)
        index = 0
        async with aclosing(answers):
            async for _, response in answers:
                response.index = index
                yield response
                index += 1

    async def SearchFeatures(  # noqa: N802
        self,
        request: collection_pb2.SearchFeaturesRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.SearchFeaturesResponse:
        """Finds RNAs in which features fire as a query asks, and where."""
        deadline_s = deadline_of(context.time_remaining())
        return await search_features(Caller(self._gate.enter(), deadline_s), request)

    async def Align(  # noqa: N802
        self,
        request: collection_pb2.AlignRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.AlignResponse:
        """Aligns two RNAs and says what makes the score."""
        deadline_s = deadline_of(context.time_remaining())
        return await align(Caller(self._gate.enter(), deadline_s), request)

    async def CompareGroups(  # noqa: N802
        self,
        request: collection_pb2.CompareGroupsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.CompareGroupsResponse:
        """Says in which features two groups of RNAs differ."""
        deadline_s = deadline_of(context.time_remaining())
        return await compare(Caller(self._gate.enter(), deadline_s), request)
