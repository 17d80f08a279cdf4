"""Messages of encoder.proto: options in, results out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ribolex.dictionary import Dictionary, Pooling
from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
from ribolex.server.convert import parts
from ribolex.server.engine.encoding import Encoding, Recipe
from ribolex.server.engine.front import Answer
from ribolex.v1 import codes_pb2, encoder_pb2

_DEFAULT_POOLING: Pooling = "max"


@dataclass(frozen=True, slots=True)
class Options:
    """How sequences are to be encoded, as a request says it."""

    name: str
    """Of the dictionary; empty for the default."""
    version: int
    """Of the dictionary; 0 for the current one."""
    levels: convert.Levels
    pooling: Pooling
    k: int
    """0 for the dictionary's."""
    value_type: codes_pb2.ValueType.ValueType
    degap: bool

    def recipe(self, dictionary: Dictionary) -> Recipe:
        """Returns the recipe for a dictionary.

        Raises:
            InvalidRequestError: it has fewer features a nucleotide.
        """
        k = decode_k(self.k, "options.k", dictionary)
        pooling = self.pooling if self.levels.sequence else None
        return Recipe(k, pooling, self.levels.nucleotide)


def decode_k(k: int, field: str, dictionary: Dictionary) -> int:
    """Returns how many features of a nucleotide to keep; 0 means the dictionary's k.

    Raises:
        InvalidRequestError: it has fewer of them.
    """
    if k > dictionary.sae.k:
        raise InvalidRequestError(
            field, f"{k}, expected at most {dictionary.sae.k}, {dictionary.ref}'s"
        )
    return k or dictionary.sae.k


def decode_options(options: encoder_pb2.EncodeOptions) -> Options:
    """Returns the options of a request, defaults filled in."""
    levels = convert.decode_levels(options.levels, "options.levels")
    if not options.levels:
        levels = convert.Levels(nucleotide=False, sequence=True)
    return Options(
        options.dictionary.name,
        options.dictionary.version,
        levels,
        convert.decode_pooling(options.pooling, "options.pooling", _DEFAULT_POOLING),
        options.k,
        convert.decode_value_type(options.value_type, "options.value_type"),
        options.degap,
    )


def encode_answer(
    answer: Answer[Encoding], options: Options, dictionary: Dictionary, total_s: float
) -> encoder_pb2.EncodeResponse:
    """Returns what became of the sequences of a request."""
    response = _frame(answer, dictionary, total_s)
    response.results.extend(_results(answer, options, dictionary, max_bytes=None))
    return response


def encode_parts(
    answer: Answer[Encoding], options: Options, dictionary: Dictionary, total_s: float
) -> Iterator[encoder_pb2.EncodeResponse]:
    """Yields the same in parts, each small enough to be sent."""
    frame = _frame(answer, dictionary, total_s)
    results = _results(answer, options, dictionary, max_bytes=parts.PART_BYTES)
    for part in parts.in_parts(results):
        response = encoder_pb2.EncodeResponse(results=part)
        response.MergeFrom(frame)
        yield response


def bytes_of_parts(
    sequences: Iterable[str], options: Options, dictionary: Dictionary
) -> int:
    """Returns what codes take in memory, at most, until all parts of them are sent."""
    if not options.levels.nucleotide:
        return 0
    row = 8 + 8 * (options.k or dictionary.sae.k)
    return row * sum(map(len, sequences))


def _frame(
    answer: Answer[Encoding], dictionary: Dictionary, total_s: float
) -> encoder_pb2.EncodeResponse:
    """Returns what is the same in each part of an answer."""
    return encoder_pb2.EncodeResponse(
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        timing=convert.encode_timing(
            answer.queue_s, answer.batches, total_s, answer.n_cached
        ),
    )


def _results(
    answer: Answer[Encoding],
    options: Options,
    dictionary: Dictionary,
    max_bytes: int | None,
) -> Iterator[encoder_pb2.EncodeResult]:
    """Yields the results; of a sequence of more bytes more than one."""
    n_features = dictionary.sae.n_features
    for outcome in answer.outcomes:
        if isinstance(outcome, Encoding):
            for encoded in _encode(outcome, options, n_features, max_bytes):
                yield encoder_pb2.EncodeResult(encoded=encoded)
        else:
            rejection = convert.encode_rejection(outcome)
            yield encoder_pb2.EncodeResult(rejection=rejection)


def _encode(
    encoding: Encoding, options: Options, n_features: int, max_bytes: int | None
) -> Iterator[encoder_pb2.EncodedSequence]:
    codes = encoding.codes
    message = encoder_pb2.EncodedSequence(n_nucleotides=len(codes), fvu=encoding.fvu)
    if encoding.pooled is not None:
        message.sequence_code.CopyFrom(
            convert.encode_row(encoding.pooled, n_features, options.value_type)
        )
    if not options.levels.nucleotide:
        yield message
        return
    start, stop = 0, len(codes)
    largest = 4 + 8 * int(np.diff(codes.indptr).max())
    while True:
        if max_bytes is not None:
            n_rows = max(1, (max_bytes - message.ByteSize()) // largest)
            stop = min(start + n_rows, len(codes))
        rows = codes.slice(start, stop)
        message.nucleotide_codes.CopyFrom(
            convert.encode_codes(rows, options.value_type)
        )
        message.first_row = start
        yield message
        start = stop
        if start == len(codes):
            return
        message = encoder_pb2.EncodedSequence(n_nucleotides=len(codes))
