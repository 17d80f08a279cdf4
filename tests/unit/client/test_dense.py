"""Answers of Embed put together, and refused where they contradict themselves."""

from typing import Any

import numpy as np
import pytest

from ribolex.client import InvalidRequestError, InvalidSequenceError, ServerError
from ribolex.client.dense import embed_request, embedded
from ribolex.v1 import codes_pb2 as codes
from ribolex.v1 import encoder_pb2 as pb


def message(*results: pb.EmbedResult, **header: Any) -> pb.EmbedResponse:
    fields: dict[str, Any] = {
        "layers": [2, 3], "hook": 1, "level": codes.LEVEL_NUCLEOTIDE, "d_model": 2,
        "value_type": codes.VALUE_TYPE_FLOAT32, "model_name": "m", **header,
    }  # fmt: skip
    return pb.EmbedResponse(header=pb.EmbedHeader(**fields), results=results)


def result(index: int, first: int, n_nucleotides: int, *rows: float) -> pb.EmbedResult:
    values = np.repeat(np.array(rows, "<f4"), 4).tobytes()
    part = pb.EmbeddedSequence(
        n_nucleotides=n_nucleotides, first_row=first, values=values
    )
    return pb.EmbedResult(index=index, embedded=part)


def refused(index: int) -> pb.EmbedResult:
    return pb.EmbedResult(index=index, rejection=codes.Rejection(message="no"))


def test_parts_are_put_together_in_order() -> None:
    found = embedded(
        [
            message(result(0, 0, 3, 1, 2)),
            message(result(0, 2, 3, 3), refused(1), result(2, 0, 1, 4)),
        ],
        3,
    )
    assert found.activations.shape == (4, 2, 2)
    assert found.activations[:, 0, 0].tolist() == [1, 2, 3, 4]
    assert found.row_offsets.tolist() == [0, 3, 3, 4]
    assert found.n_nucleotides.tolist() == [3, 0, 1]
    assert [one.index for one in found.rejections] == [1]
    assert found.of(0, 3)[:, 0].tolist() == [1, 2, 3]
    assert found.of(1, 2).shape == (0, 2)
    assert (found.layers, found.hook, found.pooling) == ((2, 3), "normed", None)


@pytest.mark.parametrize(
    ("index", "layer", "error"), [(3, 2, IndexError), (0, 4, ValueError)]
)
def test_what_is_not_there_is_said(
    index: int, layer: int, error: type[Exception]
) -> None:
    found = embedded([message(result(0, 0, 1, 1))], 1)
    with pytest.raises(error):
        found.of(index, layer)
    with pytest.raises(ValueError, match="None is none of"):
        found.of(0)


def test_pooled_sequences_have_a_row_each() -> None:
    header = {"level": codes.LEVEL_SEQUENCE, "pooling": codes.POOLING_MAX}
    found = embedded([message(result(0, 0, 9, 1), result(1, 0, 5, 2), **header)], 2)
    assert found.pooling == "max"
    assert found.row_offsets.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [message()],
        [message(result(0, 0, 3, 1, 2))],
        [message(result(0, 0, 1, 1, 2))],
        [message(result(0, 0, 1, 1), result(1, 0, 1, 1))],
        [message(result(0, 0, 1, 1), value_type=7)],
        [message(result(0, 0, 1, 1), d_model=3)],
    ],
    ids=range(7),
)
def test_an_answer_that_contradicts_itself_is_refused(
    messages: list[pb.EmbedResponse],
) -> None:
    with pytest.raises(ServerError):
        embedded(messages, 1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layers": [0]}, "layers: 0 is no layer"),
        ({"layers": [2**32]}, "is no layer"),
        ({"hook": "middle"}, "hook: 'middle' is not one of normed, raw"),
        ({"pooling": "count"}, "pooling: 'count' is not one of mean, max"),
    ],
    ids=str,
)
def test_a_bad_option_is_refused_before_it_is_sent(
    options: dict[str, Any], text: str
) -> None:
    defaults = {"layers": (), "hook": "normed", "pooling": None}
    with pytest.raises(InvalidRequestError, match=text):
        embed_request(["A"], **{**defaults, **options}, half=False, degap=False)


def test_what_no_message_can_hold_is_an_invalid_letter() -> None:
    with pytest.raises(InvalidSequenceError, match=r"sequences\[1\]: .* position 3 "):
        embed_request(["A", "AC\udcff"], (), "normed", None, False, False)
