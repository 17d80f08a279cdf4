"""Comparing groups: against scipy, a full bootstrap, and what must not be found."""

import numpy as np
import pytest
from scipy import stats

from ribolex.dictionary import SequenceCode
from ribolex.dictionary.groups import Contrast, Sample, compare_groups, mid_ranks

N, M, WIDTH = 90, 40, 60


def codes_of(table: np.ndarray) -> list[SequenceCode]:
    return [
        SequenceCode(np.flatnonzero(row).astype(np.uint32), row[row > 0])
        for row in table.astype(np.float32)
    ]


def noise(seed: int, n: int = N, width: int = WIDTH) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(
        random.random((n, width)) < 0.4, random.exponential(1, (n, width)), 0
    )


def compare(
    table: np.ndarray,
    units: np.ndarray | None = None,
    shuffled: np.ndarray | None = None,
    n_first: int = M,
) -> Contrast:
    own = np.arange(len(table)) if units is None else units
    other = None if shuffled is None else codes_of(shuffled)
    return compare_groups(
        Sample(codes_of(table), other, n_first, own), table.shape[1], 0
    )


def planted(seed: int) -> np.ndarray:
    """Noise, and five features that are larger in the first group."""
    table = noise(seed)
    table[:M, :5] += np.random.default_rng(seed).exponential(2, (M, 5))
    return table


def test_ranks_are_scipys() -> None:
    table = np.round(noise(3), 1)
    np.testing.assert_array_equal(mid_ranks(table), stats.rankdata(table, axis=0))


def test_of_single_rnas_it_is_mann_and_whitneys_test() -> None:
    table, half = planted(0), N // 2
    found = compare(table, n_first=half)
    for j in range(WIDTH):
        expected = stats.mannwhitneyu(
            table[:half, j], table[half:, j], use_continuity=False, method="asymptotic"
        )
        auroc = expected.statistic / half**2
        assert found.effect.value[j] == pytest.approx(2 * auroc - 1, abs=1e-6)
        assert found.p_value[j] == pytest.approx(expected.pvalue, rel=1e-6)
    fires = table > 0
    np.testing.assert_allclose(
        found.shares, [fires[:half].mean(0), fires[half:].mean(0)], atol=1e-12
    )
    q_values = stats.false_discovery_control(found.p_value)
    np.testing.assert_allclose(found.q_value, q_values)


def test_a_planted_difference_is_found_and_nothing_else() -> None:
    found = compare(planted(0))
    assert set(np.flatnonzero(found.q_value < 0.05)) == {0, 1, 2, 3, 4}
    assert (found.effect.low[:5] > 0).all()
    assert (found.log_ratio.low[:5] > 0).all()


def test_random_halves_of_one_set_differ_in_nothing() -> None:
    p_values = np.concatenate([compare(noise(seed)).p_value for seed in range(8)])
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert all((compare(noise(seed)).q_value > 0.05).all() for seed in range(3))


def test_relatives_are_no_evidence_of_their_own() -> None:
    """What a family has all its RNAs have: as many observations as families."""
    random = np.random.default_rng(5)
    naive, sound = [], []
    for _ in range(10):
        sizes = random.integers(3, 9, 18)
        units = np.repeat(np.arange(18), sizes)
        first = random.random(18) < 0.5
        order = np.argsort(~first[units], kind="stable")
        table = random.exponential(1, (18, WIDTH))[units][order]
        table += 0.05 * random.random(table.shape)
        n_first = int(first[units].sum())
        naive.append(compare(table, n_first=n_first).p_value)
        sound.append(compare(table, units[order], n_first=n_first).p_value)
    assert np.mean(np.concatenate(naive) < 0.05) > 0.2
    assert 0.01 < np.mean(np.concatenate(sound) < 0.05) < 0.08


def test_a_small_group_against_a_large_one_differs_in_nothing() -> None:
    """Rare features, whose sums of ranks are skewed when few RNAs are drawn."""
    p_values = []
    for seed, n_first in enumerate((5, 5, 10, 20)):
        random = np.random.default_rng(seed)
        table = random.exponential(1, (600, 200))
        table[random.random(table.shape) > np.geomspace(0.01, 0.1, 200)] = 0
        found = compare(table, n_first=n_first)
        p_values.append(found.p_value)
        assert (found.q_value > 0.05).all()
    assert np.mean(np.concatenate(p_values) < 1e-3) < 0.003
    assert 0.01 < np.mean(np.concatenate(p_values) < 0.05) < 0.06


@pytest.mark.parametrize("likeness", [0.0, 0.4, 0.8])
@pytest.mark.parametrize(
    "sizes", [([20] * 10, [1] * 300), ([1] * 10, [10] * 80), ([20] * 5, [2] * 100)]
)
def test_few_families_against_many_differ_in_nothing(
    sizes: tuple[list[int], list[int]], likeness: float
) -> None:
    """Families of one group large, of the other small, their RNAs alike or not."""
    units = np.repeat(np.arange(len(sizes[0] + sizes[1])), sizes[0] + sizes[1])
    random = np.random.default_rng(int(10 * likeness) + len(units))
    shape = (len(units), 400)
    rates = np.geomspace(0.02, 0.5, 400)
    of_family = (random.random(shape) < rates)[units]
    fires = np.where(
        random.random(shape) < likeness, of_family, random.random(shape) < rates
    )
    found = compare(fires * random.random(shape), units, n_first=sum(sizes[0]))
    assert (found.q_value <= 0.05).sum() <= 1  # one in twenty such tests may find one
    assert np.mean(found.p_value < 1e-3) < 0.006
    assert np.mean(found.p_value < 0.05) < 0.08


def test_what_few_large_families_have_is_found() -> None:
    units = np.repeat(np.arange(310), [20] * 10 + [1] * 300)
    random = np.random.default_rng(1)
    shape = (len(units), 200)
    rates = np.full((310, 200), 0.1)
    rates[:10, :20] = 0.9
    fires = (random.random((310, 200)) < rates)[units]
    fires ^= random.random(shape) < 0.05
    found = compare(fires * random.random(shape), units, n_first=200)
    assert set(np.flatnonzero(found.q_value < 0.05)) == set(range(20))


def test_families_shared_by_the_groups_are_their_own_controls() -> None:
    """What tells families apart is not mistaken; a difference inside them is found."""
    random = np.random.default_rng(3)
    of_family = 3 * random.exponential(1, (20, WIDTH))
    units = np.tile(np.arange(20), 6)
    table = of_family[units] + random.exponential(1, (120, WIDTH))
    table[:60, 0] += 3
    found = compare(table, units, n_first=60)
    assert found.smallest_p == 0
    assert np.flatnonzero(found.q_value < 0.05).tolist() == [0]
    assert (found.p_value[1:] < 0.05).mean() < 0.15


def test_one_shared_family_does_not_make_few_families_many() -> None:
    units = np.repeat(np.arange(311), [20] * 10 + [2] + [1] * 300)
    random = np.random.default_rng(4)
    table = (random.random((311, 400)) < 0.3)[units] * random.random((502, 400))
    found = compare(table, units, n_first=201)
    assert found.smallest_p == 0
    assert np.mean(found.p_value < 1e-3) < 0.01


def test_no_p_is_below_that_of_the_rarest_deal() -> None:
    units = np.repeat(np.arange(8), 10)
    table = np.where(np.arange(80) < 40, 1.0, 2.0)[:, None] * np.ones((80, 3))
    found = compare(table, units, n_first=40)
    assert found.smallest_p == pytest.approx(2 / 70)
    np.testing.assert_allclose(found.p_value, 2 / 70)
    assert compare(planted(0)).smallest_p < 1e-20


def test_two_families_against_each_other_are_two_observations() -> None:
    units = (np.arange(N) >= M).astype(np.int64)
    found = compare(planted(0), units)
    assert (found.p_value > 0.2).all()


def test_intervals_are_those_of_a_full_bootstrap() -> None:
    """The simple twin: units drawn, everything worked out again."""
    table = planted(1)[:, :8]
    units = np.concatenate([np.arange(M) // 2, 100 + np.arange(N - M) // 2])
    units = np.unique(units, return_inverse=True)[1]
    found = compare(table, units)
    random = np.random.default_rng(0)
    names, drawn = np.unique(units), []
    for _ in range(400):
        chosen = random.choice(names, len(names))
        rows = np.concatenate([np.flatnonzero(units == unit) for unit in chosen])
        one, other = table[rows[rows < M]], table[rows[rows >= M]]
        wins = (one[:, None] > other[None]) + 0.5 * (one[:, None] == other[None])
        drawn.append(2 * wins.mean((0, 1)) - 1)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(found.effect.low, low, atol=0.06)
    np.testing.assert_allclose(found.effect.high, high, atol=0.06)


def test_what_composition_explains_is_marked() -> None:
    table = planted(0)
    none = compare(table).is_composition_only
    assert none is None
    same = compare(table, shuffled=table)
    assert same.is_composition_only is not None
    assert same.is_composition_only.all()
    assert same.shuffled is not None
    np.testing.assert_allclose(same.shuffled, same.effect.value)
    other = compare(table, shuffled=noise(9))
    assert other.is_composition_only is not None
    assert not other.is_composition_only[:5].any()
    opposite = compare(table, shuffled=table[::-1].copy(), n_first=N // 2)
    assert opposite.is_composition_only is not None
    assert not opposite.is_composition_only[:5].any()


def test_what_hardly_fires_is_not_tested() -> None:
    table = np.zeros((20, 4))
    table[:5, 1] = 1
    table[:4, 2] = 1
    assert compare(table, n_first=10).features.tolist() == [1]
    nothing = compare(np.zeros((20, 4)), n_first=10)
    assert len(nothing.features) == len(nothing.q_value) == 0
    assert len(nothing.effect.value) == 0


def test_the_same_seed_gives_the_same_and_work_can_be_ended() -> None:
    first, second = compare(planted(2)), compare(planted(2))
    np.testing.assert_array_equal(first.effect.low, second.effect.low)

    def check() -> None:
        raise TimeoutError

    sample = Sample(codes_of(planted(2)), None, M, np.arange(N))
    with pytest.raises(TimeoutError):
        compare_groups(sample, WIDTH, 0, check)
