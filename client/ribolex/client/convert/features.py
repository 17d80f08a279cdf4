"""Messages of dictionary.proto: features, their evidence and where they fire."""

from __future__ import annotations

from typing import Any

from ribolex.client import records
from ribolex.client.convert.dictionaries import nearest_features
from ribolex.client.convert.values import dictionary_ref
from ribolex.client.mapping import MappedFeature, MappedFeatures
from ribolex.v1 import dictionary_pb2

ORDERS: dict[str, dictionary_pb2.FeatureOrder.ValueType] = {
    "id": dictionary_pb2.FEATURE_ORDER_UNSPECIFIED,
    "effect": dictionary_pb2.FEATURE_ORDER_EFFECT,
    "q_value": dictionary_pb2.FEATURE_ORDER_Q_VALUE,
    "density": dictionary_pb2.FEATURE_ORDER_DENSITY,
    "confidence": dictionary_pb2.FEATURE_ORDER_CONFIDENCE,
}


def feature_card(message: dictionary_pb2.GetFeatureResponse) -> records.FeatureCard:
    """Returns what a message says of a feature."""
    return records.FeatureCard(
        dictionary=dictionary_ref(message.dictionary),
        feature=feature(message.feature),
        examples=tuple(
            records.FeatureExample(
                rna=example.rna,
                max_activation=example.max_activation,
                positions=tuple(example.positions),
                sequence=example.sequence,
                metadata=dict(example.metadata),
                values=tuple(example.values),
                structure=example.structure,
            )
            for example in message.examples
        ),
        nearest=nearest_features(message.nearest),
        basis=dict(message.basis),
        ancestor=_ancestor(message.ancestor) if message.HasField("ancestor") else None,
    )


def mapped(message: dictionary_pb2.MapFeaturesResponse) -> MappedFeatures:
    """Returns what a message says that features are in another version."""
    return MappedFeatures(
        features=tuple(
            MappedFeature(
                one.feature, _optional(one, "counterpart"), one.confidence, one.label
            )
            for one in message.features
        ),
        source=dictionary_ref(message.source),
        target=dictionary_ref(message.target),
        path=tuple(map(dictionary_ref, message.path)),
    )


def _ancestor(message: dictionary_pb2.FeatureAncestor) -> records.FeatureAncestor:
    ref = dictionary_ref(message.dictionary)
    return records.FeatureAncestor(ref, message.feature, message.confidence)


def listed_feature(message: dictionary_pb2.ListedFeature) -> records.ListedFeature:
    """Returns what a message says of a feature in a list."""
    evidence = _evidence(message.evidence) if message.HasField("evidence") else None
    return records.ListedFeature(feature(message.feature), evidence)


def feature(message: dictionary_pb2.Feature) -> records.Feature:
    """Returns what a message says of a feature, without where it fires."""
    profile = _profile(message.profile) if message.HasField("profile") else None
    return records.Feature(
        id=message.id,
        label=message.label,
        density=message.density,
        mean_activation=message.mean_activation,
        max_activation=message.max_activation,
        idf=message.idf,
        evidence=tuple(_evidence(one) for one in message.evidence),
        label_confidence=_optional(message, "label_confidence"),
        profile=profile,
    )


def _profile(message: dictionary_pb2.FeatureProfile) -> records.FeatureProfile:
    suggestion = None
    if message.HasField("suggestion"):
        one = message.suggestion
        suggestion = records.Suggestion(one.label, one.score, one.control)
    return records.FeatureProfile(
        n_firings=message.n_firings,
        n_rnas=message.n_rnas,
        n_families=message.n_families,
        shape=message.shape,
        run_length=message.run_length,
        period=message.period,
        type_selectivity=_optional(message, "type_selectivity"),
        type_entropy=_optional(message, "type_entropy"),
        preferred_type=message.preferred_type,
        shuffled_ratio=_optional(message, "shuffled_ratio"),
        is_composition_only=message.is_composition_only,
        letters=_logo(message.letters) if message.HasField("letters") else None,
        elements=_logo(message.elements) if message.HasField("elements") else None,
        suggestion=suggestion,
    )


def _logo(message: dictionary_pb2.Logo) -> records.Logo:
    n = max(len(message.signs), 1)
    shares = tuple(message.shares)
    rows = (shares[i : i + n] for i in range(0, len(shares), n))
    return records.Logo(message.signs, message.first, tuple(rows))


def _evidence(message: dictionary_pb2.Evidence) -> records.Evidence:
    return records.Evidence(
        label=message.label,
        measure=message.measure,
        effect=message.effect,
        q_value=_optional(message, "q_value"),
        control=_optional(message, "control"),
        support=_optional(message, "support"),
        n_families=_optional(message, "n_families"),
        low=_optional(message, "low"),
        high=_optional(message, "high"),
        percentile=_optional(message, "percentile"),
    )


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None
