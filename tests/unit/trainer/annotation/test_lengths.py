"""Length alone is no evidence: coin flips go with nothing, what is planted is found."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats
from tests.unit.trainer.annotation.conftest import rows_of

from ribolex.dictionary.drawn_sums import drawn_moments, moment_tail
from ribolex.rna import Rna
from ribolex.trainer.annotation.findings import Finding, find
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.flips import flip
from ribolex.trainer.annotation.lengths import (
    MIN_MEMBERS,
    N_STRATA,
    WIDEST,
    ByLength,
    stratify,
)
from ribolex.trainer.annotation.measuring import Labelled, Steps, label, silent, weigh
from ribolex.trainer.annotation.profile import Selectivity, select_types
from ribolex.trainer.annotation.significance import Significance, assess

STEPS = Steps(silent, silent, silent)
TYPES = {"Gene;tRNA": 70, "Gene;miRNA": 90, "Gene;sRNA": 120, "Cis-reg;IRES": 260}


def draw_rnas() -> list[Rna]:
    """Gives 80 families of 25 RNAs, four types that differ in length but overlap."""
    generator = np.random.default_rng(0)
    out = []
    for family in range(80):
        kind = list(TYPES)[family % 4]
        middle = TYPES[kind] * np.exp(generator.normal(0, 0.35))
        for i in range(25):
            n = int(np.clip(middle * np.exp(generator.normal(0, 0.1)), 30, 900))
            labels = {
                "family_acc": f"RF{family:05d}",
                "type": kind,
                **({"clan": f"CL{family % 4}"} if family < 8 else {}),
            }
            letters = "".join(generator.choice(list("ACGU"), n))
            out.append(Rna(f"r{family}.1/{i}", letters, None, labels))
    return out


@pytest.fixture(scope="module")
def on() -> Labelled:
    rnas = draw_rnas()
    return label(rnas, rows_of(rnas))


def describe(
    firings: Firings, on: Labelled
) -> tuple[Significance, dict[int, list[Finding]], Selectivity]:
    measured = weigh(firings, on, STEPS)
    tests = assess(measured, on.material)
    found = find(measured, tests, on.material, None)
    return tests, found, select_types(measured.by_length, on.material)


def test_coin_flips_go_with_no_type_family_or_clan(on: Labelled) -> None:
    """Unless RNAs are compared with those of their length, nearly all of them do."""
    n = 64
    density = np.linspace(0.001, 0.01, n, dtype=np.float32)
    firings = flip(density, on.material)
    np.testing.assert_allclose(
        firings.counts / on.material.n_rows, density, rtol=0.3, atol=3e-4
    )
    tests, found, types = describe(firings, on)
    assert tests.is_supported.all()
    assert np.nanmin(tests.rnas) > 0.05
    assert not any(
        each.kind in ("type", "family", "clan")
        for own in found.values()
        for each in own
    )
    preferred = [types.preferred.count(name) for name in TYPES]
    assert max(preferred) < n * 0.5
    assert np.median(types.entropy) > 0.98
    # What stands on cards is about 1, and about 0, for all types.
    measured = weigh(firings, on, STEPS)
    is_type = [name.startswith("type:") for name in measured.rnas.labels.names]
    times = measured.rnas.precision / measured.rnas.chance
    assert np.abs(np.median(times[:, is_type], axis=0) - 1).max() < 0.03
    assert np.abs(measured.rnas.mcc[:, is_type].mean(0)).max() < 0.02


def test_what_is_planted_beside_length_is_found(on: Labelled) -> None:
    """Features fire anywhere, but more in short tRNAs, or in one family of them."""
    generator = np.random.default_rng(3)
    material = on.material
    metadata = [rna.metadata for rna in material.rnas]
    is_trna = np.array([each["type"] == "Gene;tRNA" for each in metadata])
    is_family = np.array([each["family_acc"] == "RF00012" for each in metadata])
    parts = []
    for has, times in ((is_trna, 2.5), (is_family, 40.0)):
        rate = np.where(has[material.rna_of_row], 0.003 * times, 0.003)
        fires = generator.random(material.n_rows) < rate
        parts.append(np.flatnonzero(fires).astype(np.int32))
    firings = Firings(
        np.cumsum([0, *map(len, parts)]).astype(np.int64),
        np.concatenate(parts),
        np.ones(sum(map(len, parts)), np.float32),
    )
    _, found, types = describe(firings, on)
    (trna,) = (each for each in found[0] if each.label == "type:Gene;tRNA")
    # 1 - (1 - rate) ** length, over what it is with the rates of all of that length.
    assert 1.3 < trna.enrichment < 2
    assert trna.enrichment_interval is not None
    assert 1 < trna.enrichment_interval[0] < trna.enrichment
    assert trna.enrichment < trna.enrichment_interval[1] < 2.2
    assert types.preferred[0] == "Gene;tRNA"
    assert [each.label for each in found[1]] == ["family:RF00012"]
    assert found[1][0].q_value < 1e-4
    # As a share of all that fire they are no more than everywhere: length hides it.
    measured = weigh(firings, on, STEPS)
    at = list(measured.rnas.labels.names).index("type:Gene;tRNA")
    assert measured.rnas.precision[0, at] < 1.2 * measured.rnas.base[at]


def by_length(lengths: list[int], n_features: int = 3) -> ByLength:
    generator = np.random.default_rng(7)
    shape = n_features, len(lengths)
    fires = generator.random(shape) < 1 - 0.99 ** np.array(lengths)
    table = sparse.csr_array(fires.astype(np.float32))
    return ByLength.of(table, np.array(lengths, np.float64))


def test_chance_is_a_draw_within_each_stratum() -> None:
    """Against the law itself: strata's hypergeometric laws convolved."""
    lengths = [50] * 60 + [100] * 70 + [200] * 55
    found = by_length(lengths)
    assert np.bincount(found.strata).tolist() == [60, 70, 55]
    drawn = [5, 12, 20]
    has = np.concatenate(
        [np.arange(n) < m for n, m in zip((60, 70, 55), drawn, strict=True)]
    )
    members = sparse.csr_array(has[:, None].astype(np.float32))
    counts = np.stack(
        [np.bincount(found.strata, row.toarray().ravel()) for row in found.fires]
    )
    for feature, fired in enumerate(counts.astype(int)):
        law = np.ones(1)
        for n, k, m in zip((60, 70, 55), fired, drawn, strict=True):
            law = np.convolve(law, stats.hypergeom(n, k, m).pmf(np.arange(m + 1)))
        places = np.arange(len(law))
        mean = found.expected(members)[feature, 0]
        assert mean == pytest.approx((law * places).sum())
        tail = law[::-1].cumsum()[::-1]
        for hits in places[(tail > 1e-3) & (tail < 0.9)]:
            asked = np.full((3, 1), float(hits))
            got = found.test(asked, members)[feature, 0]
            # Rather too large than too small.
            assert 0.9 * tail[hits] < got < 1.7 * tail[hits]


def test_rnas_of_one_length_are_one_stratum() -> None:
    found = by_length([80] * 300)
    assert not found.strata.any()
    groups = np.arange(300) // 3
    has = np.zeros((100, 2), bool)
    has[:20, 0] = has[50:90, 1] = True
    shares = found.fires.toarray().reshape(3, 100, 3).mean(2) - found.rates
    moments = drawn_moments(shares.T, np.array([20, 40]))
    expected = moment_tail(shares @ has, moments, step=0.0)
    np.testing.assert_allclose(found.test_groups(groups, has), expected, rtol=1e-6)


def test_a_label_that_all_of_a_length_have_is_never_certain() -> None:
    found = by_length([50] * 60 + [200] * 60)
    groups = np.arange(120)
    has = (groups < 60)[:, None]
    assert (found.test_groups(groups, has) == 1).all()
    members = sparse.csr_array(has.astype(np.float32))
    hits = (found.fires @ members).toarray().astype(np.float64)
    assert (found.test(hits, members) > 0.5).all()


@given(st.lists(st.integers(1, 60), max_size=400), st.integers(1, 9))
def test_strata_are_ranges_of_lengths_with_members_enough(
    drawn: list[int], times: int
) -> None:
    lengths = np.array(drawn * times, np.float64)
    strata = stratify(lengths)
    order = np.argsort(lengths, kind="stable")
    assert (np.diff(strata[order]) >= 0).all()
    for value in set(drawn):
        assert len(set(strata[lengths == value])) == 1
    sizes = np.bincount(strata)
    assert (sizes > 0).all()
    if len(lengths) >= MIN_MEMBERS:
        assert sizes.min() >= MIN_MEMBERS
    for stratum, size in enumerate(sizes[:-1]):
        own = lengths[strata == stratum]
        last = (own == own.max()).sum()
        # Neither more than its share, nor wide, before its last length was added.
        assert size - last < max(len(lengths) / N_STRATA, MIN_MEMBERS)
        before = own[own < own.max()]
        if len(before) >= MIN_MEMBERS:
            assert own.max() <= WIDEST * own.min()


def test_rows_of_whole_rnas_flip_by_their_length(on: Labelled) -> None:
    lengths = on.material.lengths
    n = len(lengths)
    whole = replace(
        on.material,
        offsets=np.arange(n + 1),
        rna_of_row=np.arange(n, dtype=np.int32),
        positions=np.full(n, -1, np.int32),
    )
    firings = flip(np.full(200, 0.2, np.float32), whole)
    rates = np.bincount(firings.rows, minlength=n) / 200
    expected = 1 - 0.8 ** (lengths / lengths.mean())
    assert np.corrcoef(rates, expected)[0, 1] > 0.9
    assert rates.mean() == pytest.approx(expected.mean(), rel=0.03)
