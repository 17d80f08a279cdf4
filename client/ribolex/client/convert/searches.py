"""Messages of a search: what is asked for out, hits and alignments in."""

from __future__ import annotations

from collections.abc import Mapping

from ribolex.client import hits as values
from ribolex.client import records
from ribolex.client.convert.collections import rna
from ribolex.client.convert.features import feature
from ribolex.client.convert.values import (
    dictionary_ref,
    rejection,
    sendable,
    timing,
)
from ribolex.client.errors import InvalidRequestError, ServerError
from ribolex.client.matches import FeatureMatch, FeatureMatches, Stretch
from ribolex.v1 import collection_pb2 as pb

SENSITIVITIES: Mapping[str, pb.Sensitivity.ValueType] = {
    "fast": pb.SENSITIVITY_FAST,
    "sensitive": pb.SENSITIVITY_SENSITIVE,
    "exhaustive": pb.SENSITIVITY_EXHAUSTIVE,
}
_NAMES: Mapping[int, values.Sensitivity] = {
    pb.SENSITIVITY_FAST: "fast",
    pb.SENSITIVITY_SENSITIVE: "sensitive",
    pb.SENSITIVITY_EXHAUSTIVE: "exhaustive",
}
_OPERATIONS: Mapping[int, values.Operation] = {
    pb.ALIGNMENT_OPERATION_PAIR: "pair",
    pb.ALIGNMENT_OPERATION_QUERY_ONLY: "query_only",
    pb.ALIGNMENT_OPERATION_TARGET_ONLY: "target_only",
}


def conditions(where: values.Where) -> list[pb.Condition]:
    """Returns the messages for what RNAs must be like.

    Raises:
        InvalidRequestError: a condition is none.
    """
    pairs = where.items() if isinstance(where, Mapping) else where
    return [_condition(key, test) for key, test in pairs]


def _condition(key: str, test: values.Test) -> pb.Condition:
    sendable(key, "where")
    if isinstance(test, values.Between):
        bounds = pb.Range(min=test.minimum, max=test.maximum)
        return pb.Condition(key=key, range=bounds)
    is_excluding = isinstance(test, values.NoneOf)
    listed = test.values if isinstance(test, values.NoneOf) else test
    texts = [listed] if isinstance(listed, str) else list(listed)
    for text in texts:
        if not isinstance(text, str):
            raise InvalidRequestError(f"where: {key} is {text!r}, expected text")
        sendable(text, "where")
    if is_excluding:
        return pb.Condition(key=key, none_of=pb.Values(values=texts))
    return pb.Condition(key=key, any_of=pb.Values(values=texts))


def hits(message: pb.SearchSimilarResponse) -> values.Hits:
    """Returns the hits of one search."""
    return values.Hits(
        hits=tuple(hit(one) for one in message.hits),
        dictionary=dictionary_ref(message.dictionary),
        n_rnas=message.n_rnas,
        query_fvu=message.query_fvu if message.HasField("query_fvu") else None,
        timing=timing(message.timing),
        sensitivity=_NAMES.get(message.sensitivity, "fast"),
        n_searched=message.n_searched,
    )


def streamed_hits(message: pb.SearchSimilarStreamResponse) -> values.Hits:
    """Returns the hits of one query of a stream; none if it was refused."""
    if message.WhichOneof("outcome") == "response":
        return hits(message.response)
    nobody, nothing = records.DictionaryRef("", 0), records.Timing(0.0, 0.0, 0.0)
    refused = rejection(message.index, message.rejection)
    return values.Hits((), nobody, 0, None, nothing, rejection=refused)


def hit(message: pb.Hit) -> values.Hit:
    """Returns one hit with its explanation."""
    has_one = message.HasField("alignment")
    return values.Hit(
        rna=rna(message.rna),
        score=message.score,
        shared_features=tuple(
            values.SharedFeature(
                feature=shared.feature,
                contribution=shared.contribution,
                label=shared.label,
                query_positions=tuple(shared.query_positions),
                target_positions=tuple(shared.target_positions),
            )
            for shared in message.shared_features
        ),
        n_shared_features=message.n_shared_features,
        other_contribution=message.other_contribution,
        alignment=_alignment(message.alignment) if has_one else None,
    )


def _alignment(message: pb.Alignment) -> values.Alignment:
    if any(step.operation not in _OPERATIONS for step in message.steps):
        raise ServerError(
            "the answer's alignment has columns that this client is too old for"
        )
    return values.Alignment(
        e_value=message.e_value,
        bit_score=message.bit_score,
        identity=message.identity,
        query_start=message.query_start,
        query_stop=message.query_stop,
        target_start=message.target_start,
        target_stop=message.target_stop,
        steps=tuple(
            values.Step(_OPERATIONS[step.operation], step.length)
            for step in message.steps
        ),
        letter_contribution=message.letter_contribution,
        gap_contribution=message.gap_contribution,
    )


def feature_matches(message: pb.SearchFeaturesResponse) -> FeatureMatches:
    """Returns a page of RNAs in which features fire."""
    is_counted = message.HasField("n_matching")
    return FeatureMatches(
        matches=tuple(_match(one) for one in message.matches),
        dictionary=dictionary_ref(message.dictionary),
        features=tuple(feature(one) for one in message.features),
        n_rnas=message.n_rnas,
        n_searched=message.n_searched,
        n_matching=message.n_matching if is_counted else None,
        next_page_token=message.next_page_token,
        timing=timing(message.timing),
    )


def _match(message: pb.FeatureMatch) -> FeatureMatch:
    return FeatureMatch(
        rna(message.rna),
        tuple(
            Stretch(one.feature, one.start, one.stop, one.max_activation)
            for one in message.stretches
        ),
    )


def aligned(message: pb.AlignResponse) -> values.Aligned:
    """Returns two RNAs, aligned."""
    return values.Aligned(
        query=rna(message.query),
        hit=hit(message.hit),
        dictionary=dictionary_ref(message.dictionary),
        timing=timing(message.timing),
    )
