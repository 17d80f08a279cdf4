"""DictionaryService: dictionaries, what their features mean, and which are used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from ribolex.dictionary import Dictionary
from ribolex.dictionary.selection import select
from ribolex.errors import (
    IncompatibleDictionaryError,
)
from ribolex.server.convert import codes as convert
from ribolex.server.convert import dictionary as encode
from ribolex.server.convert import feature as features
from ribolex.server.convert.change import decode_pinned, encode_change
from ribolex.server.services.gate import Backend, Gate, deadline_of
from ribolex.server.services.mapping import map_features
from ribolex.server.services.nearest import check_feature, nearest_features
from ribolex.server.services.search import Caller
from ribolex.server.services.streaming import until_drained
from ribolex.v1 import dictionary_pb2, dictionary_pb2_grpc

_MAX_SHOWN = 100
_DEFAULT_SHOWN = 5


class DictionaryService(dictionary_pb2_grpc.DictionaryServiceServicer):
    """Looks into dictionaries, and says which of them are used."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def ListDictionaries(  # noqa: N802
        self,
        request: dictionary_pb2.ListDictionariesRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dictionary_pb2.ListDictionariesResponse:
        """Lists all versions of all dictionaries, a page at a time."""
        dictionaries = self._gate.enter().dictionaries
        page = convert.decode_page(request.page_size, request.page_token)
        entries = await dictionaries.list()
        found, token = convert.cut_page(entries, page, lambda entry: entry.ref)
        return dictionary_pb2.ListDictionariesResponse(
            dictionaries=[
                encode.encode_entry(entry, is_default=dictionaries.is_default(entry))
                for entry in found
            ],
            next_page_token=token,
        )

    async def ListFeatures(  # noqa: N802
        self,
        request: dictionary_pb2.ListFeaturesRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dictionary_pb2.ListFeaturesResponse:
        """Lists the features that are asked for, a page at a time."""
        backend, ref = self._gate.enter(), request.dictionary
        page = convert.decode_page(request.page_size, request.page_token)
        asked = features.decode_selection(request)
        shelved = await backend.dictionaries.get(ref.name, ref.version)
        dictionary = shelved.dictionary
        found = await asyncio.to_thread(select, dictionary.features, asked)
        pairs = list(zip(found.features.tolist(), found.rows.tolist(), strict=True))
        kept, token = convert.cut_page(pairs, page, lambda pair: f"{pair[0]}")
        evidence = dictionary.features.evidence
        return dictionary_pb2.ListFeaturesResponse(
            dictionary=convert.encode_ref(dictionary.name, dictionary.version),
            features=[
                dictionary_pb2.ListedFeature(
                    feature=features.encode_summary(dictionary, feature),
                    evidence=features.encode_evidence(evidence.row(row))
                    if row >= 0
                    else None,
                )
                for feature, row in kept
            ],
            next_page_token=token,
            n_features=len(pairs),
        )

    async def GetFeature(  # noqa: N802
        self,
        request: dictionary_pb2.GetFeatureRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dictionary_pb2.GetFeatureResponse:
        """Gives what is known about one feature."""
        backend = self._gate.enter()
        n_examples = n_nearest = _DEFAULT_SHOWN
        if request.HasField("max_examples"):
            n_examples = _limited(request.max_examples, "max_examples")
        if request.HasField("max_nearest"):
            n_nearest = _limited(request.max_nearest, "max_nearest")
        ref = request.dictionary
        shelved = await backend.dictionaries.get(ref.name, ref.version)
        dictionary = shelved.dictionary
        check_feature(request.feature, dictionary)
        if request.collection:
            examples = await _stored_examples(backend, request, dictionary, n_examples)
        else:
            published = dictionary.features.examples_of(request.feature)[:n_examples]
            examples = [encode.encode_published(each) for each in published]
        nearest = await asyncio.to_thread(
            shelved.atoms.near_feature, request.feature, n_nearest
        )
        return dictionary_pb2.GetFeatureResponse(
            dictionary=convert.encode_ref(dictionary.name, dictionary.version),
            feature=features.encode_feature(dictionary, request.feature),
            examples=examples,
            nearest=encode.encode_neighbours(nearest, dictionary),
            basis=features.encode_basis(dictionary),
            ancestor=features.encode_ancestor(shelved, request.feature),
        )

    async def NearestFeatures(  # noqa: N802
        self,
        request: dictionary_pb2.NearestFeaturesRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dictionary_pb2.NearestFeaturesResponse:
        """Finds the features with the nearest decoder directions."""
        caller = Caller(self._gate.enter(), deadline_of(context.time_remaining()))
        return await nearest_features(caller, request)

    async def MapFeatures(  # noqa: N802
        self,
        request: dictionary_pb2.MapFeaturesRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dictionary_pb2.MapFeaturesResponse:
        """Tells what features are called in another version."""
        caller = Caller(self._gate.enter(), deadline_of(context.time_remaining()))
        return await map_features(caller, request)

    async def Watch(  # noqa: N802
        self,
        request: dictionary_pb2.WatchRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[dictionary_pb2.WatchResponse]:
        """Tells what is served, then every change."""
        swaps = self._gate.enter().swaps
        with swaps.watchers.watching() as watcher:
            for change in swaps.state():
                if request.name in ("", change.name):
                    yield encode_change(change)
            async with aclosing(until_drained(watcher, self._gate.draining)) as changes:
                async for change in changes:
                    if request.name in ("", change.name):
                        yield encode_change(change)

    async def Activate(  # noqa: N802
        self,
        request: dictionary_pb2.ActivateRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dictionary_pb2.ActivateResponse:
        """Makes a version current, once it was checked here."""
        swaps = self._gate.enter().swaps
        name, version = decode_pinned(request.dictionary)
        is_expecting = request.HasField("expected_version")
        expected = request.expected_version if is_expecting else None
        moved = await swaps.activate(name, version, expected)
        response = dictionary_pb2.ActivateResponse(
            dictionary=convert.encode_ref(moved.name, moved.version)
        )
        if moved.before is not None:
            response.before.CopyFrom(convert.encode_ref(moved.name, moved.before))
        return response

    async def Rollback(  # noqa: N802
        self,
        request: dictionary_pb2.RollbackRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dictionary_pb2.RollbackResponse:
        """Activates the version that was current before."""
        moved = await self._gate.enter().swaps.roll_back(request.name)
        assert moved.before is not None  # else there was nothing to roll back from
        return dictionary_pb2.RollbackResponse(
            dictionary=convert.encode_ref(moved.name, moved.version),
            before=convert.encode_ref(moved.name, moved.before),
        )

    async def Retire(  # noqa: N802
        self,
        request: dictionary_pb2.RetireRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> dictionary_pb2.RetireResponse:
        """Withdraws a version for good."""
        backend = self._gate.enter()
        name, version = decode_pinned(request.dictionary)
        await backend.swaps.retire(name, version, backend.collections.bound)
        return dictionary_pb2.RetireResponse(
            dictionary=convert.encode_ref(name, version)
        )


async def _stored_examples(
    backend: Backend,
    request: dictionary_pb2.GetFeatureRequest,
    dictionary: Dictionary,
    limit: int,
) -> list[dictionary_pb2.FeatureExample]:
    """Returns the examples of a feature in a collection, if it is indexed so."""
    facts = (await backend.collections.summary(request.collection)).facts
    if facts.content_id != dictionary.content_id:
        raise IncompatibleDictionaryError(
            dictionary.ref,
            f"the dictionary of collection {facts.name!r}",
            f"{facts.dictionary}@{facts.version}",
            "the same",
        )
    found = await backend.collections.run(
        facts.name,
        lambda collection: collection.examples(request.feature, limit),
        dictionary.content_id,
    )
    return [encode.encode_stored(example) for example in found]


def _limited(number: int, field: str) -> int:
    return convert.decode_count(number, field, default=0, limit=_MAX_SHOWN)
