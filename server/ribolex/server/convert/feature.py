"""Messages of dictionary.proto: what a feature is, and which features are asked for."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from ribolex.dictionary import Dictionary, Evidence, Profiles
from ribolex.dictionary.lineage import FeatureMap
from ribolex.dictionary.profiles import LOGO_ELEMENTS, LOGO_LETTERS, REACH
from ribolex.dictionary.selection import Order, Selection
from ribolex.errors import InvalidRequestError
from ribolex.registry import parse_pinned
from ribolex.server.convert.codes import encode_ref
from ribolex.server.shelf import Shelved
from ribolex.v1 import dictionary_pb2 as pb

_ORDERS: dict[int, Order] = {
    pb.FEATURE_ORDER_UNSPECIFIED: "id",
    pb.FEATURE_ORDER_EFFECT: "effect",
    pb.FEATURE_ORDER_Q_VALUE: "q_value",
    pb.FEATURE_ORDER_DENSITY: "density",
    pb.FEATURE_ORDER_CONFIDENCE: "confidence",
}


def encode_feature(dictionary: Dictionary, feature: int) -> pb.Feature:
    """Returns all that is known about a feature."""
    out = encode_summary(dictionary, feature)
    table = dictionary.features
    out.evidence.extend(encode_evidence(each) for each in table.evidence_of(feature))
    if table.profiles is not None:
        out.profile.letters.CopyFrom(
            _logo(table.profiles.letters[feature], LOGO_LETTERS)
        )
        out.profile.elements.CopyFrom(
            _logo(table.profiles.elements[feature], LOGO_ELEMENTS)
        )
    return out


def encode_summary(dictionary: Dictionary, feature: int) -> pb.Feature:
    """Returns the same without evidence and logos."""
    table = dictionary.features
    out = pb.Feature(
        id=feature,
        label=table.label[feature],
        density=float(table.density[feature]),
        mean_activation=float(table.mean_activation[feature]),
        max_activation=float(table.max_activation[feature]),
        idf=float(table.idf[feature]),
    )
    if (profiles := table.profiles) is not None:
        confidence = _known(profiles.label_confidence[feature])
        if confidence is not None:
            out.label_confidence = confidence
        out.profile.CopyFrom(_profile(profiles, feature))
    return out


def encode_evidence(evidence: Evidence) -> pb.Evidence:
    """Returns one measurement."""
    return pb.Evidence(
        label=evidence.label,
        measure=evidence.measure,
        effect=evidence.effect,
        q_value=evidence.q_value,
        control=evidence.control,
        support=evidence.support,
        n_families=evidence.n_families,
        low=evidence.low,
        high=evidence.high,
        percentile=evidence.percentile,
    )


def encode_basis(dictionary: Dictionary) -> dict[str, str]:
    """Returns what evidence was measured on, numbers written as people write them."""
    return {name: _told(value) for name, value in dictionary.features.basis.items()}


def encode_ancestor(shelved: Shelved, feature: int) -> pb.FeatureAncestor | None:
    """Returns which feature of an older version a feature goes on, if that is known."""
    table = shelved.dictionary.features
    ancestor = int(table.ancestor[feature])
    if ancestor < 0 or not shelved.ancestor:
        return None
    return pb.FeatureAncestor(
        dictionary=encode_ref(*parse_pinned(shelved.ancestor)),
        feature=ancestor,
        confidence=float(table.ancestor_confidence[feature]),
    )


def encode_mapped(
    features: Sequence[int], found: FeatureMap, target: Dictionary
) -> list[pb.MappedFeature]:
    """Returns what features are in another dictionary, in the order given."""
    counterparts, confidences = found.counterpart.tolist(), found.confidence.tolist()
    label = target.features.label
    return [
        pb.MappedFeature(feature=one)
        if counterparts[one] < 0
        else pb.MappedFeature(
            feature=one,
            counterpart=counterparts[one],
            confidence=confidences[one],
            label=label[counterparts[one]],
        )
        for one in features
    ]


def decode_selection(request: pb.ListFeaturesRequest) -> Selection:
    """Returns which features are asked for, and in which order.

    Raises:
        InvalidRequestError: a number is out of range, or the order is none.
    """
    if request.order not in _ORDERS:
        raise InvalidRequestError(
            "order", f"{request.order} found, expected an order that is known"
        )
    min_effect = request.min_effect if request.HasField("min_effect") else None
    max_q_value = request.max_q_value if request.HasField("max_q_value") else None
    if min_effect is not None and not math.isfinite(min_effect):
        raise InvalidRequestError(
            "min_effect", f"{min_effect} found, expected a finite number"
        )
    if max_q_value is not None and not 0 <= max_q_value <= 1:
        raise InvalidRequestError(
            "max_q_value", f"{max_q_value} found, expected 0 to 1"
        )
    return Selection(
        label=request.label,
        measure=request.measure or "enrichment",
        min_effect=min_effect,
        max_q_value=max_q_value,
        text=request.text,
        shape=request.shape,
        without_composition_only=request.without_composition_only,
        order=_ORDERS[request.order],
    )


def _profile(profiles: Profiles, feature: int) -> pb.FeatureProfile:
    out = pb.FeatureProfile(
        n_firings=int(profiles.n_firings[feature]),
        n_rnas=int(profiles.n_rnas[feature]),
        n_families=int(profiles.n_families[feature]),
        shape=profiles.shape[feature],
        run_length=int(profiles.run_length[feature]),
        period=int(profiles.period[feature]),
        type_selectivity=_known(profiles.type_selectivity[feature]),
        type_entropy=_known(profiles.type_entropy[feature]),
        preferred_type=profiles.preferred_type[feature],
        shuffled_ratio=_known(profiles.shuffled_ratio[feature]),
        is_composition_only=bool(profiles.is_composition_only[feature]),
    )
    if profiles.suggestion[feature]:
        out.suggestion.label = profiles.suggestion[feature]
        out.suggestion.score = float(profiles.suggestion_score[feature])
        out.suggestion.control = float(profiles.suggestion_control[feature])
    return out


def _logo(shares: UInt8[np.ndarray, "place sign"], signs: str) -> pb.Logo:
    return pb.Logo(signs=signs, first=-REACH, shares=(shares / 255).ravel().tolist())


def _known(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)


def _told(value: str | int | float) -> str:
    if isinstance(value, str):
        return value
    return f"{int(value):,}" if value == int(value) else f"{value:,g}"
