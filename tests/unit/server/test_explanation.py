"""Explanations: the parts sum to the score, and positions are where features fire."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.extreme_value import ExtremeValue
from ribolex.rna.local_alignment import NucleotideArrays
from ribolex.rna.traceback import Alignment, trace
from ribolex.server.index.explanation import Aligned, Explanation, explain

pytestmark = pytest.mark.timeout(300)  # the first call compiles


def model_of(embedding: np.ndarray, letters: np.ndarray) -> AlignmentModel:
    return AlignmentModel(
        embedding.astype(np.float32),
        4.0,
        letters.astype(np.float32),
        2.0,
        0.5,
        np.zeros((4, 31, embedding.shape[1]), np.float32),
        ExtremeValue(1.0, 0.0, 1.0, 1.0),
    )


def codes_of(rows: list[dict[int, float]], n_features: int) -> Codes:
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    entries = [entry for row in rows for entry in sorted(row.items())]
    indices = np.array([x for x, _ in entries], np.uint32)
    values = np.array([x for _, x in entries], np.float32)
    return Codes(indptr, indices, values, n_features)


def align(
    query: Aligned, target: Aligned, model: AlignmentModel, max_features: int = 1000
) -> tuple[Alignment, Explanation]:
    arrays = [
        NucleotideArrays.of_sequences([rna.sequence], model.vectors(rna.codes))
        for rna in (query, target)
    ]
    alignment = trace(arrays[0], arrays[1], model)
    return alignment, explain(alignment, query, target, model, max_features)


def random_rna(generator: np.random.Generator, n: int, n_features: int) -> Aligned:
    rows = [
        {
            int(x): float(generator.random()) + 0.1
            for x in generator.choice(n_features, generator.integers(0, 4), False)
        }
        for _ in range(n)
    ]
    text = "".join(generator.choice(list("ACGUN"), n))
    return Aligned(text, codes_of(rows, n_features))


@given(seed=st.integers(0, 10_000), m=st.integers(1, 60), n=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_all_parts_sum_to_the_score(seed: int, m: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    model = model_of(generator.normal(size=(12, 5)), np.eye(5) * 1.5 - 0.5)
    query, target = random_rna(generator, m, 12), random_rna(generator, n, 12)
    alignment, told = align(query, target, model)
    contributions = [feature.contribution for feature in told.features]
    total = sum(contributions) + told.letters + told.gaps
    assert total == pytest.approx(alignment.score, abs=1e-4)
    assert contributions == sorted(contributions, reverse=True)
    pairs = set(map(tuple, alignment.pairs().tolist()))
    for feature in told.features:
        at = list(zip(feature.query_positions, feature.target_positions, strict=True))
        expected = [
            (i, j)
            for i, j in sorted(pairs)
            if all(
                feature.feature in rna.codes.row(place).indices
                for rna, place in ((query, i), (target, j))
            )
        ]
        assert at == expected
    _, short = align(query, target, model, 3)
    assert len(short.features) == min(3, told.n_features) <= len(told.features)
    assert (short.letters, short.gaps) == (told.letters, told.gaps)
    assert short.others == pytest.approx(sum(contributions[3:]), abs=1e-5)


def test_what_means_the_same_counts_though_ids_differ() -> None:
    # Features 7 and 8 mean the same; 3 fires in both.
    embedding = np.zeros((10, 2))
    embedding[3], embedding[7], embedding[8] = [1, 0], [0, 1], [0, 5]
    model = model_of(embedding, np.eye(5) * 2 - 1)
    ours = [{3: 1.0}] * 8 + [{7: 1.0}] * 6
    theirs: list[dict[int, float]] = [{}, {}, *[{3: 2.0}] * 8, {}, *[{8: 1.0}] * 6]
    query = Aligned("ACGUACGUGGGGGG", codes_of(ours, 10))
    target = Aligned("CCACGUACGAUGGAAGG", codes_of(theirs, 10))
    alignment, told = align(query, target, model)
    assert (told.letters, told.gaps, told.n_features) == (14 - 2 * 3, -2, 3)
    by_id = {feature.feature: feature for feature in told.features}
    assert by_id[3].contribution == pytest.approx(8 * 4)
    assert by_id[7].contribution == pytest.approx(6 * 2)
    assert by_id[8].contribution == pytest.approx(6 * 2)
    assert by_id[3].query_positions.tolist() == list(range(8))
    assert by_id[3].target_positions.tolist() == list(range(2, 10))
    assert by_id[7].query_positions.tolist() == []
    assert alignment.score == pytest.approx(32 + 24 + 8 - 2)


def test_nothing_aligned_is_explained_by_nothing() -> None:
    model = model_of(np.ones((1, 1)), -np.ones((5, 5)))
    rna = Aligned("ACGU", codes_of([{}] * 4, 1))
    alignment, told = align(rna, rna, model)
    assert alignment.score == 0
    assert told == Explanation([], 0, 0.0, 0.0, 0.0)
