"""Messages of `ribolex.v1` to values of ours and back: protobuf stops here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ribolex.client import records
from ribolex.client.codes import SparseCodes
from ribolex.client.errors import InvalidRequestError, InvalidSequenceError, ServerError
from ribolex.v1 import codes_pb2, collection_pb2, dictionary_pb2, encoder_pb2

LEVELS: Mapping[str, tuple[codes_pb2.Level.ValueType, ...]] = {
    "sequence": (codes_pb2.LEVEL_SEQUENCE,),
    "nucleotide": (codes_pb2.LEVEL_NUCLEOTIDE,),
    "both": (codes_pb2.LEVEL_SEQUENCE, codes_pb2.LEVEL_NUCLEOTIDE),
}
POOLINGS: Mapping[str, codes_pb2.Pooling.ValueType] = {
    "max": codes_pb2.POOLING_MAX,
    "mean": codes_pb2.POOLING_MEAN,
    "count": codes_pb2.POOLING_COUNT,
}
_POOLING_NAMES: Mapping[int, records.Pooling] = {
    codes_pb2.POOLING_MAX: "max",
    codes_pb2.POOLING_MEAN: "mean",
    codes_pb2.POOLING_COUNT: "count",
}
_INDEX_DTYPES: Mapping[int, str] = {
    codes_pb2.INDEX_TYPE_UINT16: "<u2",
    codes_pb2.INDEX_TYPE_UINT32: "<u4",
}
_VALUE_DTYPES: Mapping[int, str] = {
    codes_pb2.VALUE_TYPE_FLOAT32: "<f4",
    codes_pb2.VALUE_TYPE_FLOAT16: "<f2",
}
_Choice = TypeVar("_Choice")


def sendable(sequence: str, where: str) -> str:
    """Returns the sequence as it is, if a message can hold it.

    Raises:
        InvalidSequenceError: it has a lone surrogate, as undecoded bytes become.
    """
    try:
        sequence.encode()
    except UnicodeEncodeError as error:
        letter = sequence[error.start]
        raise InvalidSequenceError(
            f"{where}: {letter!r} at position {error.start + 1} is not an RNA letter"
        ) from error
    return sequence


def all_sendable(sequences: Iterable[str]) -> list[str]:
    """Returns the sequences of a batch, each as `sendable` does."""
    return [sendable(one, f"sequences[{i}]") for i, one in enumerate(sequences)]


def choose(choices: Mapping[str, _Choice], name: str, field: str) -> _Choice:
    """Returns what a name of LEVELS or POOLINGS stands for.

    Raises:
        InvalidRequestError: it is none of them.
    """
    if name not in choices:
        expected = ", ".join(choices)
        raise InvalidRequestError(f"{field}: {name!r} is not one of {expected}")
    return choices[name]


def dictionary_ref_to_pb(
    dictionary: str | records.DictionaryRef | None,
) -> codes_pb2.DictionaryRef | None:
    """Returns the message for "name", "name@version" or a reference.

    Raises:
        InvalidRequestError: what follows "@" is no version.
    """
    if dictionary is None:
        return None
    name, at, version = str(dictionary).partition("@")
    if at and not (version.isascii() and version.isdigit() and int(version) < 2**32):
        raise InvalidRequestError(
            f"dictionary: {str(dictionary)!r} is neither a name nor name@version"
        )
    return codes_pb2.DictionaryRef(name=name, version=int(version or 0))


def dictionary_ref(message: codes_pb2.DictionaryRef) -> records.DictionaryRef:
    """Returns the reference that a message holds."""
    return records.DictionaryRef(message.name, message.version)


def encode_options(
    level: str,
    pooling: str,
    k: int | None,
    dictionary: str | records.DictionaryRef | None,
    half: bool,
    degap: bool,
) -> encoder_pb2.EncodeOptions:
    """Returns the message for how sequences are to be encoded.

    Raises:
        InvalidRequestError: one of them is none.
    """
    if k is not None and k < 1:
        raise InvalidRequestError(f"k: {k} is less than 1")
    return encoder_pb2.EncodeOptions(
        dictionary=dictionary_ref_to_pb(dictionary),
        levels=choose(LEVELS, level, "level"),
        pooling=choose(POOLINGS, pooling, "pooling"),
        k=k or 0,
        value_type=codes_pb2.VALUE_TYPE_FLOAT16
        if half
        else codes_pb2.VALUE_TYPE_FLOAT32,
        degap=degap,
    )


def timing(message: codes_pb2.Timing) -> records.Timing:
    """Returns the times that a message holds."""
    return records.Timing(
        message.queue_s,
        message.compute_s,
        message.total_s,
        message.prepare_s,
        message.n_cached,
    )


def codes(message: codes_pb2.Codes) -> SparseCodes:
    """Returns the codes that a message holds, in arrays of their own.

    Raises:
        ServerError: their lengths or types contradict one another.
    """
    if (
        message.index_type not in _INDEX_DTYPES
        or message.value_type not in _VALUE_DTYPES
    ):
        raise ServerError(
            "the answer's codes are of a type that this client is too old for"
        )
    try:
        indptr = np.frombuffer(message.indptr, "<u4").astype(np.int64)
        indices = np.frombuffer(message.indices, _INDEX_DTYPES[message.index_type])
        values = np.frombuffer(message.values, _VALUE_DTYPES[message.value_type])
    except ValueError as error:
        raise ServerError(f"the answer's codes are cut off: {error}") from error
    n_entries = len(indices)
    if len(indptr) != message.n_rows + 1 or {len(values), indptr[-1]} != {n_entries}:
        raise ServerError(
            f"the answer's codes contradict themselves: {message.n_rows} rows, "
            f"{len(indptr)} row ends, {n_entries} features, {len(values)} values"
        )
    return SparseCodes(
        indptr,
        indices.astype(np.uint32),
        values.astype(np.float32),
        message.n_features,
    )


def codes_to_pb(codes: SparseCodes) -> codes_pb2.Codes:
    """Returns the message for codes, values as float32."""
    is_narrow = codes.n_features <= 65536
    narrow, wide = codes_pb2.INDEX_TYPE_UINT16, codes_pb2.INDEX_TYPE_UINT32
    return codes_pb2.Codes(
        n_rows=len(codes),
        n_features=codes.n_features,
        indptr=codes.indptr.astype("<u4").tobytes(),
        indices=codes.indices.astype("<u2" if is_narrow else "<u4").tobytes(),
        index_type=narrow if is_narrow else wide,
        values=codes.values.astype("<f4").tobytes(),
        value_type=codes_pb2.VALUE_TYPE_FLOAT32,
    )


def rejection(
    index: int, message: codes_pb2.Rejection, name: str = ""
) -> records.Rejection:
    """Returns why the member at that place was refused."""
    try:
        reason = codes_pb2.RejectionReason.Name(message.reason)
    except ValueError:
        reason = ""
    reason = reason.removeprefix("REJECTION_REASON_").lower() or "unspecified"
    return records.Rejection(index, reason, message.message, name)


def encoded(message: encoder_pb2.EncodeResponse, level: str) -> records.Encoded:
    """Returns the codes of one batch.

    Args:
        message: the answer.
        level: what was asked for, a name of LEVELS.
    """
    return _encoded(message, message.results, level)


def streamed(
    messages: Sequence[encoder_pb2.EncodeStreamResponse], level: str
) -> records.Encoded:
    """Returns the codes of one batch of a stream.

    Args:
        messages: all parts of its answer.
        level: what was asked for, a name of LEVELS.

    Raises:
        ServerError: the parts do not fit together.
    """
    results = [one for message in messages for one in message.response.results]
    last = messages[-1]
    return _encoded(last.response, results, level, index=last.index)


def _encoded(
    message: encoder_pb2.EncodeResponse,
    results: Sequence[encoder_pb2.EncodeResult],
    level: str,
    index: int = 0,
) -> records.Encoded:
    """Returns the codes in some results; one that goes on is several of them."""
    firsts = [one for one in results if not one.encoded.first_row]
    answer = records.Encoded(
        n_nucleotides=np.array([one.encoded.n_nucleotides for one in firsts], np.int64),
        sequence_codes=None
        if level == "nucleotide"
        else _stacked([one.encoded.sequence_code for one in firsts], n_missing=1),
        nucleotide_codes=None
        if level == "sequence"
        else _stacked([one.encoded.nucleotide_codes for one in results], n_missing=0),
        fvu=_fvu(firsts),
        rejections=tuple(
            rejection(place, result.rejection)
            for place, result in enumerate(firsts)
            if result.WhichOneof("outcome") != "encoded"
        ),
        dictionary=dictionary_ref(message.dictionary),
        timing=timing(message.timing),
        index=index,
    )
    codes = answer.nucleotide_codes
    if codes is not None and len(codes) != answer.n_nucleotides.sum():
        raise ServerError(
            f"the answer has rows for {len(codes)} nucleotides, expected "
            f"{answer.n_nucleotides.sum()}"
        )
    return answer


def _fvu(results: Iterable[encoder_pb2.EncodeResult]) -> npt.NDArray[np.float32]:
    values = [
        result.encoded.fvu if result.HasField("encoded") else np.nan
        for result in results
    ]
    return np.array(values, np.float32)


def _stacked(messages: Sequence[codes_pb2.Codes], *, n_missing: int) -> SparseCodes:
    """Returns the rows of all messages; an unset one counts as empty rows."""
    widths = {message.n_features for message in messages if message.n_features}
    n_features = max(widths, default=0)
    empty = SparseCodes.empty(n_missing, n_features)
    parts = [codes(message) if message.n_features else empty for message in messages]
    return SparseCodes.concatenate([SparseCodes.empty(0, n_features), *parts])


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


def dictionary(message: dictionary_pb2.Dictionary) -> records.Dictionary:
    """Returns what a message says of a dictionary version."""
    function = dictionary_pb2.ActivationFunction.Name(message.activation_function)
    return records.Dictionary(
        ref=dictionary_ref(message.ref),
        content_id=message.content_id,
        model_name=message.model_name,
        model_digest=message.model_digest,
        layer=message.layer,
        hook=_word(dictionary_pb2.Hook.Name(message.hook)),
        level=_word(codes_pb2.Level.Name(message.level)),
        kind=_word(dictionary_pb2.DictionaryKind.Name(message.kind)),
        activation_function=_word(function),
        k=message.k,
        d_in=message.d_in,
        n_features=message.n_features,
        licence=message.licence,
        metrics=dict(message.metrics),
        is_current=message.is_current,
        is_default=message.is_default,
    )


def dictionary_change(
    message: dictionary_pb2.WatchResponse,
) -> records.DictionaryChange:
    """Returns what a message says became of a dictionary version."""
    return records.DictionaryChange(
        kind=_CHANGES.get(message.change, "unknown"),
        dictionary=dictionary_ref(message.dictionary),
        content_id=message.content_id,
        reason=message.reason,
        time_s=message.time_s,
    )


def moved(
    message: dictionary_pb2.ActivateResponse | dictionary_pb2.RollbackResponse,
) -> records.Moved:
    """Returns which version was made current, and which was."""
    before = dictionary_ref(message.before) if message.HasField("before") else None
    return records.Moved(dictionary_ref(message.dictionary), before)


_CHANGES: dict[int, records.ChangeKind] = {
    dictionary_pb2.DICTIONARY_CHANGE_SERVING: "serving",
    dictionary_pb2.DICTIONARY_CHANGE_KEPT: "kept",
    dictionary_pb2.DICTIONARY_CHANGE_LOADED: "loaded",
    dictionary_pb2.DICTIONARY_CHANGE_ACTIVATED: "activated",
    dictionary_pb2.DICTIONARY_CHANGE_REFUSED: "refused",
    dictionary_pb2.DICTIONARY_CHANGE_RETIRED: "retired",
}


def _word(enumerator: str) -> str:
    """Returns "normed" for HOOK_NORMED."""
    return enumerator.rpartition("_")[2].lower()


def feature_card(message: dictionary_pb2.GetFeatureResponse) -> records.FeatureCard:
    """Returns what a message says of a feature."""
    feature = message.feature
    return records.FeatureCard(
        dictionary=dictionary_ref(message.dictionary),
        feature=records.Feature(
            id=feature.id,
            label=feature.label,
            density=feature.density,
            mean_activation=feature.mean_activation,
            max_activation=feature.max_activation,
            idf=feature.idf,
            evidence=tuple(_evidence(one) for one in feature.evidence),
        ),
        examples=tuple(
            records.FeatureExample(
                rna=example.rna,
                max_activation=example.max_activation,
                positions=tuple(example.positions),
                sequence=example.sequence,
                metadata=dict(example.metadata),
            )
            for example in message.examples
        ),
        nearest=nearest_features(message.nearest),
    )


def _evidence(message: dictionary_pb2.Evidence) -> records.Evidence:
    return records.Evidence(
        label=message.label,
        measure=message.measure,
        effect=message.effect,
        q_value=message.q_value if message.HasField("q_value") else None,
        control=message.control if message.HasField("control") else None,
        support=message.support if message.HasField("support") else None,
    )


def nearest_features(
    messages: Iterable[dictionary_pb2.NearestFeature],
) -> tuple[records.NearestFeature, ...]:
    """Returns near features in the order given."""
    return tuple(
        records.NearestFeature(one.feature, one.cosine, one.label) for one in messages
    )
