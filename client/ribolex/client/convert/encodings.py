"""Messages of encoder.proto: how to encode, and the codes of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ribolex.client import records
from ribolex.client.codes import SparseCodes
from ribolex.client.convert.values import (
    LEVELS,
    POOLINGS,
    choose,
    codes,
    dictionary_ref,
    dictionary_ref_to_pb,
    rejection,
    timing,
)
from ribolex.client.errors import InvalidRequestError, ServerError
from ribolex.v1 import codes_pb2, encoder_pb2


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
