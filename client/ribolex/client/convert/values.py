"""What messages of several services hold: codes, references, times, faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np

from ribolex.client import records
from ribolex.client.codes import SparseCodes
from ribolex.client.errors import InvalidRequestError, InvalidSequenceError, ServerError
from ribolex.v1 import codes_pb2

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
