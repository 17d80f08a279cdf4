"""Messages of Embed: which activations are wanted in, their rows out in chunks."""

from collections.abc import Iterator

from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.server.convert import codes as convert
from ribolex.server.convert import parts
from ribolex.server.engine.embedding import DensePooling, Embedding, View
from ribolex.server.engine.front import Answer
from ribolex.v1 import codes_pb2, dictionary_pb2, encoder_pb2

_HOOKS: dict[dictionary_pb2.Hook.ValueType, Hook] = {
    dictionary_pb2.HOOK_UNSPECIFIED: "normed",
    dictionary_pb2.HOOK_NORMED: "normed",
    dictionary_pb2.HOOK_RAW: "raw",
}
_HOOK_NUMBERS = {"normed": dictionary_pb2.HOOK_NORMED, "raw": dictionary_pb2.HOOK_RAW}
_POOLINGS: dict[codes_pb2.Pooling.ValueType, DensePooling] = {
    codes_pb2.POOLING_UNSPECIFIED: "mean",
    codes_pb2.POOLING_MEAN: "mean",
    codes_pb2.POOLING_MAX: "max",
}


def decode_view(request: encoder_pb2.EmbedRequest, lm: LanguageModel) -> View:
    """Returns which activations are asked for, defaults filled in.

    Raises:
        InvalidRequestError: an option is none, or the model has no such layer.
    """
    if request.hook not in _HOOKS:
        raise InvalidRequestError(
            "hook", f"{request.hook} is no hook, expected HOOK_NORMED or HOOK_RAW"
        )
    if request.pooling not in _POOLINGS:
        raise InvalidRequestError(
            "pooling", f"{request.pooling}, expected POOLING_MEAN or POOLING_MAX"
        )
    levels = {
        codes_pb2.LEVEL_UNSPECIFIED: None,
        codes_pb2.LEVEL_NUCLEOTIDE: None,
        codes_pb2.LEVEL_SEQUENCE: _POOLINGS[request.pooling],
    }
    if request.level not in levels:
        raise InvalidRequestError(
            "level",
            f"{request.level} is no level, expected LEVEL_NUCLEOTIDE or LEVEL_SEQUENCE",
        )
    value_type = convert.decode_value_type(request.value_type, "value_type")
    return View.of(
        lm,
        request.layers,
        _HOOKS[request.hook],
        levels[request.level],
        is_half=value_type == codes_pb2.VALUE_TYPE_FLOAT16,
    )


def encode_embeddings(
    answer: Answer[Embedding], view: View, lm: LanguageModel, total_s: float
) -> Iterator[encoder_pb2.EmbedResponse]:
    """Yields the messages of an answer, each small enough to be sent."""
    empty = encoder_pb2.EmbedResponse(
        header=_encode_header(view, lm),
        timing=convert.encode_timing(answer.queue_s, answer.batches, total_s),
    )
    for results in parts.in_parts(_results(answer)):
        response = encoder_pb2.EmbedResponse(results=results)
        response.MergeFrom(empty)
        yield response


def _results(answer: Answer[Embedding]) -> Iterator[encoder_pb2.EmbedResult]:
    for index, outcome in enumerate(answer.outcomes):
        if isinstance(outcome, InvalidRequestError):
            rejection = convert.encode_rejection(outcome)
            yield encoder_pb2.EmbedResult(index=index, rejection=rejection)
            continue
        n_rows = max(1, parts.PART_BYTES // outcome.rows[0].nbytes)
        for start in range(0, len(outcome.rows), n_rows):
            rows = outcome.rows[start : start + n_rows]
            embedded = encoder_pb2.EmbeddedSequence(
                n_nucleotides=outcome.n_nucleotides,
                first_row=start,
                values=rows.astype(rows.dtype.newbyteorder("<"), copy=False).tobytes(),
            )
            yield encoder_pb2.EmbedResult(index=index, embedded=embedded)


def _encode_header(view: View, lm: LanguageModel) -> encoder_pb2.EmbedHeader:
    half, full = codes_pb2.VALUE_TYPE_FLOAT16, codes_pb2.VALUE_TYPE_FLOAT32
    header = encoder_pb2.EmbedHeader(
        model_name=lm.name,
        model_digest=lm.digest,
        layers=view.layers,
        hook=_HOOK_NUMBERS[view.hook],
        level=codes_pb2.LEVEL_NUCLEOTIDE,
        d_model=lm.config.d_model,
        value_type=half if view.is_half else full,
    )
    if view.pooling is not None:
        header.level = codes_pb2.LEVEL_SEQUENCE
        header.pooling = convert.encode_pooling(view.pooling)
    return header
