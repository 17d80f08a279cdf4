"""Messages of `ribolex.v1` to values of ours and back: protobuf stops here."""

from ribolex.client.convert.collections import (
    collection,
    collection_details,
    reindex_progress,
    rna,
    rna_to_pb,
    stored_rna,
)
from ribolex.client.convert.dictionaries import (
    dictionary,
    dictionary_change,
    moved,
    nearest,
    nearest_features,
)
from ribolex.client.convert.encodings import encode_options, encoded, streamed
from ribolex.client.convert.features import (
    ORDERS,
    feature_card,
    listed_feature,
    mapped,
)
from ribolex.client.convert.searches import (
    SENSITIVITIES,
    aligned,
    conditions,
    feature_matches,
    hits,
    streamed_hits,
)
from ribolex.client.convert.values import (
    LEVELS,
    POOLINGS,
    all_sendable,
    choose,
    codes,
    codes_to_pb,
    dictionary_ref,
    dictionary_ref_to_pb,
    rejection,
    sendable,
    timing,
)

__all__ = [
    "LEVELS",
    "ORDERS",
    "POOLINGS",
    "SENSITIVITIES",
    "aligned",
    "all_sendable",
    "choose",
    "codes",
    "codes_to_pb",
    "collection",
    "collection_details",
    "conditions",
    "dictionary",
    "dictionary_change",
    "dictionary_ref",
    "dictionary_ref_to_pb",
    "encode_options",
    "encoded",
    "feature_card",
    "feature_matches",
    "hits",
    "listed_feature",
    "mapped",
    "moved",
    "nearest",
    "nearest_features",
    "reindex_progress",
    "rejection",
    "rna",
    "rna_to_pb",
    "sendable",
    "stored_rna",
    "streamed",
    "streamed_hits",
    "timing",
]
