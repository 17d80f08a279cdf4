"""Messages of a search: what is asked for in, pages of explained hits out."""

import base64
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence

from ribolex.dictionary import Dictionary
from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.convert.collection import encode_rna
from ribolex.server.index.hits import Hit, Judged, SharedFeature
from ribolex.server.index.metadata import AnyOf, Between, Condition, NoneOf
from ribolex.server.index.search import Found, Rank, Search, Sensitivity
from ribolex.v1 import collection_pb2 as pb

_DEFAULT_SHARED = 5
_MAX_CONDITIONS = 64
_SENSITIVITIES: dict[pb.Sensitivity.ValueType, Sensitivity | None] = {
    pb.SENSITIVITY_UNSPECIFIED: None,
    pb.SENSITIVITY_FAST: "fast",
    pb.SENSITIVITY_SENSITIVE: "sensitive",
    pb.SENSITIVITY_EXHAUSTIVE: "exhaustive",
}
_OPERATIONS: dict[str, pb.AlignmentOperation.ValueType] = {
    "M": pb.ALIGNMENT_OPERATION_PAIR,
    "I": pb.ALIGNMENT_OPERATION_QUERY_ONLY,
    "D": pb.ALIGNMENT_OPERATION_TARGET_ONLY,
}
_NUMBERS = {name: number for number, name in _SENSITIVITIES.items()}


def decode_search(
    request: pb.SearchSimilarRequest, check: Callable[[], None]
) -> Search:
    """Returns how to search.

    Args:
        request: the query in it is not looked at.
        check: to be called between blocks of the work.

    Raises:
        InvalidRequestError: names the field.
    """
    if request.sensitivity not in _SENSITIVITIES:
        raise InvalidRequestError(
            "sensitivity",
            f"{request.sensitivity} is no sensitivity, expected SENSITIVITY_FAST, "
            "SENSITIVITY_SENSITIVE or SENSITIVITY_EXHAUSTIVE",
        )
    max_e_value = request.max_e_value if request.HasField("max_e_value") else None
    if max_e_value is not None and not max_e_value > 0:
        raise InvalidRequestError("max_e_value", f"{max_e_value:g}, expected above 0")
    return Search(
        convert.decode_count(request.top_k, "top_k", default=10, limit=1000),
        decode_max_shared(request),
        _SENSITIVITIES[request.sensitivity],
        max_e_value,
        decode_conditions(request.where),
        convert.decode_count(request.page_size, "page_size", default=0, limit=1000),
        _decode_token(request),
        check,
        _decode_exact(request),
    )


def _decode_exact(request: pb.SearchSimilarRequest) -> bool:
    if request.exact and request.sensitivity != pb.SENSITIVITY_FAST:
        raise InvalidRequestError("exact", "true, expected SENSITIVITY_FAST with it")
    return request.exact


def decode_max_shared(request: pb.SearchSimilarRequest | pb.AlignRequest) -> int:
    """Returns how many features are to be listed."""
    if not request.HasField("max_shared_features"):
        return _DEFAULT_SHARED
    number = request.max_shared_features
    return convert.decode_count(number, "max_shared_features", default=0, limit=1000)


def decode_conditions(messages: Sequence[pb.Condition]) -> tuple[Condition, ...]:
    """Returns what RNAs must be like.

    Raises:
        InvalidRequestError: names the condition at fault.
    """
    if len(messages) > _MAX_CONDITIONS:
        raise InvalidRequestError(
            "where", f"{len(messages)} conditions, expected at most {_MAX_CONDITIONS}"
        )
    return tuple(_condition(one, f"where[{i}]") for i, one in enumerate(messages))


def _condition(message: pb.Condition, where: str) -> Condition:
    if not message.key:
        raise InvalidRequestError(f"{where}.key", "is empty, expected a key")
    kind = message.WhichOneof("test")
    if kind == "range":
        return _range(message, where)
    if kind is None:
        raise InvalidRequestError(where, "expected any_of, none_of or range")
    values = (message.any_of if kind == "any_of" else message.none_of).values
    if not values:
        raise InvalidRequestError(f"{where}.{kind}", "is empty, expected a value")
    return (AnyOf if kind == "any_of" else NoneOf)(message.key, frozenset(values))


def _range(message: pb.Condition, where: str) -> Between:
    bounds = message.range
    minimum = bounds.min if bounds.HasField("min") else -math.inf
    maximum = bounds.max if bounds.HasField("max") else math.inf
    if not minimum <= maximum:
        raise InvalidRequestError(
            f"{where}.range", f"{minimum:g} to {maximum:g}, expected a range"
        )
    return Between(message.key, minimum, maximum)


def encode_found(
    found: Found, request: pb.SearchSimilarRequest, dictionary: Dictionary
) -> pb.SearchSimilarResponse:
    """Returns a page of hits, features labelled; without what the search took."""
    token = "" if found.last is None else _token(request, found.last)
    return pb.SearchSimilarResponse(
        hits=[encode_hit(hit, dictionary) for hit in found.hits],
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        n_rnas=found.n_rnas,
        sensitivity=_NUMBERS[found.sensitivity],
        n_searched=found.n_searched,
        next_page_token=token,
    )


def encode_hit(hit: Hit, dictionary: Dictionary) -> pb.Hit:
    """Returns a hit with its explanation."""
    judged = hit.judged
    return pb.Hit(
        rna=encode_rna(hit.rna),
        score=hit.score,
        shared_features=_shared(hit.shared, dictionary),
        n_shared_features=hit.n_shared,
        other_contribution=hit.other_contribution,
        alignment=None if judged is None else _alignment(judged),
    )


def _alignment(judged: Judged) -> pb.Alignment:
    found = judged.alignment
    return pb.Alignment(
        e_value=judged.e_value,
        bit_score=judged.bit_score,
        identity=judged.identity,
        query_start=found.query_start,
        query_stop=found.query_stop,
        target_start=found.target_start,
        target_stop=found.target_stop,
        steps=[
            pb.AlignmentStep(operation=_OPERATIONS[step.op], length=step.length)
            for step in found.steps
        ],
        letter_contribution=judged.letters,
        gap_contribution=judged.gaps,
    )


def _shared(
    shared: Iterable[SharedFeature], dictionary: Dictionary
) -> list[pb.SharedFeature]:
    return [
        pb.SharedFeature(
            feature=one.feature,
            contribution=one.contribution,
            label=dictionary.features.label[one.feature],
            query_positions=one.query_positions.tolist(),
            target_positions=one.target_positions.tolist(),
        )
        for one in shared
    ]


def _token(request: pb.SearchSimilarRequest, last: Rank) -> str:
    e_value, score = last.e_value.hex(), last.minus_score.hex()
    told = json.dumps([digest_of(request), e_value, score, last.name])
    return base64.urlsafe_b64encode(told.encode()).decode()


def _decode_token(request: pb.SearchSimilarRequest) -> Rank | None:
    """Returns the hit after which the page that is asked for begins."""
    if not request.page_token:
        return None
    try:
        told = json.loads(base64.urlsafe_b64decode(request.page_token))
        digest, e_value, score, name = told
        rank = Rank(float.fromhex(e_value), float.fromhex(score), str(name))
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidRequestError(
            "page_token", "is none, expected the last page's next_page_token"
        ) from error
    if digest != digest_of(request):
        raise InvalidRequestError(
            "page_token", "is of another search, expected the same as for that page"
        )
    return rank


def digest_of(request: pb.SearchSimilarRequest | pb.SearchFeaturesRequest) -> str:
    """Returns what tells one search from another, whatever page of it is asked for."""
    bare = type(request).FromString(request.SerializeToString())
    bare.ClearField("page_token")
    bare.ClearField("page_size")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()[:16]
