"""Messages of dictionary.proto: versions, features and what became of them."""

from __future__ import annotations

from collections.abc import Iterable

from ribolex.client import records
from ribolex.client.convert.values import dictionary_ref
from ribolex.client.nearest import (
    FiringFeature,
    NearestFeatures,
    SearchedDictionary,
)
from ribolex.v1 import codes_pb2, dictionary_pb2


def dictionary(message: dictionary_pb2.Dictionary) -> records.Dictionary:
    """Returns what a message says of a dictionary version."""
    function = dictionary_pb2.ActivationFunction.Name(message.activation_function)
    return records.Dictionary(
        ref=dictionary_ref(message.ref),
        content_id=message.content_id,
        model_name=message.model_name,
        model_digest=message.model_digest,
        layer=message.layer,
        hook=_word(dictionary_pb2.Hook.Name(message.hook)),
        level=_word(codes_pb2.Level.Name(message.level)),
        kind=_word(dictionary_pb2.DictionaryKind.Name(message.kind)),
        activation_function=_word(function),
        k=message.k,
        d_in=message.d_in,
        n_features=message.n_features,
        licence=message.licence,
        metrics=dict(message.metrics),
        is_current=message.is_current,
        is_default=message.is_default,
    )


def dictionary_change(
    message: dictionary_pb2.WatchResponse,
) -> records.DictionaryChange:
    """Returns what a message says became of a dictionary version."""
    return records.DictionaryChange(
        kind=_CHANGES.get(message.change, "unknown"),
        dictionary=dictionary_ref(message.dictionary),
        content_id=message.content_id,
        reason=message.reason,
        time_s=message.time_s,
    )


def moved(
    message: dictionary_pb2.ActivateResponse | dictionary_pb2.RollbackResponse,
) -> records.Moved:
    """Returns which version was made current, and which was."""
    before = dictionary_ref(message.before) if message.HasField("before") else None
    return records.Moved(dictionary_ref(message.dictionary), before)


_CHANGES: dict[int, records.ChangeKind] = {
    dictionary_pb2.DICTIONARY_CHANGE_SERVING: "serving",
    dictionary_pb2.DICTIONARY_CHANGE_KEPT: "kept",
    dictionary_pb2.DICTIONARY_CHANGE_LOADED: "loaded",
    dictionary_pb2.DICTIONARY_CHANGE_ACTIVATED: "activated",
    dictionary_pb2.DICTIONARY_CHANGE_REFUSED: "refused",
    dictionary_pb2.DICTIONARY_CHANGE_RETIRED: "retired",
}


def _word(enumerator: str) -> str:
    """Returns "normed" for HOOK_NORMED."""
    return enumerator.rpartition("_")[2].lower()


def nearest_features(
    messages: Iterable[dictionary_pb2.NearestFeature],
) -> tuple[records.NearestFeature, ...]:
    """Returns near features in the order given."""
    return tuple(
        records.NearestFeature(
            one.feature,
            one.cosine,
            one.label,
            dictionary_ref(one.dictionary) if one.HasField("dictionary") else None,
        )
        for one in messages
    )


def nearest(message: dictionary_pb2.NearestFeaturesResponse) -> NearestFeatures:
    """Returns near features, what was searched, and what fires in a stretch."""
    return NearestFeatures(
        features=nearest_features(message.features),
        dictionary=dictionary_ref(message.dictionary),
        searched=tuple(
            SearchedDictionary(
                dictionary_ref(one.dictionary),
                one.layer,
                one.n_features,
                one.chance_median,
                one.chance_high,
            )
            for one in message.searched
        ),
        firing=tuple(
            FiringFeature(one.feature, one.n_nucleotides, one.max_activation, one.label)
            for one in message.firing
        ),
    )
