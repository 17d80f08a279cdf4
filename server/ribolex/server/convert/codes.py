"""Messages of codes.proto: packed codes, enums, dictionary refs, timings, faults."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from google.protobuf.message import Message
from jaxtyping import Float32

from ribolex.dictionary import Codes, Pooling, SequenceCode
from ribolex.errors import (
    InvalidRequestError,
    InvalidSequenceError,
    SequenceTooLongError,
)
from ribolex.server.engine.ticket import Spent
from ribolex.v1 import codes_pb2 as pb

_MAX_UINT16_FEATURES = 65_536
_POOLINGS: dict[pb.Pooling.ValueType, Pooling] = {
    pb.POOLING_MAX: "max",
    pb.POOLING_MEAN: "mean",
    pb.POOLING_COUNT: "count",
}
_POOLING_NUMBERS = {pooling: number for number, pooling in _POOLINGS.items()}
_VALUE_TYPES = {
    pb.VALUE_TYPE_UNSPECIFIED: pb.VALUE_TYPE_FLOAT32,
    pb.VALUE_TYPE_FLOAT32: pb.VALUE_TYPE_FLOAT32,
    pb.VALUE_TYPE_FLOAT16: pb.VALUE_TYPE_FLOAT16,
}
_DTYPES: dict[pb.IndexType.ValueType, np.dtype[Any]] = {
    pb.INDEX_TYPE_UINT16: np.dtype("<u2"),
    pb.INDEX_TYPE_UINT32: np.dtype("<u4"),
}
_VALUE_DTYPES: dict[pb.ValueType.ValueType, np.dtype[Any]] = {
    pb.VALUE_TYPE_FLOAT32: np.dtype("<f4"),
    pb.VALUE_TYPE_FLOAT16: np.dtype("<f2"),
}
_HALF = np.finfo(np.float16)

Member = TypeVar("Member")


class Levels(NamedTuple):
    """Which codes are asked for."""

    nucleotide: bool
    sequence: bool


class Page(NamedTuple):
    """Which part of a list is asked for."""

    size: int
    after: str
    """Key of the last one of the page before; empty for the first page."""


def encode_codes(
    codes: Codes, value_type: pb.ValueType.ValueType = pb.VALUE_TYPE_FLOAT32
) -> pb.Codes:
    """Returns codes as packed rows."""
    is_narrow = codes.n_features <= _MAX_UINT16_FEATURES
    index_type = pb.INDEX_TYPE_UINT16 if is_narrow else pb.INDEX_TYPE_UINT32
    return pb.Codes(
        n_rows=len(codes),
        n_features=codes.n_features,
        indptr=codes.indptr.astype("<u4").tobytes(),
        indices=codes.indices.astype(_DTYPES[index_type]).tobytes(),
        index_type=index_type,
        values=_narrowed(codes.values, value_type).tobytes(),
        value_type=value_type,
    )


def encode_row(
    code: SequenceCode,
    n_features: int,
    value_type: pb.ValueType.ValueType = pb.VALUE_TYPE_FLOAT32,
) -> pb.Codes:
    """Returns one code as packed rows, one of them."""
    indptr = np.array([0, len(code.indices)], np.int64)
    return encode_codes(
        Codes(indptr, code.indices, code.values, n_features), value_type
    )


def decode_codes(message: pb.Codes, field: str) -> Codes:
    """Returns packed rows as codes, after checking all that is promised of them.

    Raises:
        InvalidRequestError: names the part of `field` that is wrong.
    """
    indptr = _unpack(message.indptr, np.dtype("<u4"), f"{field}.indptr")
    if message.index_type not in _DTYPES:
        raise InvalidRequestError(
            f"{field}.index_type",
            f"{message.index_type}, expected INDEX_TYPE_UINT16 or INDEX_TYPE_UINT32",
        )
    if message.value_type not in _VALUE_DTYPES:
        raise InvalidRequestError(
            f"{field}.value_type",
            f"{message.value_type}, expected VALUE_TYPE_FLOAT32 or VALUE_TYPE_FLOAT16",
        )
    indices = _unpack(message.indices, _DTYPES[message.index_type], f"{field}.indices")
    values = _unpack(
        message.values, _VALUE_DTYPES[message.value_type], f"{field}.values"
    )
    bounds = indptr.astype(np.int64)
    _require(
        len(bounds) == message.n_rows + 1,
        f"{field}.indptr",
        f"{len(bounds)} entries, expected n_rows + 1 = {message.n_rows + 1}",
    )
    _require(
        bounds[0] == 0 and bool((np.diff(bounds) >= 0).all()),
        f"{field}.indptr",
        "expected to start with 0 and never to fall",
    )
    for name, found in (("indices", indices), ("values", values)):
        _require(
            len(found) == bounds[-1],
            f"{field}.{name}",
            f"{len(found)} entries, expected {bounds[-1]} as indptr says",
        )
    codes = Codes(
        bounds,
        indices.astype(np.uint32),
        values.astype(np.float32),
        message.n_features,
    )
    _check_entries(codes, field)
    return codes


def _check_entries(codes: Codes, field: str) -> None:
    _require(
        bool((codes.indices < codes.n_features).all()),
        f"{field}.indices",
        f"a feature is too large, expected all below n_features = {codes.n_features}",
    )
    rows = codes.rows_of_entries()
    rises = (np.diff(codes.indices.astype(np.int64)) > 0) | (np.diff(rows) > 0)
    _require(
        bool(rises.all()),
        f"{field}.indices",
        "features do not rise within a row, expected each above the one before",
    )
    _require(
        bool((np.isfinite(codes.values) & (codes.values > 0)).all()),
        f"{field}.values",
        "a value is not as expected: above 0 and finite",
    )


def encode_ref(name: str, version: int) -> pb.DictionaryRef:
    """Returns a dictionary's name and version."""
    return pb.DictionaryRef(name=name, version=version)


def encode_timing(
    queue_s: float, batches: Mapping[int, Spent], total_s: float, n_cached: int = 0
) -> pb.Timing:
    """Returns where the time went; `batches` are by number of the batch."""
    return pb.Timing(
        queue_s=queue_s,
        prepare_s=sum(spent.prepare_s for spent in batches.values()),
        compute_s=sum(spent.compute_s for spent in batches.values()),
        total_s=total_s,
        n_cached=n_cached,
    )


def encode_rejection(error: InvalidRequestError) -> pb.Rejection:
    """Returns why one member of a batch was refused."""
    reason = pb.REJECTION_REASON_INVALID_FIELD
    if isinstance(error, InvalidSequenceError):
        reason = pb.REJECTION_REASON_INVALID_SEQUENCE
    if isinstance(error, SequenceTooLongError):
        reason = pb.REJECTION_REASON_SEQUENCE_TOO_LONG
    return pb.Rejection(reason=reason, field=error.field, message=error.message)


def decode_levels(levels: Iterable[pb.Level.ValueType], field: str) -> Levels:
    """Returns which codes are asked for; empty means none."""
    asked = set(levels)
    for level in asked - {pb.LEVEL_NUCLEOTIDE, pb.LEVEL_SEQUENCE}:
        raise InvalidRequestError(
            field, f"{level} is no level, expected LEVEL_NUCLEOTIDE or LEVEL_SEQUENCE"
        )
    return Levels(pb.LEVEL_NUCLEOTIDE in asked, pb.LEVEL_SEQUENCE in asked)


def decode_pooling(
    number: pb.Pooling.ValueType, field: str, default: Pooling
) -> Pooling:
    """Returns the pooling asked for."""
    if number == pb.POOLING_UNSPECIFIED:
        return default
    if number not in _POOLINGS:
        raise InvalidRequestError(
            field,
            f"{number} is no pooling, expected POOLING_MAX, POOLING_MEAN or "
            "POOLING_COUNT",
        )
    return _POOLINGS[number]


def encode_pooling(pooling: Pooling) -> pb.Pooling.ValueType:
    """Returns the number of a pooling."""
    return _POOLING_NUMBERS[pooling]


def decode_value_type(
    number: pb.ValueType.ValueType, field: str
) -> pb.ValueType.ValueType:
    """Returns the type of values asked for, float32 if none was."""
    if number not in _VALUE_TYPES:
        raise InvalidRequestError(
            field,
            f"{number} is no type of values, expected VALUE_TYPE_FLOAT32 or "
            "VALUE_TYPE_FLOAT16",
        )
    return _VALUE_TYPES[number]


def decode_count(number: int, field: str, *, default: int, limit: int) -> int:
    """Returns how many of something are asked for; 0 means the default."""
    if number > limit:
        raise InvalidRequestError(field, f"{number}, expected at most {limit}")
    return number or default


def decode_page(size: int, token: str) -> Page:
    """Returns which part of a list is asked for."""
    return Page(decode_count(size, "page_size", default=100, limit=1000), token)


def cut_page(
    members: Sequence[Member], page: Page, key: Callable[[Member], str]
) -> tuple[Sequence[Member], str]:
    """Returns the members of a page, and the token of the next one.

    A page begins after the member that ended the one before, so it may be asked for
    only while that member is there.

    Raises:
        InvalidRequestError: the token is not, or no more, one of this list.
    """
    start = 0
    if page.after:
        keys = [key(member) for member in members]
        if page.after not in keys:
            raise InvalidRequestError(
                "page_token",
                "is not a token of this list, expected the last page's next_page_token",
            )
        start = keys.index(page.after) + 1
    stop = start + page.size
    found = members[start:stop]
    return found, key(found[-1]) if stop < len(members) else ""


def check_size(message: Message, limit: int, field: str, advice: str) -> None:
    """Does nothing if an answer can be sent.

    Raises:
        InvalidRequestError: it is larger than the server's limit on messages.
    """
    size_bytes = message.ByteSize()
    if size_bytes > limit:
        raise InvalidRequestError(
            field,
            f"the answer takes {size_bytes} bytes, expected at most {limit}, the "
            f"server's limit on messages (--max-message-mib): {advice}",
        )


def _narrowed(
    values: Float32[np.ndarray, " entry"], value_type: pb.ValueType.ValueType
) -> np.ndarray:
    if value_type == pb.VALUE_TYPE_FLOAT16:
        # No feature may be lost to rounding, none become infinite.
        values = np.clip(values, _HALF.smallest_subnormal, _HALF.max)
    return values.astype(_VALUE_DTYPES[value_type])


def _unpack(packed: bytes, dtype: np.dtype[Any], field: str) -> np.ndarray:
    if len(packed) % dtype.itemsize:
        raise InvalidRequestError(
            field, f"{len(packed)} bytes, expected a multiple of {dtype.itemsize}"
        )
    return np.frombuffer(packed, dtype)


def _require(holds: bool, field: str, message: str) -> None:
    if not holds:
        raise InvalidRequestError(field, message)
