"""Activations of a batch: shared compute, each task's own rows."""

import numpy as np
import pytest

from ribolex.errors import InvalidRequestError, OverloadedError
from ribolex.lm import LanguageModel
from ribolex.lm.windows import cut
from ribolex.server.engine.embedding import DensePooling, EmbedTask, View
from ribolex.server.engine.task import compute
from ribolex.server.services.room import Room


def view(
    lm: LanguageModel, pooling: DensePooling | None = None, *, is_half: bool = False
) -> View:
    return View.of(lm, [2, 1], "normed", pooling, is_half=is_half)


def test_one_batch_serves_different_rows_of_one_sequence(lm: LanguageModel) -> None:
    views = [view(lm), view(lm, "mean"), view(lm, "max"), view(lm, is_half=True)]
    tasks = [EmbedTask(text, each) for each in views for text in ("GGGAAACCC", "AC")]
    assert len({task.key for task in tasks}) == 1
    found = compute(lm, tasks)
    whole = found[0].rows
    assert whole.shape == (9, 2, 32)
    assert [one.n_nucleotides for one in found] == [9, 2] * 4
    np.testing.assert_allclose(found[2].rows, whole.mean(0, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(found[4].rows, whole.max(0, keepdims=True))
    np.testing.assert_array_equal(found[6].rows, whole.astype(np.float16))


@pytest.mark.parametrize("pooling", [None, "mean", "max"])
@pytest.mark.parametrize("is_half", [False, True])
def test_a_long_rna_is_read_span_by_span_to_the_same(
    lm: LanguageModel, pooling: DensePooling | None, is_half: bool
) -> None:
    random = np.random.default_rng(2)
    text = "".join(random.choice(list("ACGU"), 2500))
    asked = view(lm, pooling, is_half=is_half)
    (found, short) = compute(lm, [EmbedTask(text, asked), EmbedTask("AC", asked)])
    (states,) = lm.activations([text], [1, 2])
    whole = np.stack([states[1], states[2]], axis=1)
    if pooling is not None:
        whole = getattr(whole, pooling)(axis=0, keepdims=True)
    assert (found.n_nucleotides, short.n_nucleotides) == (2500, 2)
    assert found.rows.dtype == (np.float16 if is_half else np.float32)
    np.testing.assert_allclose(
        found.rows, whole, atol=2e-3 if is_half else 1e-5, rtol=1e-3 if is_half else 0
    )


def test_float16_has_no_infinities(lm: LanguageModel) -> None:
    task = EmbedTask("ACGU", view(lm, is_half=True))
    states = np.full((4, 2, 32), 1e6, np.float32)
    states[1] *= -1
    draft = task.begin(lm)
    draft.take(cut(4)[0], states)
    assert {float(number) for number in draft.finish().rows.flat} == {65504.0, -65504.0}


def test_layers_and_hook_keep_batches_apart(lm: LanguageModel) -> None:
    views = [
        View.of(lm, [1], "normed", None, is_half=False),
        View.of(lm, [2], "normed", None, is_half=False),
        View.of(lm, [1], "raw", None, is_half=False),
    ]
    assert len({EmbedTask("ACGU", each).key for each in views}) == 3


def test_room_is_shared_and_given_back() -> None:
    room = Room(100)
    with room.hold(60, "sequences"):
        with pytest.raises(OverloadedError):
            room.hold(41, "sequences").__enter__()
        with room.hold(40, "sequences"):
            assert room.n_taken == 100
    with pytest.raises(ZeroDivisionError), room.hold(100, "sequences"):
        raise ZeroDivisionError
    assert room.n_taken == 0
    with pytest.raises(InvalidRequestError, match="101 bytes, expected at most 100"):
        room.hold(101, "sequences").__enter__()
