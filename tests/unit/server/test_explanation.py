"""Explanations: the parts sum to the score, and the text shows what is alike."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.dictionary import Codes
from ribolex.rna.local_alignment import NucleotideArrays
from ribolex.rna.traceback import Alignment, trace
from ribolex.server.index.explanation import Aligned, Explanation, explain

pytestmark = pytest.mark.timeout(300)  # the first call compiles


@dataclass(frozen=True)
class PlainModel:
    """Vectors are sums of values times embeddings, of no certain length."""

    embedding: np.ndarray
    letters: np.ndarray
    gap_open: float = 2.0
    gap_extend: float = 0.5

    def parts(self, codes: Codes) -> np.ndarray:
        return codes.values

    def vectors(self, codes: Codes) -> np.ndarray:
        out = np.zeros((len(codes), self.embedding.shape[1]), np.float32)
        rows = codes.rows_of_entries()
        np.add.at(out, rows, self.embedding[codes.indices] * codes.values[:, None])
        return out


def codes_of(rows: list[dict[int, float]], n_features: int) -> Codes:
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    entries = [entry for row in rows for entry in sorted(row.items())]
    indices = np.array([x for x, _ in entries], np.uint32)
    values = np.array([x for _, x in entries], np.float32)
    return Codes(indptr, indices, values, n_features)


def align(
    query: Aligned, target: Aligned, model: PlainModel
) -> tuple[Alignment, Explanation]:
    arrays = [
        NucleotideArrays.of_sequences([rna.sequence], model.vectors(rna.codes))
        for rna in (query, target)
    ]
    alignment = trace(arrays[0], arrays[1], model)
    return alignment, explain(alignment, query, target, model)


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
    model = PlainModel(
        generator.normal(size=(12, 5)).astype(np.float32),
        (np.eye(5) * 1.5 - 0.5).astype(np.float32),
    )
    query, target = random_rna(generator, m, 12), random_rna(generator, n, 12)
    alignment, told = align(query, target, model)
    contributions = [feature.contribution for feature in told.features]
    total = sum(contributions) + told.letters + told.gaps
    assert total == pytest.approx(alignment.score, abs=1e-4)
    assert contributions == sorted(contributions, reverse=True)
    stretches = sum(stretch.score for stretch in told.stretches)
    assert stretches + told.gaps == pytest.approx(alignment.score, abs=1e-4)
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
    covered = {
        (stretch.query_start + k, stretch.target_start + k)
        for stretch in told.stretches
        for k in range(stretch.query_stop - stretch.query_start)
    }
    assert covered == pairs


def test_the_text_shows_letters_features_and_gaps() -> None:
    # Features 7 and 8 mean the same; 3 fires in both; letters alone say little.
    embedding = np.zeros((10, 2), np.float32)
    embedding[3], embedding[7], embedding[8] = [2, 0], [0, 2], [0, 2]
    model = PlainModel(embedding, (np.eye(5) * 2 - 1).astype(np.float32))
    ours = [{3: 1.0}] * 8 + [{7: 1.0}] * 6
    theirs: list[dict[int, float]] = [{}, {}, *[{3: 1.0}] * 8, {}, *[{8: 1.0}] * 6]
    query = Aligned("ACGUACGUGGGGGG", codes_of(ours, 10))
    target = Aligned("CCACGUACGAUGGAAGG", codes_of(theirs, 10))
    alignment, told = align(query, target, model)
    assert told.gaps == -2
    assert told.text.splitlines() == [
        "query   1 ACGUACGU-GGGGGG 14",
        "          |||||||: ||::||",
        "target  3 ACGUACGAUGGAAGG 17",
        "          f3       f7",
    ]
    first, second = told.stretches
    assert (first.query_start, first.query_stop, first.feature) == (0, 8, 3)
    assert (second.target_start, second.target_stop, second.feature) == (11, 17, 7)
    by_id = {feature.feature: feature for feature in told.features}
    assert by_id[3].contribution == pytest.approx(8 * 4)
    assert by_id[7].contribution == by_id[8].contribution == pytest.approx(6 * 2)
    assert by_id[3].target_positions.tolist() == list(range(2, 10))
    assert by_id[7].query_positions.tolist() == []
    assert alignment.score == pytest.approx(32 + 24 + told.letters - 2)


def test_long_alignments_are_broken_into_lines() -> None:
    model = PlainModel(np.ones((1, 1), np.float32), np.eye(5, dtype=np.float32))
    rna = Aligned("ACGUG" * 30, codes_of([{0: 1.0}] * 150, 1))
    _, told = align(rna, rna, model)
    lines = told.text.splitlines()
    assert [line[:11] for line in lines[::5]] == [
        "query    1 ",
        "query   61 ",
        "query  121 ",
    ]
    assert lines[0].endswith(" 60")
    assert lines[-2].endswith(" 150")
    assert lines[3].split() == ["f0"] * 3


def test_nothing_aligned_is_explained_by_nothing() -> None:
    model = PlainModel(np.ones((1, 1), np.float32), -np.ones((5, 5), np.float32))
    rna = Aligned("ACGU", codes_of([{}] * 4, 1))
    alignment, told = align(rna, rna, model)
    assert alignment.score == 0
    assert told == Explanation([], 0.0, 0.0, [], "")
