"""Messages of a search for features: what is asked for in, a page of matches out."""

import base64
import json

from ribolex.dictionary import Dictionary
from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.convert.collection import encode_rna
from ribolex.server.convert.feature import encode_summary
from ribolex.server.convert.search import decode_conditions, digest_of
from ribolex.server.index.feature_query import Query, features_of
from ribolex.server.index.feature_search import FeatureScan, FeatureSearch, Match
from ribolex.v1 import collection_pb2 as pb

_MAX_PAGE = 1_000_000
"""Letters of the RNAs of one page."""


def decode_feature_search(
    request: pb.SearchFeaturesRequest, query: Query, content_id: str
) -> FeatureSearch:
    """Returns what to search for.

    Args:
        request: its query is not looked at.
        query: that it asks.
        content_id: of the dictionary: a page of another one is none.

    Raises:
        InvalidRequestError: names the field.
    """
    return FeatureSearch(
        query,
        convert.decode_count(request.page_size, "page_size", default=100, limit=1000),
        _MAX_PAGE,
        decode_conditions(request.where),
        _decode_token(request, content_id),
        request.count,
    )


def encode_scan(
    scan: FeatureScan,
    request: pb.SearchFeaturesRequest,
    query: Query,
    dictionary: Dictionary,
) -> pb.SearchFeaturesResponse:
    """Returns a page of matches; without n_rnas, and what the search took."""
    token = ""
    if scan.has_more:
        last = scan.matches[-1].rna.name
        token = _token(request, dictionary.content_id, last)
    return pb.SearchFeaturesResponse(
        matches=map(_match, scan.matches),
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        next_page_token=token,
        features=[encode_summary(dictionary, one) for one in features_of(query)],
        n_searched=scan.n_searched,
        n_matching=scan.n_matching if request.count else None,
    )


def _match(match: Match) -> pb.FeatureMatch:
    return pb.FeatureMatch(
        rna=encode_rna(match.rna),
        stretches=[
            pb.Stretch(
                feature=one.feature,
                start=one.start,
                stop=one.stop,
                max_activation=one.peak,
            )
            for one in match.stretches
        ],
    )


def _token(request: pb.SearchFeaturesRequest, content_id: str, name: str) -> str:
    told = json.dumps([_digest(request, content_id), name])
    return base64.urlsafe_b64encode(told.encode()).decode()


def _decode_token(request: pb.SearchFeaturesRequest, content_id: str) -> str:
    """Returns the name after which the page that is asked for begins."""
    if not request.page_token:
        return ""
    try:
        digest, name = json.loads(base64.urlsafe_b64decode(request.page_token))
        # It is to be compared with names, which are text.
        name.encode()
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidRequestError(
            "page_token", "is none, expected the last page's next_page_token"
        ) from error
    if digest != _digest(request, content_id):
        raise InvalidRequestError(
            "page_token", "is of another search, expected the same as for that page"
        )
    return str(name)


def _digest(request: pb.SearchFeaturesRequest, content_id: str) -> str:
    bare = pb.SearchFeaturesRequest()
    bare.CopyFrom(request)
    bare.ClearField("count")
    return f"{digest_of(bare)} {content_id[:16]}"
