"""Messages of collection.proto: RNAs in, stored RNAs and explained hits out."""

from __future__ import annotations

from collections.abc import Mapping

from ribolex.client import records
from ribolex.client.convert.values import (
    codes,
    dictionary_ref,
    sendable,
    timing,
)
from ribolex.v1 import codes_pb2, collection_pb2

_POOLING_NAMES: Mapping[int, records.Pooling] = {
    codes_pb2.POOLING_MAX: "max",
    codes_pb2.POOLING_MEAN: "mean",
    codes_pb2.POOLING_COUNT: "count",
}


def rna(message: collection_pb2.RnaRecord) -> records.Rna:
    """Returns the RNA that a message holds."""
    return records.Rna(
        message.name,
        message.sequence,
        message.structure or None,
        dict(message.metadata),
    )


def rna_to_pb(rna: records.Rna) -> collection_pb2.RnaRecord:
    """Returns the message for an RNA."""
    return collection_pb2.RnaRecord(
        name=rna.name,
        sequence=sendable(rna.sequence, rna.name),
        structure=rna.structure or "",
        metadata=rna.metadata,
    )


def collection(message: collection_pb2.Collection) -> records.Collection:
    """Returns the facts that a message holds."""
    return records.Collection(
        name=message.name,
        dictionary=dictionary_ref(message.dictionary),
        pooling=_POOLING_NAMES.get(message.pooling, "max"),
        n_rnas=message.n_rnas,
        created_at_s=message.created_at_s,
    )


def stored_rna(message: collection_pb2.GetRnaResponse) -> records.StoredRna:
    """Returns a stored RNA with the codes that came along."""
    has_code = message.HasField("sequence_code")
    has_codes = message.HasField("nucleotide_codes")
    return records.StoredRna(
        rna=rna(message.rna),
        dictionary=dictionary_ref(message.dictionary),
        sequence_code=codes(message.sequence_code) if has_code else None,
        nucleotide_codes=codes(message.nucleotide_codes) if has_codes else None,
        fvu=message.fvu,
    )


def hits(message: collection_pb2.SearchSimilarResponse) -> records.Hits:
    """Returns the hits of one search."""
    return records.Hits(
        hits=tuple(_hit(one) for one in message.hits),
        dictionary=dictionary_ref(message.dictionary),
        n_rnas=message.n_rnas,
        query_fvu=message.query_fvu if message.HasField("query_fvu") else None,
        timing=timing(message.timing),
    )


def _hit(message: collection_pb2.Hit) -> records.Hit:
    return records.Hit(
        rna=rna(message.rna),
        score=message.score,
        shared_features=tuple(
            records.SharedFeature(
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
    )
