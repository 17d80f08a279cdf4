"""Messages of collection.proto: RNAs out, stored RNAs and facts in."""

from __future__ import annotations

from collections.abc import Mapping

from ribolex.client import records
from ribolex.client.convert.values import (
    codes,
    dictionary_ref,
    sendable,
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
