"""Messages of collection.proto: RNAs in, stored RNAs and facts out."""

from ribolex.dictionary import pool
from ribolex.rna import Rna
from ribolex.server.convert import codes as convert
from ribolex.server.index.details import Aside, Details
from ribolex.server.index.facts import Facts
from ribolex.server.index.records import Record
from ribolex.server.index.store import Summary
from ribolex.server.reindex import Progress, State
from ribolex.v1 import codes_pb2, collection_pb2

_MAX_KEYS = 1000
_STATES: dict[State, collection_pb2.ReindexState.ValueType] = {
    "encoding": collection_pb2.REINDEX_STATE_ENCODING,
    "comparing": collection_pb2.REINDEX_STATE_COMPARING,
    "held": collection_pb2.REINDEX_STATE_HELD,
    "done": collection_pb2.REINDEX_STATE_DONE,
}


def decode_rna(message: collection_pb2.RnaRecord) -> Rna:
    """Returns an RNA as sent; its letters are not looked at."""
    structure = message.structure or None
    return Rna(message.name, message.sequence, structure, dict(message.metadata))


def encode_rna(rna: Rna) -> collection_pb2.RnaRecord:
    """Returns an RNA as stored."""
    return collection_pb2.RnaRecord(
        name=rna.name,
        sequence=rna.sequence,
        structure=rna.structure or "",
        metadata=rna.metadata,
    )


def encode_dictionary(facts: Facts) -> codes_pb2.DictionaryRef:
    """Returns the dictionary version that a collection belongs to."""
    return convert.encode_ref(facts.dictionary, facts.version)


def encode_summary(summary: Summary) -> collection_pb2.Collection:
    """Returns the facts of a collection."""
    facts = summary.facts
    return collection_pb2.Collection(
        name=facts.name,
        dictionary=encode_dictionary(facts),
        pooling=convert.encode_pooling(facts.measure.pooling),
        n_rnas=summary.n_rnas,
        created_at_s=facts.created_at_s,
    )


def encode_details(details: Details) -> collection_pb2.CollectionDetails:
    """Returns how much a collection holds, and what its metadata tell."""
    keys = [
        collection_pb2.MetadataKey(
            key=one.key,
            n_rnas=one.n_rnas,
            n_values=one.n_values,
            is_number=one.is_number,
        )
        for one in details.keys[:_MAX_KEYS]
    ]
    return collection_pb2.CollectionDetails(
        n_nucleotides=details.n_nucleotides,
        records_bytes=details.records_bytes,
        index_bytes=details.index_bytes,
        keys=keys,
    )


def add_aside(message: collection_pb2.CollectionDetails, aside: Aside) -> None:
    """Tells of what there is of a collection beside what is searched."""
    message.kept_bytes, message.coming_bytes = aside.kept_bytes, aside.coming_bytes
    if aside.kept_ref:
        message.kept.CopyFrom(_encode_ref(aside.kept_ref))
    if aside.coming_ref:
        message.coming.CopyFrom(_encode_ref(aside.coming_ref))


def _encode_ref(ref: str) -> codes_pb2.DictionaryRef:
    name, _, version = ref.rpartition("@")
    return convert.encode_ref(name, int(version))


def encode_progress(progress: Progress) -> collection_pb2.ReindexResponse:
    """Returns how far a collection has come."""
    return collection_pb2.ReindexResponse(
        state=_STATES[progress.state],
        n_done=progress.n_done,
        n_rnas=progress.n_rnas,
        overlap=progress.overlap,
    )


def encode_record(
    record: Record, facts: Facts, levels: convert.Levels
) -> collection_pb2.GetRnaResponse:
    """Returns a stored RNA with the codes asked for."""
    message = collection_pb2.GetRnaResponse(
        rna=encode_rna(record.rna), dictionary=encode_dictionary(facts), fvu=record.fvu
    )
    if levels.nucleotide:
        message.nucleotide_codes.CopyFrom(convert.encode_codes(record.codes))
    if levels.sequence:
        # Not the stored one: the measure may pool less than all of the codes.
        pooled = pool(record.codes, facts.measure.pooling)
        message.sequence_code.CopyFrom(convert.encode_row(pooled, facts.n_features))
    return message
