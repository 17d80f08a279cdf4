"""Near and remote cases: who is asked, who is taken out, and how hits are counted."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from ribolex.errors import CorruptInputError
from ribolex.lm import LanguageModel
from ribolex.rna import AlignmentRow, Rna
from ribolex.trainer.pretraining import retrieval
from ribolex.trainer.pretraining.rankings import (
    by_alignment,
    by_letters,
    by_means,
    by_words,
    fit_projections,
    represent,
)
from ribolex.trainer.pretraining.retrieval import (
    Case,
    CasePlan,
    Cases,
    Found,
    build_cases,
    identities,
    measure_order,
    measure_ranking,
    score_rankings,
)


def member(family: str, name: str, row: str) -> tuple[Rna, AlignmentRow]:
    sequence = row.replace("-", "")
    return (
        Rna(name, sequence, None, {"family_acc": family}),
        AlignmentRow(family, name, row),
    )


def drawn_rnas(n: int, length: int = 40, seed: int = 9) -> list[Rna]:
    generator = np.random.default_rng(seed)
    return [
        Rna(f"t{i}", "".join(generator.choice(list("ACGU"), length))) for i in range(n)
    ]


def one_family(
    rows: list[str], family: str = "RF1"
) -> tuple[list[Rna], list[AlignmentRow]]:
    pairs = [member(family, f"{family}/{i}", row) for i, row in enumerate(rows)]
    return [rna for rna, _ in pairs], [row for _, row in pairs]


def test_identity_counts_columns_without_gaps_only() -> None:
    found = identities(["ACGU--A", "ACGAC-A", "--uu---"])
    assert found[0, 1] == pytest.approx(4 / 5)
    assert found[0, 2] == pytest.approx(1 / 2)  # T is U, case does not count
    assert found[2, 2] == 1
    assert identities(["A-", "-A"])[0, 1] == 0


@pytest.mark.parametrize(("n_equal", "is_remote"), [(6, False), (5, True)])
def test_relatives_from_sixty_percent_on_are_taken_out(
    n_equal: int, is_remote: bool
) -> None:
    # Four members share no letter with the first; the fifth shares n of 10.
    apart = ["CCCCCCCCCC", "GGGGGGGGGG", "UUUUUUUUUU", "CCCCCGGGGG"]
    rows = ["A" * 10, "A" * n_equal + "C" * (10 - n_equal), *apart]
    rnas, aligned = one_family(rows)
    cases = build_cases([], rnas, aligned, CasePlan())
    (case,) = (c for c in cases.remote if cases.database[c.query] == rows[0])
    left = {cases.database[place] for place in case.relatives}
    assert (rows[1] in left) is is_remote
    assert left >= set(apart)
    assert set(case.excluded).isdisjoint(case.relatives)
    assert case.query in case.excluded


def test_members_without_a_remote_relative_are_near_queries_only() -> None:
    rnas, aligned = one_family(
        ["ACGUACGUA" + letter for letter in "ACGU"] + ["ACGUACGUCC"]
    )
    cases = build_cases([], rnas, aligned, CasePlan())
    assert len(cases.near) == 5
    assert all(len(case.relatives) == 4 for case in cases.near)
    assert cases.remote == []


def test_queries_are_of_families_of_five_and_twenty_a_family() -> None:
    large, large_rows = one_family([rna.sequence for rna in drawn_rnas(30)], "RF1")
    small, small_rows = one_family(
        [rna.sequence for rna in drawn_rnas(4, seed=1)], "RF2"
    )
    long, long_rows = one_family(["A" * n for n in range(509, 514)], "RF3")
    training = [
        Rna("copy", large[0].sequence),
        Rna("x", "ACGU" * 3),
        Rna("y", "G" * 513),
    ]
    cases = build_cases(
        training,
        [*large, *small, *long],
        [*large_rows, *small_rows, *long_rows],
        CasePlan(),
    )
    assert [case.family for case in cases.near] == ["RF1"] * 20
    # Unique, no longer than 512, the others' members among them.
    assert len(cases.database) == len(set(cases.database)) == 30 + 4 + 4 + 1


def test_few_queries_are_spread_over_the_families() -> None:
    tables = [
        one_family([r.sequence for r in drawn_rnas(8, seed=i)], f"RF{i}")
        for i in range(3)
    ]
    rnas = [rna for table, _ in tables for rna in table]
    rows = [row for _, table in tables for row in table]
    cases = build_cases(
        drawn_rnas(50, seed=7), rnas, rows, CasePlan(n_queries=6, members=5, n_others=9)
    )
    assert sorted(case.family for case in cases.near) == [
        "RF0",
        "RF0",
        "RF1",
        "RF1",
        "RF2",
        "RF2",
    ]
    assert len(cases.database) == 3 * 5 + 9


def test_without_alignment_rows_cases_are_near_only() -> None:
    rnas, rows = one_family([rna.sequence for rna in drawn_rnas(5)])
    cases = build_cases([], rnas, None, CasePlan())
    aligned = build_cases([], rnas, rows, CasePlan())
    assert [case.query for case in cases.near] == [case.query for case in aligned.near]
    assert cases.remote == []


def test_missing_or_short_alignment_row_is_named() -> None:
    rnas, rows = one_family([rna.sequence for rna in drawn_rnas(5)])
    with pytest.raises(CorruptInputError, match="RF1/4"):
        build_cases([], rnas, rows[:4], CasePlan())
    with pytest.raises(CorruptInputError, match="RF1/4"):
        build_cases(
            [], rnas, [*rows[:4], AlignmentRow("RF1", "RF1/4", "A")], CasePlan()
        )


def test_hits_are_counted_among_what_is_left() -> None:
    case = Case(0, "RF1", np.array([0, 1]), np.array([3, 4]))
    # Places 0 and 1 would lead but are out: the order is 3, 2, 4.
    scores = np.array([9, 8, 2, 3, 1], np.float32)
    p_at_1, recall, precision = measure_ranking(scores, case)
    assert p_at_1 == 1
    assert recall == 1
    assert precision == pytest.approx((1 + 2 / 3) / 2)


def test_a_short_list_of_hits_counts_no_more_than_it_holds() -> None:
    case = Case(0, "RF1", np.array([0]), np.array([3, 4]))
    assert measure_order(np.array([3]), case) == (1, 0.5, 0.5)
    assert measure_order(np.array([], np.int64), case) == (0, 0, 0)


def test_recall_is_over_what_ten_hits_can_hold() -> None:
    case = Case(0, "RF1", np.array([0]), np.arange(1, 31))
    scores = np.arange(60, 0, -1).astype(np.float32)
    assert measure_ranking(scores, case) == (1, 1, 1)
    assert measure_ranking(scores[::-1].copy(), case)[:2] == (0, 0)


def test_families_count_alike_however_many_queries_they_have() -> None:
    database = ["A", "C", "G", "U", "AA"]
    hit = [Case(q, "RF1", np.array([q]), np.array([4])) for q in range(3)]
    miss = [Case(3, "RF2", np.array([3]), np.array([0]))]
    cases = Cases(database, [*hit, *miss], miss)

    def rank(queries: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "last first": np.tile(np.arange(5, dtype=np.float32), (len(queries), 1))
        }

    scores = score_rankings(cases, rank)["last first"]
    assert scores.near.p_at_1 == pytest.approx(0.5)
    assert (scores.near.n_queries, scores.near.n_families) == (4, 2)
    assert scores.remote.p_at_1 == 0


def test_a_scan_that_was_stopped_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieval, "_QUERIES_A_PART", 5)
    cases = relatives_and_strangers()
    letters = by_letters(cases.database)
    kept: dict[str, Found] = {}
    asked: list[int] = []

    def recall(part: str, measure: Callable[[], Found]) -> Found:
        if part not in kept:
            kept[part] = measure()
        return kept[part]

    def rank(queries: np.ndarray) -> Mapping[str, np.ndarray]:
        if len(asked) == stop_at:
            raise KeyboardInterrupt
        asked.extend(queries.tolist())
        return letters(queries)

    stop_at = 10
    with pytest.raises(KeyboardInterrupt):
        score_rankings(cases, rank, None, recall)
    stop_at = -1
    scores = score_rankings(cases, rank, None, recall)
    assert asked == cases.queries.tolist()
    assert scores == score_rankings(cases, letters)


def relatives_and_strangers(n_members: int = 6) -> Cases:
    """Families whose members share the order of their letters, with insertions."""
    generator = np.random.default_rng(0)
    pairs = []
    for family in range(3):
        consensus = generator.choice(list("ACGU"), 50)
        for i in range(n_members):
            letters = consensus.copy()
            changed = generator.random(50) < 0.1
            letters[changed] = generator.choice(list("ACGU"), changed.sum())
            letters[generator.random(50) < 0.05] = "-"
            pairs.append(member(f"RF{family}", f"{family}/{i}", "".join(letters)))
    rnas, rows = zip(*pairs, strict=True)
    return build_cases(drawn_rnas(60, 50), rnas, rows, CasePlan())


def test_letters_and_words_find_relatives_among_strangers() -> None:
    cases = relatives_and_strangers()
    letters = score_rankings(cases, by_letters(cases.database))
    words = score_rankings(cases, by_words(cases.database, 4))
    for scores in (*letters.values(), *words.values()):
        assert scores.near.p_at_1 > 0.9
    assert set(letters) == {
        "letters, Smith-Waterman",
        "letters, Smith-Waterman / log length",
    }


def test_words_end_with_their_rna_and_shun_unknown_letters() -> None:
    rank = by_words(["ACGU", "UUAC", "ACGUN", "GGGG", "ACNGU"], 3)
    (scores,) = rank(np.array([0])).values()
    assert scores[0, 0] == pytest.approx(1)
    assert scores[0, 2] == pytest.approx(1)
    assert scores[0, 1] == scores[0, 3] == scores[0, 4] == 0


def test_representation_is_aligned_alone_with_letters_and_averaged(
    lm: LanguageModel,
) -> None:
    cases = relatives_and_strangers()
    sample = [rna.sequence for rna in drawn_rnas(30)]
    projections = fit_projections(lm, sample, 8, 3)
    (white, plain), means = represent(lm, cases.database, projections)
    for arrays, width in ((white, 8), (plain, 3)):
        vectors = arrays.vectors
        assert isinstance(vectors, np.ndarray)
        assert vectors.shape[1] == width
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
        np.testing.assert_allclose(norms, 1, atol=2e-3)
    aligned = score_rankings(cases, by_alignment(white, "model"))
    assert aligned["model and letters, aligned"].near.p_at_1 > 0.9
    assert set(aligned) == {"model, aligned", "model and letters, aligned"}
    assert list(score_rankings(cases, by_means(means, "model"))) == [
        "model, mean over the RNA, cosine"
    ]


def test_whitened_components_all_vary_alike(lm: LanguageModel) -> None:
    sample = [rna.sequence for rna in drawn_rnas(30)]
    white, plain = fit_projections(lm, sample, 6, 6)
    layer = lm.config.n_layers
    rows = np.concatenate([x[layer] for x in lm.activations(sample, [layer])])
    for projection, is_even in ((white, True), (plain, False)):
        projected = (rows - projection.mean) @ projection.directions
        covariance = np.cov(projected.T)
        is_one = np.allclose(np.diag(covariance), 1, atol=0.02)
        assert is_one is is_even
        off = covariance - np.diag(np.diag(covariance))
        assert np.abs(off).max() < 0.01
