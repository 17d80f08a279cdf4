"""Features near to a feature, an activation or a stretch of an RNA, anywhere."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from ribolex.dictionary import Codes, Dictionary
from ribolex.errors import (
    FeatureNotFoundError,
    IncompatibleDictionaryError,
    InvalidRequestError,
)
from ribolex.server.convert import codes as convert
from ribolex.server.convert import nearest as encode
from ribolex.server.convert.dictionary import decode_activation
from ribolex.server.engine.embedding import EmbedTask, View
from ribolex.server.engine.front import Order
from ribolex.server.index.atoms import Chance, Neighbour
from ribolex.server.services.outcomes import count_answer
from ribolex.server.services.search import Caller, Patience
from ribolex.server.shelf import Shelved
from ribolex.v1 import codes_pb2, dictionary_pb2

_MAX_AMONG = 64


class _Query(NamedTuple):
    """A direction in the space of a dictionary."""

    direction: Float32[np.ndarray, " d_model"]
    excluded: int | None = None
    """The feature that it is of."""
    codes: Codes | None = None
    """Of the stretch that it stands for."""


async def nearest_features(
    caller: Caller, request: dictionary_pb2.NearestFeaturesRequest
) -> dictionary_pb2.NearestFeaturesResponse:
    """Returns the features nearest to what is asked for.

    One dictionary after the other is searched; those that are not in memory are loaded
    for it.

    Raises:
        RibolexError: what NearestFeatures fails with.
        TimeoutError: the deadline passed.
    """
    top_k = convert.decode_count(request.top_k, "top_k", default=10, limit=1000)
    dictionaries, ref = caller.backend.dictionaries, request.dictionary
    own = await dictionaries.get(ref.name, ref.version)
    query = await _query(caller, request, own)
    patience = Patience(caller.deadline_s)
    response = dictionary_pb2.NearestFeaturesResponse(
        dictionary=convert.encode_ref(own.dictionary.name, own.dictionary.version)
    )
    found: list[dictionary_pb2.NearestFeature] = []
    for one in await _among(caller, request, own):
        patience.check()
        shelved = await dictionaries.get(one.name, one.version)
        check_comparable(own.dictionary, shelved.dictionary)
        near, chance = await asyncio.to_thread(_search, own, query, shelved, top_k)
        found += encode.encode_near(near, shelved.dictionary)
        response.searched.append(encode.encode_searched(shelved.dictionary, chance))
    found.sort(key=lambda one: -one.cosine)
    response.features.extend(found[:top_k])
    if query.codes is not None:
        firing = encode.encode_firing(query.codes, own.dictionary)
        response.firing.extend(firing[:top_k])
    return response


def check_comparable(own: Dictionary, other: Dictionary) -> None:
    """Does nothing if directions of two dictionaries lie in one space.

    Raises:
        IncompatibleDictionaryError: they are of different models or widths.
    """
    expected = own.identity.lm_digest
    if other.identity.lm_digest != expected:
        got = other.identity.lm_digest
        raise IncompatibleDictionaryError(other.ref, "lm_digest", got, expected)
    if other.sae.d_out != own.sae.d_out:
        raise IncompatibleDictionaryError(
            other.ref, "d_out", other.sae.d_out, own.sae.d_out
        )


def _search(
    own: Shelved, query: _Query, other: Shelved, top_k: int
) -> tuple[list[Neighbour], Chance]:
    is_own = other.ref == own.ref
    near = other.atoms.near(query.direction, top_k + 1)
    kept = [one for one in near if not (is_own and one.feature == query.excluded)]
    return kept[:top_k], other.atoms.chance(own.atoms)


async def _among(
    caller: Caller, request: dictionary_pb2.NearestFeaturesRequest, own: Shelved
) -> list[codes_pb2.DictionaryRef]:
    """Returns the versions to search, each once, in the order of their names.

    Raises:
        InvalidRequestError: there are too many, or it is not clear which.
    """
    dictionaries = caller.backend.dictionaries
    mine = own.dictionary
    refs = {(mine.name, mine.version)}
    if request.among and request.everywhere:
        raise InvalidRequestError("among", "expected none, or not everywhere")
    if len(request.among) > _MAX_AMONG:
        n_among = len(request.among)
        raise InvalidRequestError("among", f"{n_among}, expected at most {_MAX_AMONG}")
    if request.among:
        found = [await dictionaries.get(one.name, one.version) for one in request.among]
        refs = {(one.dictionary.name, one.dictionary.version) for one in found}
    if request.everywhere:
        digest, level = mine.identity.lm_digest, mine.identity.level
        refs |= {
            (entry.name, entry.version)
            for entry in await dictionaries.list()
            if entry.is_current
            and (entry.identity.lm_digest, entry.identity.level) == (digest, level)
        }
    return [convert.encode_ref(*ref) for ref in sorted(refs)]


async def _query(
    caller: Caller, request: dictionary_pb2.NearestFeaturesRequest, own: Shelved
) -> _Query:
    kind = request.WhichOneof("query")
    if kind == "feature":
        check_feature(request.feature, own.dictionary)
        return _Query(own.atoms.direction(request.feature), request.feature)
    if kind == "activation":
        vector = decode_activation(request.activation, own.dictionary)
        return _Query(_direction(own, vector))
    if kind == "stretch":
        return await _of_stretch(caller, request.stretch, own)
    raise InvalidRequestError("query", "expected a feature, an activation or a stretch")


async def _of_stretch(
    caller: Caller, stretch: dictionary_pb2.RnaStretch, own: Shelved
) -> _Query:
    """Returns the mean of a stretch, and its codes."""
    where = "stretch.sequence"
    encoding, answer = await caller.encode(
        stretch.sequence, own.dictionary, degap=stretch.degap, where=where
    )
    (letters,) = answer.sequences
    start, stop = stretch.start, stretch.stop or len(letters)
    if not start < stop <= len(letters):
        raise InvalidRequestError(
            "stretch.stop",
            f"{start} to {stop}, expected a stretch of {len(letters)} nucleotides",
        )
    rows = await _activations(caller, letters, own.dictionary)
    mean = rows[start:stop].mean(axis=0, dtype=np.float64).astype(np.float32)
    return _Query(_direction(own, mean), codes=encoding.codes.slice(start, stop))


async def _activations(
    caller: Caller, letters: str, dictionary: Dictionary
) -> Float32[np.ndarray, "nucleotide d_model"]:
    """Returns what the dictionary's layer makes of each nucleotide."""
    backend, identity = caller.backend, dictionary.identity
    view = View((identity.layer,), identity.hook, None, False)
    n_bytes = view.n_bytes(len(letters), backend.lm.config.d_model)
    with backend.room.hold(n_bytes, "stretch.sequence"):
        order = Order(
            [letters],
            lambda text: EmbedTask(text, view),
            degap=False,
            deadline_s=caller.deadline_s,
            where=lambda _: "stretch.sequence",
        )
        answer = await backend.engine.compute(order)
    count_answer(backend.metrics, order.lane, answer)
    (outcome,) = answer.outcomes
    if isinstance(outcome, Exception):
        raise outcome
    rows: Float32[np.ndarray, "nucleotide d_model"] = outcome.rows[:, 0]
    return rows


def _direction(
    own: Shelved, activation: Float32[np.ndarray, " d_in"]
) -> Float32[np.ndarray, " d_model"]:
    bias = own.dictionary.sae.b_dec.cpu().numpy()
    return own.atoms.direction_of(activation - bias)


def check_feature(feature: int, dictionary: Dictionary) -> None:
    """Does nothing if a dictionary has a feature.

    Raises:
        FeatureNotFoundError: it has not.
    """
    n_features = dictionary.sae.n_features
    if feature >= n_features:
        raise FeatureNotFoundError(feature, dictionary.ref, n_features)
