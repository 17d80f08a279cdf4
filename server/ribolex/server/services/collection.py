"""CollectionService: RNAs stored and found."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import grpc

from ribolex.dictionary import Dictionary
from ribolex.errors import IncompatibleDictionaryError, InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.convert import collection as encode
from ribolex.server.engine.encoding import EncodeTask, Encoding, Recipe
from ribolex.server.engine.front import Answer, Order
from ribolex.server.engine.ticket import Spent
from ribolex.server.index.collection import Collection, Hit, Query
from ribolex.server.index.records import PooledCode
from ribolex.server.services.gate import Backend, Gate, deadline_of
from ribolex.server.services.outcomes import count_answer
from ribolex.server.services.upsert import Upsert
from ribolex.v1 import codes_pb2, collection_pb2, collection_pb2_grpc

_DEFAULT_SHARED = 5


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
        """Gives one collection's facts."""
        summary = await self._gate.enter().collections.summary(request.name)
        return collection_pb2.GetCollectionResponse(
            collection=encode.encode_summary(summary)
        )

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
        n_rnas = await self._gate.enter().collections.delete(request.name)
        return collection_pb2.DeleteCollectionResponse(n_rnas=n_rnas)

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

    async def SearchSimilar(  # noqa: N802
        self,
        request: collection_pb2.SearchSimilarRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> collection_pb2.SearchSimilarResponse:
        """Finds similar RNAs and says which shared features make them so."""
        begun_s = time.monotonic()
        backend = self._gate.enter()
        limit = convert.decode_count(request.top_k, "top_k", default=10, limit=1000)
        max_shared = _DEFAULT_SHARED
        if request.HasField("max_shared_features"):
            max_shared = convert.decode_count(
                request.max_shared_features,
                "max_shared_features",
                default=0,
                limit=1000,
            )
        facts = (await backend.collections.summary(request.collection)).facts
        found = await backend.dictionaries.get(facts.dictionary, facts.version)
        deadline_s = deadline_of(context.time_remaining())
        source = await _source(backend, request, found.dictionary, deadline_s)

        def search(collection: Collection) -> tuple[Query, list[Hit], int]:
            query = source.query(collection)
            hits = collection.search(query, limit=limit, max_shared=max_shared)
            return query, hits, collection.n_rnas

        query, hits, n_rnas = await backend.collections.run(facts.name, search)
        total_s = time.monotonic() - begun_s
        response = collection_pb2.SearchSimilarResponse(
            hits=encode.encode_hits(hits, found.dictionary),
            dictionary=encode.encode_dictionary(facts),
            timing=convert.encode_timing(
                source.queue_s, source.batches, total_s, source.n_cached
            ),
            n_rnas=n_rnas,
            query_fvu=query.fvu,
        )
        convert.check_size(
            response,
            backend.max_message_bytes,
            "top_k",
            "ask for fewer hits or shared features",
        )
        return response


class _Source(NamedTuple):
    """Where a query comes from: how to make it, and what that took so far."""

    query: Callable[[Collection], Query]
    """To be called in the collection's thread."""
    queue_s: float
    batches: Mapping[int, Spent]
    n_cached: int = 0


async def _source(
    backend: Backend,
    request: collection_pb2.SearchSimilarRequest,
    dictionary: Dictionary,
    deadline_s: float | None,
) -> _Source:
    """Returns what a request compares with; a sequence is encoded for it."""
    kind = request.WhichOneof("query")
    if kind == "sequence":
        encoding, answer = await _encode(backend, request, dictionary, deadline_s)
        return _Source(
            lambda collection: collection.query_of(encoding.codes, encoding.fvu),
            answer.queue_s,
            answer.batches,
            answer.n_cached,
        )
    if kind == "rna":
        return _Source(lambda collection: collection.query_like(request.rna), 0.0, {})
    if kind == "code":
        pooled = _decode_query(request.code, dictionary)
        return _Source(lambda _: Query(pooled, None), 0.0, {})
    raise InvalidRequestError("query", "expected a sequence, an RNA or a code")


async def _encode(
    backend: Backend,
    request: collection_pb2.SearchSimilarRequest,
    dictionary: Dictionary,
    deadline_s: float | None,
) -> tuple[Encoding, Answer[Encoding]]:
    fitting = await backend.dictionaries.fitting(dictionary.name, dictionary.version)
    recipe = Recipe(dictionary.sae.k, None)
    order = Order(
        [request.sequence],
        lambda text: EncodeTask(text, fitting.dictionary, recipe),
        degap=request.degap,
        deadline_s=deadline_s,
        where=lambda _: "sequence",
    )
    answer = await backend.engine.compute(order)
    count_answer(backend.metrics, answer)
    (outcome,) = answer.outcomes
    if not isinstance(outcome, Encoding):
        raise outcome
    return outcome, answer


def _decode_query(message: codes_pb2.Codes, dictionary: Dictionary) -> PooledCode:
    codes = convert.decode_codes(message, "code")
    if len(codes) != 1:
        raise InvalidRequestError("code", f"{len(codes)} rows, expected 1")
    n_features = dictionary.sae.n_features
    if codes.n_features != n_features:
        raise IncompatibleDictionaryError(
            dictionary.ref, "n_features", n_features, f"{codes.n_features}, as the code"
        )
    features, values = codes.row(0)
    return PooledCode(features, values, peaks=values)
