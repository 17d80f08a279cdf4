"""Messages of encoder.proto: options in, results out."""

from dataclasses import dataclass

from ribolex.dictionary import Dictionary, Pooling
from ribolex.errors import InvalidRequestError
from ribolex.server.convert import codes as convert
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
        if self.k > dictionary.sae.k:
            raise InvalidRequestError(
                "options.k",
                f"{self.k}, expected at most {dictionary.sae.k}, {dictionary.ref}'s",
            )
        pooling = self.pooling if self.levels.sequence else None
        return Recipe(self.k or dictionary.sae.k, pooling)


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
    return encoder_pb2.EncodeResponse(
        results=[
            encoder_pb2.EncodeResult(
                encoded=_encode(outcome, options, dictionary.sae.n_features)
            )
            if isinstance(outcome, Encoding)
            else encoder_pb2.EncodeResult(rejection=convert.encode_rejection(outcome))
            for outcome in answer.outcomes
        ],
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        timing=convert.encode_timing(answer.queue_s, answer.batches, total_s),
    )


def _encode(
    encoding: Encoding, options: Options, n_features: int
) -> encoder_pb2.EncodedSequence:
    message = encoder_pb2.EncodedSequence(
        n_nucleotides=len(encoding.codes), fvu=encoding.fvu
    )
    if options.levels.nucleotide:
        message.nucleotide_codes.CopyFrom(
            convert.encode_codes(encoding.codes, options.value_type)
        )
    if encoding.pooled is not None:
        message.sequence_code.CopyFrom(
            convert.encode_row(encoding.pooled, n_features, options.value_type)
        )
    return message
