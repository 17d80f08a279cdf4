"""Searches for RNAs in which features fire, a block at a time."""

from __future__ import annotations

import time

from ribolex.dictionary import Dictionary
from ribolex.errors import IncompatibleDictionaryError, NotReadyError
from ribolex.server.convert import codes as convert
from ribolex.server.convert.feature_search import decode_feature_search, encode_scan
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.feature_query import Query, features_of, parse
from ribolex.server.index.feature_search import FeatureScan
from ribolex.server.services.nearest import check_feature
from ribolex.server.services.search import Caller, Patience
from ribolex.v1 import collection_pb2


async def search_features(
    caller: Caller, request: collection_pb2.SearchFeaturesRequest
) -> collection_pb2.SearchFeaturesResponse:
    """Returns a page of the RNAs that a query asks for.

    Others use the collection between two blocks.

    Raises:
        RibolexError: what SearchFeatures fails with.
        TimeoutError: the deadline passed.
    """
    begun_s = time.monotonic()
    backend, patience = caller.backend, Patience(caller.deadline_s)
    query = parse(request.query)
    facts = (await backend.collections.summary(request.collection)).facts
    found = await backend.dictionaries.get(facts.dictionary, facts.version)
    dictionary = found.dictionary
    if request.HasField("dictionary"):
        ref = request.dictionary
        meant = (await backend.dictionaries.get(ref.name, ref.version)).dictionary
        _check_meant(meant, facts)
    _check_features(query, dictionary)
    scan = FeatureScan(decode_feature_search(request, query, facts.content_id))

    def step(collection: Collection) -> tuple[bool, int]:
        patience.check()
        if collection.facts.content_id != facts.content_id:
            raise NotReadyError(
                f"collection {facts.name!r} came under another dictionary meanwhile"
            )
        return collection.step(scan), collection.n_rnas

    is_done = False
    while not is_done:
        is_done, n_rnas = await backend.collections.run(facts.name, step)
    backend.metrics.feature_search_reads.inc(scan.n_read)
    response = encode_scan(scan, request, query, dictionary)
    response.n_rnas = n_rnas
    total_s = time.monotonic() - begun_s
    response.timing.CopyFrom(convert.encode_timing(0.0, {}, total_s))
    convert.check_size(
        response, backend.max_message_bytes, "query", "ask for fewer features"
    )
    return response


def _check_meant(meant: Dictionary, facts: Facts) -> None:
    if meant.content_id != facts.content_id:
        raise IncompatibleDictionaryError(
            meant.ref,
            f"the dictionary of collection {facts.name!r}",
            f"{facts.dictionary}@{facts.version}",
            "the same",
        )


def _check_features(query: Query, dictionary: Dictionary) -> None:
    for feature in features_of(query):
        check_feature(feature, dictionary)
