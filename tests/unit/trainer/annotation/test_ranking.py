"""Rankings and walks are what counting one by one gives."""

from itertools import groupby

import numpy as np
from tests.unit.trainer.annotation.conftest import Drawn, no_note

from ribolex.trainer.annotation.ranking import rank
from ribolex.trainer.annotation.walk import N_TURNS, REACH, walk


def scores_of(drawn: Drawn, feature: int) -> np.ndarray:
    own = slice(*drawn.firings.offsets[feature : feature + 2])
    out = np.zeros(drawn.material.n_rows)
    out[drawn.firings.rows[own]] = drawn.firings.values[own]
    return out


def test_rankings_are_those_of_the_simple_definitions(drawn: Drawn) -> None:
    found = rank(drawn.firings, drawn.labels, no_note)
    labels = drawn.labels
    for feature in range(drawn.firings.n_features):
        scores = scores_of(drawn, feature)
        for label in range(0, len(labels), 3):
            own = labels.slots[:, labels.slot_of[label]]
            known, has = own != -2, own == label
            if not has.any():
                continue
            yes, no = scores[has], scores[known & ~has]
            above = (yes[:, None] > no).mean() + 0.5 * (yes[:, None] == no).mean()
            np.testing.assert_allclose(found.auroc[feature, label], above, rtol=1e-5)
            precision, f1, recalled = 0.0, 0.0, 0
            for threshold in sorted(set(scores[known]), reverse=True):
                taken = scores[known] >= threshold
                hits = int((scores[has] >= threshold).sum())
                precision += (hits - recalled) / has.sum() * hits / taken.sum()
                recalled = hits
                if threshold > 0:
                    f1 = max(f1, 2 * hits / (taken.sum() + has.sum()))
            np.testing.assert_allclose(
                found.average_precision[feature, label], precision, rtol=1e-5
            )
            np.testing.assert_allclose(found.f1[feature, label], f1, rtol=1e-5)
            fires = scores > 0
            assert found.hits[feature, label] == (fires & has).sum()
            assert found.drawn[feature, label] == (fires & known).sum()
            if fires[known].any() and not fires[known].all():
                r = np.corrcoef(fires[known], has[known])[0, 1]
                np.testing.assert_allclose(found.mcc[feature, label], r, atol=1e-6)


def test_moments_are_those_of_all_turns_of_clans(drawn: Drawn) -> None:
    material, labels = drawn.material, drawn.labels
    found = walk(drawn.firings, labels, drawn.pairing, material, no_note)
    partners = drawn.pairing.partners
    for feature in range(drawn.firings.n_features):
        fires = scores_of(drawn, feature) > 0
        moments = np.zeros((len(labels) + 1, 3))
        seen = np.zeros(len(labels) + 1)
        members = groupby(range(len(material.rnas)), lambda i: material.clans[i])
        for _, rnas in members:
            hits = np.zeros((N_TURNS, len(labels) + 1))
            for rna in rnas:
                start, stop = material.offsets[rna], material.offsets[rna + 1]
                own = fires[start:stop]
                for turn in range(N_TURNS):
                    turned = np.roll(own, (stop - start) * turn // N_TURNS)
                    for row in start + np.flatnonzero(turned):
                        for label in labels.slots[row]:
                            hits[turn, label] += label >= 0
                        partner = partners[row]
                        hits[turn, -1] += partner >= 0 and turned[partner - start]
            off = hits - hits.mean(0)
            seen += hits[0]
            moments += np.stack([hits.mean(0), (off**2).mean(0), (off**3).mean(0)], 1)
        np.testing.assert_allclose(
            found.chance.moments[feature], moments[:-1], atol=1e-6
        )
        np.testing.assert_allclose(
            found.chance.both[feature, 2:], moments[-1], atol=1e-6
        )
        assert found.chance.both[feature, 0] == seen[-1]


def test_support_shapes_and_peaks_are_counted_by_rna(drawn: Drawn) -> None:
    material, labels = drawn.material, drawn.labels
    found = walk(drawn.firings, labels, drawn.pairing, material, no_note)
    for feature in range(drawn.firings.n_features):
        scores = scores_of(drawn, feature)
        rows = np.flatnonzero(scores)
        rnas = material.rna_of_row[rows]
        assert found.shapes.n_rnas[feature] == len(set(rnas))
        assert found.shapes.n_families[feature] == len(set(material.families[rnas]))
        for label in range(0, len(labels), 5):
            own = rows[labels.slots[rows, labels.slot_of[label]] == label]
            with_it = set(material.rna_of_row[own].tolist())
            assert found.chance.support[feature, label] == len(with_it)
            families = {int(material.families[rna]) for rna in with_it}
            assert found.chance.families[feature, label] == len(families)
        part = slice(*found.peaks.offsets[feature : feature + 2])
        letters = np.zeros((2 * REACH + 1, 4))
        by_family: dict[int, list[np.ndarray]] = {}
        for rna, value, row in zip(
            found.peaks.rows[part],
            found.peaks.values[part],
            found.peak_rows[part],
            strict=True,
        ):
            start, stop = material.offsets[rna], material.offsets[rna + 1]
            assert value == scores[start:stop].max() == scores[row]
            assert row == start + scores[start:stop].argmax()
            around = np.zeros_like(letters)
            for place in range(-REACH, REACH + 1):
                if start <= row + place < stop:
                    around[place + REACH, labels.slots[row + place, 0]] = 1
            by_family.setdefault(int(material.families[rna]), []).append(around)
        if by_family:
            letters = np.mean([np.mean(each, 0) for each in by_family.values()], 0)
        np.testing.assert_allclose(found.shapes.letters[feature], letters, atol=1e-6)
        assert found.shapes.longest_run[feature].sum() == len(set(rnas))
