"""Traceback: what it walks scores what the textbook says, and is written truly."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.rna.local_alignment import (
    LETTERS,
    AlignmentScoring,
    NucleotideArrays,
    align_locally,
)
from ribolex.rna.traceback import Alignment, Step, trace

pytestmark = pytest.mark.timeout(300)  # the first call compiles
NUMBERS = st.sampled_from([0.25, 0.5, 1.0, 1.7, 3.0])
SCORINGS = st.builds(
    lambda match, mismatch, costs: AlignmentScoring(
        match, -mismatch / 2, -mismatch, gap_open=max(costs), gap_extend=min(costs)
    ),
    NUMBERS,
    NUMBERS,
    st.tuples(NUMBERS, NUMBERS),
)


def textbook_score(pairs: np.ndarray, scoring: AlignmentScoring) -> float:
    """Smith and Waterman 1981: every length of every gap at every cell."""
    m, n = pairs.shape
    best = np.zeros((m + 1, n + 1))
    cost = [
        scoring.gap_open + k * scoring.gap_extend for k in range(-1, max(m, n))
    ]  # of k + 1 nucleotides
    for i in range(1, m + 1):
        for j in range(1, n + 1):
            ways = [0.0, best[i - 1, j - 1] + pairs[i - 1, j - 1]]
            ways += [best[i - k, j] - cost[k] for k in range(1, i + 1)]
            ways += [best[i, j - k] - cost[k] for k in range(1, j + 1)]
            best[i, j] = max(ways)
    return float(best.max())


def score_of(
    alignment: Alignment, pairs: np.ndarray, scoring: AlignmentScoring
) -> float:
    """Walks the steps as they are written."""
    i, j, total = alignment.query_start, alignment.target_start, 0.0
    for op, length in alignment.steps:
        if op == "M":
            total += sum(float(pairs[i + k, j + k]) for k in range(length))
        else:
            total -= scoring.gap_open + (length - 1) * scoring.gap_extend
        i, j = i + length * (op != "D"), j + length * (op != "I")
    assert (i, j) == (alignment.query_stop, alignment.target_stop)
    return total


@given(
    query=st.text("ACGUN", min_size=1, max_size=20),
    target=st.text("ACGUN", min_size=1, max_size=90),
    scoring=SCORINGS,
    width=st.sampled_from([0, 3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_the_way_back_scores_as_the_textbook(
    query: str, target: str, scoring: AlignmentScoring, width: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    if seed % 2:  # the long one is the query: several blocks of rows
        query, target = target, query
    arrays, products = [], np.zeros((len(query), len(target)))
    vectors = [
        generator.normal(size=(len(text), width)).astype(np.float32)
        for text in (query, target)
    ]
    for text, own in zip((query, target), vectors, strict=True):
        arrays.append(NucleotideArrays.of_sequences([text], own if width else None))
    pairs = scoring.letters[arrays[0].letters][:, arrays[1].letters].astype(np.float64)
    if width:
        products = vectors[0].astype(np.float64) @ vectors[1].T
    alignment = trace(arrays[0], arrays[1], scoring)
    expected = textbook_score(pairs + products, scoring)
    assert alignment.score == pytest.approx(expected, abs=1e-4)
    assert score_of(alignment, pairs + products, scoring) == pytest.approx(
        alignment.score, abs=1e-4
    )
    assert all(step.length > 0 for step in alignment.steps)
    if alignment.steps:
        assert alignment.steps[0].op == alignment.steps[-1].op == "M"


def test_many_at_once_score_and_end_as_one() -> None:
    generator = np.random.default_rng(0)
    texts = ["".join(generator.choice(list("ACGU"), 150)) for _ in range(18)]
    vectors = generator.normal(size=(18 * 150, 16)).astype(np.float32) / 4
    arrays = NucleotideArrays.of_sequences(texts, vectors)
    query = arrays.take(np.array([0]))
    found = align_locally(query, arrays, LETTERS)
    for i in range(len(arrays)):
        one = trace(query, arrays.take(np.array([i])), LETTERS)
        assert found.scores[i] == pytest.approx(one.score, rel=1e-4)
        assert (found.query_stops[i], found.target_stops[i]) == (
            one.query_stop,
            one.target_stop,
        )


def test_an_alignment_is_written_with_its_gaps() -> None:
    query, target = "AAACGGUCAACGUUGACUUGC", "CCCGGUCAACAAGUUGACAUGCAA"
    alignment = trace(
        NucleotideArrays.of_sequences([query]),
        NucleotideArrays.of_sequences([target]),
        LETTERS,
    )
    steps = Step("M", 8), Step("D", 2), Step("M", 10)
    score = alignment.score
    assert score == pytest.approx(17 - 0.9 - 2.4 - 0.45)
    assert alignment == Alignment(score, 3, 21, 2, 22, steps)
    rows = alignment.rows(query, target)
    assert rows == ("CGGUCAAC--GUUGACUUGC", "CGGUCAACAAGUUGACAUGC")
    assert alignment.identity(query, target) == 17 / 20
    assert len(alignment) == 20
    pairs = alignment.pairs()
    assert pairs[[0, 7, 8, -1]].tolist() == [[3, 2], [10, 9], [11, 12], [20, 21]]


def test_a_gap_in_the_target_is_written_too() -> None:
    query, target = "CGGUCAACAAGUUGACUUGC", "CGGUCAACGUUGACUUGC"
    alignment = trace(
        NucleotideArrays.of_sequences([query]),
        NucleotideArrays.of_sequences([target]),
        LETTERS,
    )
    assert alignment.steps == (Step("M", 8), Step("I", 2), Step("M", 10))
    assert alignment.rows(query, target).target == "CGGUCAAC--GUUGACUUGC"


@pytest.mark.parametrize("texts", [("AAAA", "CCCC"), ("", "ACGU"), ("ACGU", "")])
def test_nothing_alike_gives_an_empty_alignment(texts: tuple[str, str]) -> None:
    query, target = (NucleotideArrays.of_sequences([text]) for text in texts)
    alignment = trace(query, target, LETTERS)
    assert alignment == Alignment(0, 0, 0, 0, 0, ())
    assert alignment.rows(*texts) == ("", "")
    assert alignment.pairs().shape == (0, 2)
    assert alignment.identity(*texts) == 0


def test_hostile_numbers_are_refused() -> None:
    one = NucleotideArrays.of_sequences(["ACGU"], np.ones((4, 2), np.float32))
    two = NucleotideArrays.of_sequences(["A", "C"])
    with pytest.raises(InvalidRequestError, match="finite"):
        trace(one, one.weighted(math.nan), LETTERS)
    with pytest.raises(InvalidRequestError, match="gap_extend"):
        trace(one, one, AlignmentScoring(gap_extend=0))
    with pytest.raises(InvalidRequestError, match="expected one"):
        trace(two, two, LETTERS)
    with pytest.raises(InvalidRequestError, match="vectors"):
        trace(one, NucleotideArrays.of_sequences(["ACGU"]), LETTERS)
