"""Folds, shapes, intervals and consensus, each on its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.trainer.annotation.conftest import Drawn, draw_rnas, no_note

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.trainer.annotation.folding import SOURCE, fold_missing
from ribolex.trainer.annotation.profile import classify, consensus
from ribolex.trainer.annotation.redraws import N_DRAWS, Groups, redraw
from ribolex.trainer.annotation.walk import LONGEST, N_COVERS, Shapes, walk


def test_missing_structures_are_folded_once_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rna = pytest.importorskip("RNA", reason="ViennaRNA is an extra")
    cache = tmp_path / "deep" / "folds.sqlite"
    rnas = [
        Rna("bare", "GGGGAAAACCCC"),
        Rna("given", "GGGGAAAACCCC", "((((....))))"),
        Rna("long", "GGGGAAAACCCC" * 3),
    ]
    found = fold_missing(rnas, cache, no_note, longest=20)
    assert found[0].structure == "((((....))))"
    assert found[0].metadata[SOURCE].startswith("predicted by ViennaRNA 2")
    assert found[1:] == rnas[1:]
    monkeypatch.setattr(rna, "fold", lambda sequence: pytest.fail("folded again"))
    assert fold_missing(rnas, cache, no_note, longest=20) == found


def test_folding_without_viennarna_says_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "RNA", None)
    with pytest.raises(InvalidRequestError, match=r"ribolex\[fold\]"):
        fold_missing(draw_rnas(0, 3), tmp_path / "folds", no_note)


def test_a_cache_that_is_none_is_an_error_of_the_disk(tmp_path: Path) -> None:
    pytest.importorskip("RNA", reason="ViennaRNA is an extra")
    cache = tmp_path / "folds"
    cache.write_text("no database, surely" * 99)
    with pytest.raises(OSError, match="folds"):
        fold_missing([Rna("r", "GGGGAAAACCCC")], cache, no_note)


def shapes_of(runs: int, longest: int, cover: float, gap: int = 0) -> Shapes:
    """Gives one feature that lies alike in ten RNAs."""
    tables = [np.zeros((1, LONGEST + 1), np.int64) for _ in range(3)]
    tables[0][0, min(longest, LONGEST)] = tables[1][0, runs] = 10
    tables[2][0, gap or 5] = 10 * (runs - 1)
    tables[2][0, 9] += 0 if gap else 20 * (runs - 1)
    tables[2][0, 12] += 0 if gap else 20 * (runs - 1)
    covers = np.zeros((1, N_COVERS + 1), np.int64)
    covers[0, int(cover * N_COVERS)] = 10
    some = np.array([10])
    longest_run, n_runs, gaps = tables
    empty = np.zeros((1, 21, 4), np.float32), np.zeros((1, 21, 7), np.float32)
    return Shapes(some, some, longest_run, n_runs, covers, gaps, *empty)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (shapes_of(1, 1, 0.05), ("point", 1, 0)),
        (shapes_of(2, 6, 0.1), ("motif", 6, 0)),
        (shapes_of(1, 30, 0.4), ("stretch", 30, 0)),
        (shapes_of(1, 99, 0.9), ("whole", LONGEST, 0)),
        (shapes_of(7, 2, 0.3), ("scattered", 2, 0)),
        (shapes_of(7, 1, 0.3, gap=3), ("periodic", 1, 3)),
    ],
)
def test_shapes_have_names(shapes: Shapes, expected: tuple[str, int, int]) -> None:
    found = classify(shapes, np.array([True]))
    assert (found.shape[0], found.run_length[0], found.period[0]) == expected
    assert classify(shapes, np.array([False])).shape == ["rare"]
    nowhere = replace(shapes, n_rnas=np.array([0]))
    assert classify(nowhere, np.array([False])).shape == ["dead"]


def test_consensus_says_what_most_families_have() -> None:
    shares = np.full((7, 4), 0.25, np.float32)
    shares[2] = [0, 0, 0.9, 0.1]
    shares[3] = [0.45, 0.05, 0.45, 0.05]
    shares[4] = [0.6, 0.2, 0.1, 0.1]
    assert consensus(shares) == "GRa"
    assert consensus(np.full((7, 4), 0.25, np.float32)) == "."


@pytest.mark.parametrize("n_strata", [1, 3])
def test_redraws_are_weighted_sums_over_clans(drawn: Drawn, n_strata: int) -> None:
    material, labels = drawn.material, drawn.labels
    clans = material.clans[material.rna_of_row]
    strata = material.rna_of_row.astype(np.int64) % n_strata
    features = np.array([0, 1, 3, 3])
    chosen = np.array([0, labels.names.index("structure:stem"), 2, 3])
    groups = Groups(clans, strata)
    found = redraw(drawn.firings, labels, groups, features, chosen, seed=5)
    n_clans = material.n_clans
    weights = np.random.default_rng(5).poisson(1.0, (n_clans, N_DRAWS))
    for pair, (feature, label) in enumerate(zip(features, chosen, strict=True)):
        own = slice(*drawn.firings.offsets[feature : feature + 2])
        rows = drawn.firings.rows[own]
        slot = labels.slots[:, labels.slot_of[label]]
        for draw in range(0, N_DRAWS, 37):
            weight = weights[clans, draw] * (slot != -2)
            total = weight[rows].sum()
            if not total:
                assert np.isnan(found.precision[pair, draw])
                continue
            share = weight[rows][slot[rows] == label].sum() / total
            np.testing.assert_allclose(found.precision[pair, draw], share, rtol=1e-5)
            has = np.bincount(strata, weight * (slot == label), n_strata)
            everywhere = has / np.maximum(np.bincount(strata, weight, n_strata), 1)
            base = (weight * everywhere[strata])[rows].sum() / total
            np.testing.assert_allclose(found.base[pair, draw], base, rtol=1e-5)


def test_firing_on_both_partners_is_seen(drawn: Drawn) -> None:
    """A feature that fires in pairs of partners beats all turns of it."""
    partners = drawn.pairing.partners
    left = np.flatnonzero(partners > np.arange(len(partners)))[::2]
    rows = np.sort(np.concatenate([left, partners[left]])).astype(np.int32)
    firings = replace(
        drawn.firings,
        offsets=np.array([0, len(rows)]),
        rows=rows,
        values=np.ones(len(rows), np.float32),
    )
    found = walk(firings, drawn.labels, drawn.pairing, drawn.material, no_note)
    both, paired, mean, variance, _ = found.chance.both[0]
    assert both == paired == len(rows)
    assert both > mean + 3 * np.sqrt(variance)
