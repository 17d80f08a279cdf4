"""Local alignment: the lanes agree with the textbook, and lengths are evened out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.processors import told_by_wide_and_narrow

from ribolex.errors import InvalidRequestError
from ribolex.rna.local_alignment import (
    LETTERS,
    LETTERS_WITH_VECTORS,
    VECTORS,
    AlignmentScoring,
    NucleotideArrays,
    SparseVectors,
    Vectors,
    align_locally,
    correct_for_length,
    local_scores,
)

pytestmark = pytest.mark.timeout(300)  # the first call compiles
TRANSITIONS = {"AG", "GA", "CU", "UC"}
sequence_lists = st.lists(
    st.text("ACGUN", min_size=1, max_size=24), min_size=1, max_size=70
)


def textbook_score(
    query: str, target: str, products: np.ndarray, scoring: AlignmentScoring
) -> float:
    """Gotoh's three matrices, cell by cell."""
    m, n = len(query), len(target)
    best = [[0.0] * (n + 1) for _ in range(m + 1)]
    down = [[-math.inf] * (n + 1) for _ in range(m + 1)]
    across = [[-math.inf] * (n + 1) for _ in range(m + 1)]
    for i in range(1, m + 1):
        for j in range(1, n + 1):
            a, b = query[i - 1], target[j - 1]
            letters = scoring.transversion
            if "N" in (a, b):
                letters = 0.0
            elif a == b:
                letters = scoring.match
            elif a + b in TRANSITIONS:
                letters = scoring.transition
            pair = scoring.similarity * products[i - 1, j - 1] + scoring.offset
            down[i][j] = max(
                down[i - 1][j] - scoring.gap_extend, best[i - 1][j] - scoring.gap_open
            )
            across[i][j] = max(
                across[i][j - 1] - scoring.gap_extend, best[i][j - 1] - scoring.gap_open
            )
            diagonal = best[i - 1][j - 1] + letters + pair
            best[i][j] = max(0.0, diagonal, down[i][j], across[i][j])
    return max(map(max, best))


def vectors_of(
    sequences: list[str], is_sparse: bool, generator: np.random.Generator
) -> tuple[Vectors, np.ndarray]:
    """Random vectors, a quarter of their entries in use, and the same as a table."""
    n = sum(map(len, sequences))
    dense = generator.normal(size=(n, 8)).astype(np.float32)
    dense[generator.random((n, 8)) < 0.75] = 0
    if not is_sparse:
        return dense, dense
    rows, columns = np.nonzero(dense)
    indptr = np.searchsorted(rows, np.arange(n + 1)).astype(np.int64)
    return (
        SparseVectors(indptr, columns.astype(np.uint32), dense[rows, columns], 8),
        dense,
    )


@pytest.mark.parametrize("is_sparse", [False, True])
@given(
    queries=sequence_lists.map(lambda x: x[:3]), targets=sequence_lists, data=st.data()
)
@settings(max_examples=15, deadline=None)
def test_lanes_score_as_the_textbook(
    is_sparse: bool, queries: list[str], targets: list[str], data: st.DataObject
) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    ours, our_table = vectors_of(queries, is_sparse, generator)
    theirs, their_table = vectors_of(targets, is_sparse, generator)
    scorings = [LETTERS, VECTORS, LETTERS_WITH_VECTORS]
    scores = local_scores(
        NucleotideArrays.of_sequences(queries, ours),
        NucleotideArrays.of_sequences(targets, theirs),
        scorings,
    )
    longest = 2 * math.prod(
        [
            float(np.linalg.norm(table, axis=1).max())
            for table in (our_table, their_table)
        ]
    )
    our_ends = np.cumsum([len(x) for x in queries])
    their_ends = np.cumsum([len(x) for x in targets])
    for i, query in enumerate(queries):
        for j, target in enumerate(targets):
            mine = our_table[our_ends[i] - len(query) : our_ends[i]]
            other = their_table[their_ends[j] - len(target) : their_ends[j]]
            for k, scoring in enumerate(scorings):
                expected = textbook_score(query, target, mine @ other.T, scoring)
                # Vectors count in 16 bits of the longest one.
                error = 5e-5 * longest * len(query) if scoring.similarity else 1e-5
                assert scores[k, i, j] == pytest.approx(expected, abs=error)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_taken_sequences_score_as_in_the_whole(is_sparse: bool) -> None:
    generator = np.random.default_rng(0)
    sequences = ["ACGUACC", "GGCAU", "CUNA", "UUGACAGU"]
    vectors, _ = vectors_of(sequences, is_sparse, generator)
    whole = NucleotideArrays.of_sequences(sequences, vectors)
    chosen = np.array([3, 0, 3])
    scores = local_scores(whole.take(chosen), whole, [VECTORS])
    np.testing.assert_array_equal(
        scores, local_scores(whole, whole, [VECTORS])[:, chosen]
    )


def test_half_precision_vectors_score_nearly_as_full_ones() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(40, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    full, half = (
        NucleotideArrays.of_sequences(["ACGU" * 5, "GGCA" * 5], vectors.astype(kind))
        for kind in (np.float32, np.float16)
    )
    expected = local_scores(full, full, [VECTORS])
    np.testing.assert_allclose(local_scores(full, half, [VECTORS]), expected, rtol=2e-3)


def test_a_gap_costs_its_opening_and_each_further_nucleotide() -> None:
    query = NucleotideArrays.of_sequences(["ACGGUCAACGUU" + "GACUUGCAGGAC"])
    target = NucleotideArrays.of_sequences(["ACGGUCAACGUU" + "AAA" + "GACUUGCAGGAC"])
    scores = local_scores(query, target, [LETTERS])
    assert scores[0, 0, 0] == pytest.approx(24 - 2.4 - 2 * 0.45, abs=1e-5)


def test_whole_numbers_score_as_well() -> None:
    one = NucleotideArrays.of_sequences(["ACGU"])
    scores = local_scores(one, one, [AlignmentScoring(2, -1, -1, offset=-0.5)])
    assert scores[0, 0, 0] == 6


def test_length_correction_divides_by_the_log_of_the_target() -> None:
    corrected = correct_for_length(np.full((1, 2), 10.0), np.array([100, 10_000]))
    assert corrected[0] == pytest.approx([10 / math.log(100), 10 / math.log(10_000)])


def test_vectors_must_be_there_and_of_one_kind() -> None:
    bare = NucleotideArrays.of_sequences(["ACGU"])
    narrow = NucleotideArrays.of_sequences(["ACGU"], np.zeros((4, 2), np.float32))
    wide = NucleotideArrays.of_sequences(["ACGU"], np.zeros((4, 3), np.float32))
    for queries, targets in ((bare, bare), (narrow, bare), (narrow, wide)):
        with pytest.raises(InvalidRequestError):
            local_scores(queries, targets, [VECTORS])
    with pytest.raises(InvalidRequestError):
        NucleotideArrays.of_sequences(["ACGU"], np.zeros((3, 2), np.float32))


def test_no_queries_and_no_targets_give_empty_scores() -> None:
    none, one = NucleotideArrays.of_sequences([]), NucleotideArrays.of_sequences(["AC"])
    assert local_scores(none, one, [LETTERS]).shape == (1, 0, 1)
    assert local_scores(one, none, [LETTERS]).shape == (1, 1, 0)


def of_random(
    lengths: list[int], width: int, generator: np.random.Generator
) -> NucleotideArrays:
    """Sequences of random letters and vectors."""
    sequences = ["".join(generator.choice(list("ACGU"), n)) for n in lengths]
    vectors = generator.normal(size=(sum(lengths), width)).astype(np.float32) / 4
    return NucleotideArrays.of_sequences(sequences, vectors)


def cut(arrays: NucleotideArrays, sequence: int, stop: int) -> NucleotideArrays:
    """The first nucleotides of one sequence."""
    taken = arrays.take(np.array([sequence]))
    assert isinstance(taken.vectors, np.ndarray)
    offsets = np.array([0, stop])
    return NucleotideArrays(taken.letters[:stop], offsets, taken.vectors[:stop])


@pytest.mark.parametrize("width", [1, 5, 32])
def test_an_alignment_ends_where_its_score_is_first_reached(width: int) -> None:
    generator = np.random.default_rng(width)
    query = of_random([37], width, generator)
    targets = of_random([1, 8, 60, 33, 90] * 5, width, generator)
    found = align_locally(query, targets, LETTERS)
    assert found.scores.min() > 0
    for i, (score, row, place) in enumerate(zip(*found, strict=True)):
        ours, theirs = cut(query, 0, row), cut(targets, i, place)
        whole = align_locally(ours, theirs, LETTERS).scores[0]
        assert whole == pytest.approx(score, abs=1e-3)
        for fewer in (
            (cut(query, 0, row - 1), theirs),
            (ours, cut(targets, i, place - 1)),
        ):
            assert align_locally(*fewer, LETTERS).scores[0] < score - 1e-3


def test_machines_without_wide_registers_score_the_same() -> None:
    program = """
import numpy as np
from ribolex.rna.local_alignment import LETTERS, NucleotideArrays, align_locally
generator = np.random.default_rng(3)
texts = ["".join(generator.choice(list("ACGU"), n)) for n in (20, 9, 33, 70)]
vectors = generator.normal(size=(132, 7)).astype(np.float32)
arrays = NucleotideArrays.of_sequences(texts, vectors)
found = align_locally(arrays.take(np.array([0])), arrays, LETTERS)
print([array.tolist() for array in found])
"""
    wide, narrow = told_by_wide_and_narrow(program)
    assert wide == narrow != ""


def test_hostile_numbers_are_refused() -> None:
    one = NucleotideArrays.of_sequences(["ACGU"], np.ones((4, 2), np.float32))
    broken = one.weighted(math.nan), one.weighted(math.inf)
    for bad in broken:
        with pytest.raises(InvalidRequestError, match="finite"):
            align_locally(one, bad, LETTERS)
    for costs in (
        {"gap_open": 0.0},
        {"gap_extend": -1.0},
        {"gap_extend": 3.0},
        {"gap_open": math.nan},
    ):
        with pytest.raises(InvalidRequestError, match="gap_extend"):
            align_locally(one, one, AlignmentScoring(**costs))
    two = NucleotideArrays.of_sequences(["A", "C"])
    with pytest.raises(InvalidRequestError, match="expected one"):
        align_locally(two, two, LETTERS)
