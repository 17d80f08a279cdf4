"""Searches of one call or of a stream: the query encoded, compared and told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ribolex.dictionary import Dictionary
from ribolex.errors import (
    CollectionMovedError,
    IncompatibleDictionaryError,
    InvalidRequestError,
    RibolexError,
    RnaNotFoundError,
)
from ribolex.server.convert import codes as convert
from ribolex.server.convert.search import decode_search, encode_found
from ribolex.server.engine.encoding import EncodeTask, Encoding, Recipe
from ribolex.server.engine.front import Answer, Order
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.ticket import Spent
from ribolex.server.index.collection import Collection
from ribolex.server.index.records import PooledCode
from ribolex.server.index.search import Found, Query
from ribolex.server.services.gate import Backend
from ribolex.server.services.outcomes import count_answer
from ribolex.v1 import codes_pb2, collection_pb2


class Patience:
    """Whether a caller still waits, asked from the thread that works for it."""

    def __init__(self, deadline_s: float | None) -> None:
        self._deadline_s = deadline_s
        self._left = threading.Event()

    def leave(self) -> None:
        """Tells that nobody waits any more."""
        self._left.set()

    def check(self) -> None:
        """Does nothing as long as somebody waits.

        Raises:
            TimeoutError: nobody does, or the deadline passed.
        """
        if self._left.is_set():
            raise TimeoutError("the caller left during the search")
        if self._deadline_s is not None and time.monotonic() > self._deadline_s:
            raise TimeoutError("the deadline passed during the search")


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom something is computed."""

    backend: Backend
    deadline_s: float | None
    """On `time.monotonic`'s clock."""
    is_streaming: bool = False
    """Then its work goes after that of single calls, and waits for room."""

    async def encode(
        self, sequence: str, dictionary: Dictionary, *, degap: bool, where: str
    ) -> tuple[Encoding, Answer[Encoding]]:
        """Returns the codes of one sequence, and what that took.

        Raises:
            InvalidSequenceError: names the field, `where`.
            RibolexError: it cannot be encoded now.
            TimeoutError: the deadline passed.
        """
        name, version = dictionary.name, dictionary.version
        fitting = await self.backend.dictionaries.fitting(name, version)
        recipe = Recipe(dictionary.sae.k, None)
        order = Order(
            [sequence],
            lambda text: EncodeTask(text, fitting.dictionary, recipe),
            degap=degap,
            deadline_s=self.deadline_s,
            lane=Lane.BULK if self.is_streaming else Lane.INTERACTIVE,
            is_patient=self.is_streaming,
            where=lambda _: where,
        )
        answer = await self.backend.engine.compute(order)
        count_answer(self.backend.metrics, order.lane, answer)
        (outcome,) = answer.outcomes
        if not isinstance(outcome, Encoding):
            raise outcome
        return outcome, answer


async def search_similar(
    caller: Caller, request: collection_pb2.SearchSimilarRequest
) -> collection_pb2.SearchSimilarResponse:
    """Returns the answer to one search.

    Raises:
        RibolexError: what SearchSimilar fails with.
        TimeoutError: the deadline passed.
    """
    try:
        return await _search_once(caller, request)
    except CollectionMovedError:
        # A query is of one dictionary; the collection moved to another meanwhile.
        return await _search_once(caller, request)


async def _search_once(
    caller: Caller, request: collection_pb2.SearchSimilarRequest
) -> collection_pb2.SearchSimilarResponse:
    begun_s = time.monotonic()
    backend, patience = caller.backend, Patience(caller.deadline_s)
    search = decode_search(request, patience.check)
    facts = (await backend.collections.summary(request.collection)).facts
    found = await backend.dictionaries.get(facts.dictionary, facts.version)
    source = await _source(caller, request, found.dictionary)

    def work(collection: Collection) -> tuple[Query, Found]:
        query = source.query(collection)
        return query, collection.search(query, search)

    try:
        query, page = await backend.collections.run(facts.name, work, facts.content_id)
    finally:
        patience.leave()
    response = encode_found(page, request, found.dictionary)
    if query.fvu is not None:
        response.query_fvu = query.fvu
    total_s = time.monotonic() - begun_s
    response.timing.CopyFrom(
        convert.encode_timing(source.queue_s, source.batches, total_s, source.n_cached)
    )
    convert.check_size(
        response,
        backend.max_message_bytes,
        "top_k",
        "ask for fewer hits or shared features, or for pages",
    )
    return response


async def answer_query(
    caller: Caller, request: collection_pb2.SearchSimilarRequest
) -> collection_pb2.SearchSimilarStreamResponse:
    """Returns the answer to one query of a stream, but for its place.

    Raises:
        RibolexError: what is not the fault of this one query.
        TimeoutError: the deadline passed.
    """
    try:
        response = await search_similar(caller, request)
    except RibolexError as error:
        rejection = _rejection(error)
        if rejection is None:
            raise
        return collection_pb2.SearchSimilarStreamResponse(rejection=rejection)
    return collection_pb2.SearchSimilarStreamResponse(response=response)


def _rejection(error: RibolexError) -> codes_pb2.Rejection | None:
    """Returns why one query is refused, if the fault is its own."""
    if isinstance(error, RnaNotFoundError):
        return codes_pb2.Rejection(
            reason=codes_pb2.REJECTION_REASON_NOT_FOUND, field="rna", message=str(error)
        )
    if isinstance(error, InvalidRequestError) and error.field == "sequence":
        return convert.encode_rejection(error)
    return None


class _Source(NamedTuple):
    """Where a query comes from: how to make it, and what that took so far."""

    query: Callable[[Collection], Query]
    """To be called in the collection's thread."""
    queue_s: float
    batches: Mapping[int, Spent]
    n_cached: int = 0


async def _source(
    caller: Caller,
    request: collection_pb2.SearchSimilarRequest,
    dictionary: Dictionary,
) -> _Source:
    """Returns what a request compares with; a sequence is encoded for it."""
    kind = request.WhichOneof("query")
    if kind == "sequence":
        encoding, answer = await caller.encode(
            request.sequence, dictionary, degap=request.degap, where="sequence"
        )
        (sequence,) = answer.sequences
        return _Source(
            lambda collection: collection.query_of(
                sequence, encoding.codes, encoding.fvu
            ),
            answer.queue_s,
            answer.batches,
            answer.n_cached,
        )
    if kind == "rna":
        return _Source(lambda collection: collection.query_like(request.rna), 0.0, {})
    if kind == "code":
        pooled = _decode_query(request.code, dictionary)
        return _Source(lambda collection: collection.query_of_code(pooled), 0.0, {})
    raise InvalidRequestError("query", "expected a sequence, an RNA or a code")


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
