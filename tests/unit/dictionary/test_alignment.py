"""What a dictionary aligns by: vectors that add up, files that hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from ribolex.dictionary import AlignmentModel, Codes, alignment
from ribolex.dictionary.alignment import LETTERS_OF_STATES, N_STATES
from ribolex.errors import CorruptArtefactError, InvalidRequestError
from ribolex.rna.extreme_value import ExtremeValue

N_FEATURES, WIDTH = 40, 6
WHERE = Path("alignment.safetensors")
STATISTICS = json.dumps(ExtremeValue(0.7, 3.0, 1.0, 1.2).to_numbers())


def model(seed: int = 0) -> AlignmentModel:
    random = np.random.default_rng(seed)
    return AlignmentModel(
        random.standard_normal((N_FEATURES, WIDTH)).astype(np.float16).astype("f4"),
        1.5,
        random.standard_normal((5, 5)).astype(np.float32),
        2.5,
        0.5,
        random.standard_normal((4, 31, WIDTH)).astype(np.float16).astype("f4"),
        ExtremeValue(0.7, 3.0, 1.0, 1.2),
    )


def codes(rows: list[list[int]], seed: int = 1) -> Codes:
    random = np.random.default_rng(seed)
    indices = np.array([x for row in rows for x in sorted(row)], np.uint32)
    return Codes(
        np.cumsum([0, *map(len, rows)]),
        indices,
        random.random(len(indices), np.float32) + np.float32(0.1),
        N_FEATURES,
    )


ROWS = st.lists(
    st.lists(st.integers(0, N_FEATURES - 1), unique=True, max_size=5), max_size=8
)


@given(ROWS)
def test_a_vector_is_the_sum_of_its_features_parts(rows: list[list[int]]) -> None:
    found, given_codes = model(), codes(rows)
    parts, vectors = found.parts(given_codes), found.vectors(given_codes)
    for i in range(len(rows)):
        own = slice(given_codes.indptr[i], given_codes.indptr[i + 1])
        total = parts[own] @ found.embedding[given_codes.indices[own]]
        np.testing.assert_allclose(vectors[i], total, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_long_rnas_get_the_same_vectors(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, given_codes = model(), codes([[], [0, 2], [], [], [1], [], [2, 1], []])
    expected = found.vectors(given_codes)
    monkeypatch.setattr(alignment, "_SUMMED_AT_ONCE", at_once)
    np.testing.assert_array_equal(found.vectors(given_codes), expected)


@given(ROWS)
def test_a_pair_gets_similarity_times_the_cosine(rows: list[list[int]]) -> None:
    vectors = model().vectors(codes(rows))
    for row, vector in zip(rows, vectors, strict=True):
        length = float(vector @ vector)
        assert length == pytest.approx(1.5 if row else 0.0, rel=1e-4)


def test_a_state_is_the_nearest_centroid_of_the_letter() -> None:
    found = model()
    letters = np.arange(25, dtype=np.uint8) % 5
    vectors = np.random.default_rng(1).standard_normal((25, WIDTH)).astype(np.float32)
    states = found.states(letters, vectors)
    scores = found.state_scores(letters, vectors)
    for letter, vector, state in zip(letters, vectors, states, strict=True):
        assert LETTERS_OF_STATES[state] == letter
        if letter < 4:
            far = np.linalg.norm(found.centroids[letter] - vector, axis=1)
            assert state - 31 * letter == far.argmin()
    for i, state in ((0, 0), (7, 100), (13, 40)):
        centroid = found.centroids[state // 31, state % 31]
        expected = found.letters[letters[i], state // 31] + vectors[i] @ centroid
        assert scores[i, state] == pytest.approx(expected, rel=1e-5)
    assert (scores[:, N_STATES - 1] == found.letters[letters, 4]).all()


def test_a_file_gives_back_what_was_written() -> None:
    wrote = model()
    read = AlignmentModel.from_bytes(wrote.to_bytes(), WHERE)
    for name in ("embedding", "letters", "centroids"):
        np.testing.assert_array_equal(getattr(read, name), getattr(wrote, name))
    assert read.statistics == wrote.statistics
    assert (read.similarity, read.gap_open, read.gap_extend) == (1.5, 2.5, 0.5)
    assert read.to_bytes() == wrote.to_bytes()


def test_codes_of_another_dictionary_are_refused() -> None:
    other = Codes(np.zeros(1, np.int64), np.empty(0, "u4"), np.empty(0, "f4"), 7)
    with pytest.raises(InvalidRequestError, match="7 features, expected 40"):
        model().vectors(other)


@pytest.mark.parametrize(
    ("tensor", "content"),
    [
        ("centroids", np.zeros((4, 31, 5), np.float16)),
        ("letters", np.zeros((4, 4), np.float32)),
        ("letters", np.full((5, 5), np.nan, np.float32)),
        ("numbers", np.array([1.0, 0.0, 0.5])),
        ("numbers", np.array([-1.0, 2.0, 0.5])),
        ("more", np.zeros(1, np.float32)),
    ],
)
def test_a_file_that_cannot_be_is_refused(tensor: str, content: np.ndarray) -> None:
    data = model().to_bytes()
    tensors = {**load(data), tensor: content}
    with pytest.raises(CorruptArtefactError, match=r"alignment\.safetensors"):
        AlignmentModel.from_bytes(save(tensors, {"statistics": STATISTICS}), WHERE)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_cut_short_is_refused(keep: int) -> None:
    with pytest.raises(CorruptArtefactError):
        AlignmentModel.from_bytes(model().to_bytes()[:keep], WHERE)
