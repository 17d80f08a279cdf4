"""What features are called in another version of their dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from ribolex.dictionary import FeatureTable
from ribolex.dictionary.lineage import FeatureMap
from ribolex.errors import IncompatibleDictionaryError, InvalidRequestError
from ribolex.registry import parse_pinned
from ribolex.registry.lineage import find_route
from ribolex.server.convert import codes as convert
from ribolex.server.convert.feature import encode_mapped
from ribolex.server.dictionaries import Dictionaries
from ribolex.server.services.nearest import check_feature
from ribolex.server.services.search import Caller, Patience
from ribolex.server.shelf import Shelved
from ribolex.v1 import dictionary_pb2


class _Mapped(NamedTuple):
    """All features of a version in another, and the versions in between."""

    features: FeatureMap
    path: tuple[str, ...]


async def map_features(
    caller: Caller, request: dictionary_pb2.MapFeaturesRequest
) -> dictionary_pb2.MapFeaturesResponse:
    """Returns what the features that are asked for are in another version.

    Versions on the way that are not in memory are loaded, one after the other.

    Raises:
        RibolexError: what MapFeatures fails with.
        TimeoutError: the deadline passed.
    """
    dictionaries, sought = caller.backend.dictionaries, request.target
    source = await dictionaries.get(request.source.name, request.source.version)
    mine = source.dictionary
    if sought.name not in ("", mine.name):
        raise InvalidRequestError(
            "target",
            f"{sought.name!r} found, expected a version of {mine.name!r}: lineage "
            "joins versions of one name",
        )
    n_asked, n_features = len(request.features), mine.sae.n_features
    if n_asked > n_features:
        raise InvalidRequestError(
            "features",
            f"{n_asked} ids, expected at most the {n_features} of {mine.ref}",
        )
    for feature in request.features:
        check_feature(feature, mine)
    target = await dictionaries.get(mine.name, sought.version)
    mapped = await _map(dictionaries, source, target, Patience(caller.deadline_s))
    response = dictionary_pb2.MapFeaturesResponse(
        source=convert.encode_ref(mine.name, mine.version),
        target=convert.encode_ref(mine.name, target.dictionary.version),
        path=[convert.encode_ref(*parse_pinned(ref)) for ref in mapped.path],
        features=await asyncio.to_thread(
            encode_mapped,
            request.features or range(n_features),
            mapped.features,
            target.dictionary,
        ),
    )
    convert.check_size(
        response, caller.backend.max_message_bytes, "features", "ask for fewer"
    )
    return response


async def _map(
    dictionaries: Dictionaries, source: Shelved, target: Shelved, patience: Patience
) -> _Mapped:
    got, expected = (one.dictionary.identity.lm_digest for one in (target, source))
    if got != expected:
        raise IncompatibleDictionaryError(target.ref, "lm_digest", got, expected)
    listed = await dictionaries.list()
    route = find_route(listed, source.dictionary, target.dictionary)

    async def tables(first: Shelved, refs: Sequence[str]) -> list[FeatureTable]:
        found = [first.dictionary.features] if refs else []
        for ref in refs[1:]:
            patience.check()
            one = await dictionaries.get(*parse_pinned(ref))
            found.append(one.dictionary.features)
        return found

    back = await tables(source, route.back)
    forth = await tables(target, route.forth)
    mine = FeatureMap.back(source.dictionary.sae.n_features, back)
    theirs = FeatureMap.back(target.dictionary.sae.n_features, forth)
    return _Mapped(mine.meet(theirs), route.path)
