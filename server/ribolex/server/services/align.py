"""Two RNAs aligned on request: read, encoded, aligned and told."""

from __future__ import annotations

import asyncio
import time
from typing import Literal, NamedTuple

from ribolex.dictionary import AlignmentModel, Dictionary
from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.server.convert import codes as convert
from ribolex.server.convert.collection import encode_rna
from ribolex.server.convert.search import decode_max_shared, encode_hit
from ribolex.server.engine.encoding import Encoding
from ribolex.server.engine.front import Answer
from ribolex.server.index.explanation import Aligned
from ribolex.server.index.hits import Hit
from ribolex.server.index.pairwise import align_pair, hit_of
from ribolex.server.index.search import cannot_align
from ribolex.server.services.search import Caller, Patience
from ribolex.v1 import collection_pb2

_SIDES: tuple[Literal["query", "target"], ...] = ("query", "target")


class _Side(NamedTuple):
    """One of the two RNAs."""

    rna: Rna
    aligned: Aligned
    answer: Answer[Encoding] | None
    """None if it was stored."""


async def align(
    caller: Caller, request: collection_pb2.AlignRequest
) -> collection_pb2.AlignResponse:
    """Returns the answer to one request.

    Raises:
        RibolexError: what Align fails with.
        TimeoutError: the deadline passed.
    """
    begun_s = time.monotonic()
    _check(request)
    max_shared = decode_max_shared(request)
    dictionary = await _dictionary(caller, request)
    model = dictionary.alignment
    if model is None:
        raise cannot_align(dictionary.ref)
    query = await _side(caller, request, "query", dictionary)
    target = await _side(caller, request, "target", dictionary)
    patience = Patience(caller.deadline_s)
    work = asyncio.to_thread(_align, query, target, model, max_shared, patience)
    try:
        hit = await work
    finally:
        patience.leave()
    answers = [side.answer for side in (query, target) if side.answer is not None]
    batches = {
        number: spent for one in answers for number, spent in one.batches.items()
    }
    return collection_pb2.AlignResponse(
        query=encode_rna(query.rna),
        hit=encode_hit(hit, dictionary),
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        timing=convert.encode_timing(
            sum(one.queue_s for one in answers),
            batches,
            time.monotonic() - begun_s,
            sum(one.n_cached for one in answers),
        ),
    )


def _check(request: collection_pb2.AlignRequest) -> None:
    for side in _SIDES:
        kind = request.WhichOneof(side)
        if kind is None:
            raise InvalidRequestError(side, "expected a sequence or an RNA")
        if kind.endswith("_rna") and not request.collection:
            raise InvalidRequestError(
                "collection", f"is empty, expected that of {kind}"
            )
    if request.collection and request.HasField("dictionary"):
        raise InvalidRequestError(
            "dictionary", "given beside a collection, expected one of the two"
        )


async def _dictionary(
    caller: Caller, request: collection_pb2.AlignRequest
) -> Dictionary:
    dictionaries, ref = caller.backend.dictionaries, request.dictionary
    if not request.collection:
        return (await dictionaries.fitting(ref.name, ref.version)).dictionary
    facts = (await caller.backend.collections.summary(request.collection)).facts
    return (await dictionaries.get(facts.dictionary, facts.version)).dictionary


async def _side(
    caller: Caller,
    request: collection_pb2.AlignRequest,
    side: Literal["query", "target"],
    dictionary: Dictionary,
) -> _Side:
    if request.WhichOneof(side) == f"{side}_rna":
        name: str = getattr(request, f"{side}_rna")
        record = await caller.backend.collections.run(
            request.collection,
            lambda collection: collection.get(name),
            dictionary.content_id,
        )
        return _Side(record.rna, Aligned(record.rna.sequence, record.codes), None)
    field = f"{side}_sequence"
    encoding, answer = await caller.encode(
        getattr(request, field), dictionary, degap=request.degap, where=field
    )
    (sequence,) = answer.sequences
    return _Side(Rna("", sequence), Aligned(sequence, encoding.codes), answer)


def _align(
    query: _Side,
    target: _Side,
    model: AlignmentModel,
    max_shared: int,
    patience: Patience,
) -> Hit:
    patience.check()
    sides = query.aligned, target.aligned
    found = align_pair(*sides, model, patience.check)
    if not found.steps:
        return Hit(target.rna, 0.0, [], 0, 0.0)
    lengths = len(query.rna.sequence), len(target.rna.sequence)
    e_value = float(model.statistics.e_value(found.score, *lengths, 1))
    return hit_of(target.rna, found, sides, model, e_value, max_shared)
