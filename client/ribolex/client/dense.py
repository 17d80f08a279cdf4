"""Messages of Embed to values of ours and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from ribolex.client import convert, records
from ribolex.client.errors import InvalidRequestError, ServerError
from ribolex.v1 import codes_pb2, dictionary_pb2, encoder_pb2

_HOOKS: Mapping[str, dictionary_pb2.Hook.ValueType] = {
    "normed": dictionary_pb2.HOOK_NORMED,
    "raw": dictionary_pb2.HOOK_RAW,
}
_HALF = codes_pb2.VALUE_TYPE_FLOAT16
_POOLINGS = get_args(records.DensePooling)
_DTYPES: Mapping[int, str] = {
    codes_pb2.VALUE_TYPE_FLOAT32: "<f4",
    codes_pb2.VALUE_TYPE_FLOAT16: "<f2",
}


def embed_request(
    sequences: Sequence[str],
    layers: Sequence[int],
    hook: str,
    pooling: str | None,
    half: bool,
    degap: bool,
) -> encoder_pb2.EmbedRequest:
    """Returns the message that asks for activations.

    Raises:
        InvalidRequestError: an option is none.
    """
    for layer in layers:
        if not 1 <= layer < 2**32:
            raise InvalidRequestError(
                f"layers: {layer} is no layer, which count from 1"
            )
    request = encoder_pb2.EmbedRequest(
        sequences=convert.all_sendable(sequences),
        layers=layers,
        hook=convert.choose(_HOOKS, hook, "hook"),
        value_type=_HALF if half else codes_pb2.VALUE_TYPE_FLOAT32,
        degap=degap,
    )
    if pooling is not None:
        poolings = {name: convert.POOLINGS[name] for name in _POOLINGS}
        request.level = codes_pb2.LEVEL_SEQUENCE
        request.pooling = convert.choose(poolings, pooling, "pooling")
    return request


def embedded(
    messages: Iterable[encoder_pb2.EmbedResponse], n_sequences: int
) -> records.Embedded:
    """Returns the activations of one batch.

    Args:
        messages: the answer, all of it.
        n_sequences: how many were asked for.

    Raises:
        ServerError: the answer contradicts itself, or something is missing.
    """
    rows: list[npt.NDArray[Any]] = []
    n_nucleotides = np.zeros(n_sequences, np.int64)
    n_rows = np.zeros(n_sequences, np.int64)
    rejections: dict[int, records.Rejection] = {}
    message = encoder_pb2.EmbedResponse()
    for message in messages:
        for result in message.results:
            index = result.index
            if index >= n_sequences:
                raise ServerError(f"the answer has a sequence {index} too many")
            if result.WhichOneof("outcome") != "embedded":
                rejections[index] = convert.rejection(index, result.rejection)
                continue
            part = _rows(result.embedded.values, message.header)
            rows.append(part)
            n_rows[index] += len(part)
            n_nucleotides[index] = result.embedded.n_nucleotides
    header = message.header
    expected = n_nucleotides if header.level == codes_pb2.LEVEL_NUCLEOTIDE else 1
    is_there = (n_rows == expected) & (n_rows > 0)
    is_there[list(rejections)] = True
    if not is_there.all():
        raise ServerError("the answer ended before all of its rows were there")
    return records.Embedded(
        activations=np.concatenate([_rows(b"", header), *rows]),
        n_nucleotides=n_nucleotides,
        row_offsets=np.concatenate([np.zeros(1, np.int64), n_rows]).cumsum(),
        layers=tuple(header.layers),
        hook="raw" if header.hook == dictionary_pb2.HOOK_RAW else "normed",
        pooling=_pooling(header),
        model_name=header.model_name,
        model_digest=header.model_digest,
        rejections=tuple(rejections[index] for index in sorted(rejections)),
        timing=convert.timing(message.timing),
    )


def _rows(packed: bytes, header: encoder_pb2.EmbedHeader) -> npt.NDArray[Any]:
    """Returns rows [row, layer, d_model], in the machine's byte order."""
    if header.value_type not in _DTYPES:
        raise ServerError("the answer is of a type that this client is too old for")
    dtype = np.dtype(_DTYPES[header.value_type])
    try:
        numbers = np.frombuffer(packed, dtype)
        rows = numbers.reshape(-1, len(header.layers), header.d_model)
    except ValueError as error:
        raise ServerError(f"the answer's rows are cut off: {error}") from error
    return rows.astype(dtype.newbyteorder("="), copy=False)


def _pooling(header: encoder_pb2.EmbedHeader) -> records.DensePooling | None:
    if header.level != codes_pb2.LEVEL_SEQUENCE:
        return None
    return "max" if header.pooling == codes_pb2.POOLING_MAX else "mean"
