"""Messages of collection.proto: RNAs out, stored RNAs and facts in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ribolex.client import records
from ribolex.client.convert.values import (
    codes,
    dictionary_ref,
    sendable,
)
from ribolex.client.errors import InvalidRequestError
from ribolex.v1 import codes_pb2, collection_pb2

_STATES: Mapping[int, records.ReindexState] = {
    collection_pb2.REINDEX_STATE_ENCODING: "encoding",
    collection_pb2.REINDEX_STATE_COMPARING: "comparing",
    collection_pb2.REINDEX_STATE_HELD: "held",
    collection_pb2.REINDEX_STATE_DONE: "done",
}
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
        metadata={key: _text(rna, key) for key in rna.metadata},
    )


def _text(rna: records.Rna, key: str) -> str:
    """Returns what an RNA has under a key; a number becomes a text."""
    value: object = rna.metadata[key]
    if isinstance(value, str | int | float):
        return str(value)
    raise InvalidRequestError(
        f"{rna.name}: metadata[{key!r}] is {value!r}, expected a text or a number"
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


def collection_details(
    message: collection_pb2.GetCollectionResponse,
) -> records.Collection:
    """Returns the facts that a message holds, with what is told of the content."""
    facts = collection(message.collection)
    if not message.HasField("details"):
        return facts
    told = message.details
    keys = (
        records.MetadataKey(one.key, one.n_rnas, one.n_values, one.is_number)
        for one in told.keys
    )
    details = records.CollectionDetails(
        told.n_nucleotides,
        told.records_bytes,
        told.index_bytes,
        tuple(keys),
        dictionary_ref(told.kept) if told.HasField("kept") else None,
        dictionary_ref(told.coming) if told.HasField("coming") else None,
        told.kept_bytes,
        told.coming_bytes,
    )
    return replace(facts, details=details)


def reindex_progress(
    message: collection_pb2.ReindexResponse,
) -> records.ReindexProgress:
    """Returns how far a collection is."""
    return records.ReindexProgress(
        _STATES.get(message.state, "encoding"),
        message.n_done,
        message.n_rnas,
        message.overlap if message.HasField("overlap") else None,
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
