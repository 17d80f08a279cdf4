"""Pooled codes are found, whatever became of them since, as if all were compared."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.processors import told_by_wide_and_narrow
from tests.small_blocks import shrink_blocks

from ribolex.server.index import pooled as pooled_module
from ribolex.server.index import pooled_blocks
from ribolex.server.index.forward import Likeness, WeightedCode
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.pooled import PooledSearch, View
from ribolex.server.index.pooled_blocks import PooledBlock
from ribolex.server.index.pooled_kernels import match_places, sift
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.records import PooledCode
from ribolex.server.index.sketch import fit_basis

N_FEATURES = 300
IDF = np.linspace(0.1, 3, N_FEATURES).astype(np.float32)
COUNT = SearchMeasure()
COSINE = SearchMeasure("max", idf_power=0.5, likeness="cosine")
ROWS = st.dictionaries(st.integers(0, N_FEATURES - 1), st.integers(1, 400), max_size=9)

pytestmark = pytest.mark.timeout(300)  # the first calls compile


def code(row: dict[int, int]) -> PooledCode:
    values = np.array([row[f] for f in sorted(row)], np.float32)
    return PooledCode(np.array(sorted(row), np.uint32), values, values)


def kin(n: int, seed: int = 0) -> list[PooledCode]:
    """Codes in families of ten that have most features in common."""
    random = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, N_FEATURES + 1) ** 0.5
    popularity /= popularity.sum()
    out = []
    for i in range(n):
        if i % 10 == 0:
            common = random.choice(N_FEATURES, 60, replace=False, p=popularity)
        own = random.choice(N_FEATURES, 20, replace=False, p=popularity)
        features = {*random.permutation(common)[:40].tolist(), *own.tolist()}
        out.append(code({f: int(random.geometric(0.5)) for f in features}))
    return out


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch.setattr, rows=64, first_fit=40)
    monkeypatch.setattr(pooled_module, "_ALL", 10)


@contextmanager
def opened(
    folder: Path | None = None, measure: SearchMeasure = COUNT, n_threads: int = 1
) -> Iterator[PooledSearch]:
    files = None if folder is None else BlockFolder(folder, "basis", PooledBlock)
    with closing(PooledSearch(measure, IDF, folder=files, n_threads=n_threads)) as made:
        yield made


def dense(search: PooledSearch, one: PooledCode) -> np.ndarray:
    vector = np.zeros(N_FEATURES)
    weighed = search.weigh(one)
    vector[weighed.features] = weighed.weights
    return vector


def likeness(kind: Likeness, one: np.ndarray, other: np.ndarray) -> float:
    """The simple twin of what the index computes."""
    if kind == "cosine":
        return float(one @ other)
    larger = np.maximum(one, other).sum()
    return float(np.minimum(one, other).sum() / larger) if larger else 0.0


def check_scores(
    search: PooledSearch, measure: SearchMeasure, truth: dict[int, PooledCode]
) -> None:
    for query in list(truth.values())[:5]:
        found = search.nearest(search.weigh(query), 999, exact=True)
        mine = dense(search, query)
        scores = dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
        for rna_id, other in truth.items():
            expected = likeness(measure.likeness, mine, dense(search, other))
            assert scores.get(rna_id, 0) == pytest.approx(expected, abs=1e-6)
            parts = search.parts(search.weigh(query), rna_id).contributions
            assert parts.sum() == pytest.approx(expected, abs=1e-6)
        assert scores.keys() <= truth.keys()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("measure", [COUNT, COSINE], ids=["jaccard", "cosine"])
@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(0, 90), ROWS | st.none(), max_size=50), max_size=8
    )
)
def test_scores_are_those_of_what_was_put_last(
    tmp_path_factory: pytest.TempPathFactory,
    measure: SearchMeasure,
    changes: list[dict[int, dict[int, int] | None]],
) -> None:
    """Also across removals, blocks, packing, and opening the folder again."""
    folder = tmp_path_factory.mktemp("blocks")
    truth: dict[int, PooledCode] = {}
    states: dict[int, int] = {}
    with opened(folder, measure) as search:
        for change, rows in enumerate(changes):
            gone = [i for i, row in rows.items() if row is None]
            search.index.remove(gone)
            stored = {i: code(row) for i, row in rows.items() if row is not None}
            search.index.put(list(stored), change, list(stored.values()))
            for i in gone:
                truth.pop(i, None)
            truth |= stored
            states |= dict.fromkeys(stored, change)
            assert len(search.index) == len(truth)
        check_scores(search, measure, truth)
        peaks = search.index.peaks(3, 100)
        assert {i for i, one in truth.items() if 3 in one.features} == set(
            np.flatnonzero(peaks).tolist()
        )
    with opened(folder, measure) as again:
        ids = np.array(sorted(truth), np.int64)
        current = np.array([states[i] for i in ids.tolist()], np.int64)
        assert again.index.recall(ids, current).tolist() == []
        check_scores(again, measure, truth)


@pytest.mark.usefixtures("small_blocks")
def test_what_changed_behind_a_closed_index_is_missing(tmp_path: Path) -> None:
    codes = kin(100)
    with opened(tmp_path / "b") as search:
        search.index.put(range(100), 1, codes)
    with opened(tmp_path / "b") as search:
        changes = np.array([2 if i in (3, 70) else 1 for i in range(90)])
        missing = search.index.recall(np.arange(90), changes)
        assert missing.tolist() == [3, 70]
        assert len(search.index) == 88
        found = search.nearest(search.weigh(codes[95]), 99, exact=True)
        assert set(found.ids.tolist()) <= set(range(90)) - {3, 70}


@pytest.mark.usefixtures("small_blocks")
def test_a_damaged_block_is_read_anew(tmp_path: Path) -> None:
    with opened(tmp_path / "b") as search:
        search.index.put(range(200), 1, kin(200))
    damaged = sorted((tmp_path / "b").glob("*.block"))[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with opened(tmp_path / "b") as search:
        missing = search.index.recall(np.arange(200), np.ones(200, np.int64))
        assert missing.tolist() == list(range(64, 128))


@pytest.mark.parametrize("measure", [COUNT, COSINE], ids=["jaccard", "cosine"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_candidates_hold_the_nearest(
    monkeypatch: pytest.MonkeyPatch, measure: SearchMeasure, n_threads: int
) -> None:
    shrink_blocks(monkeypatch.setattr, rows=1024, first_fit=600)
    monkeypatch.setattr(pooled_module, "_ALL", 10)
    monkeypatch.setattr(pooled_module, "_FIRST_SIFTED", 256)
    monkeypatch.setattr(pooled_module, "_FIRST_COMPARED", 64)
    codes = kin(2000)
    is_even = np.arange(2000) % 2 == 0
    with opened(None, measure, n_threads) as search:
        search.index.put(range(2000), 1, codes)
        found = n_compared = 0
        for query in map(search.weigh, codes[:200:10]):
            for allowed in (None, is_even):
                truth = search.nearest(query, 4, allowed, exact=True)
                fourth = np.sort(truth.scores)[-4]
                got = search.nearest(query, 4, allowed)
                found += int(np.count_nonzero(got.scores >= fourth - 1e-9))
                n_compared += len(got.ids)
                assert allowed is None or allowed[got.ids].all()
    assert found / 160 >= 0.98
    assert n_compared / 40 < 700


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    ("n_alike", "n_other"), [(900, 0), (700, 50), (450, 300), (150, 600), (40, 600)]
)
def test_many_that_are_alike_are_a_tie_and_no_fault(
    monkeypatch: pytest.MonkeyPatch, n_alike: int, n_other: int, n_threads: int
) -> None:
    """They share a sketch, so that a search cannot tell near ones from far ones."""
    monkeypatch.setattr(pooled_module, "_FIRST_SIFTED", 32)
    monkeypatch.setattr(pooled_module, "_FIRST_COMPARED", 8)
    one, *others = kin(1 + n_other)
    codes = [one] * n_alike + others
    random = np.random.default_rng(n_alike)
    is_one = random.permutation(np.arange(len(codes)) < n_alike)
    codes = [one if is_it else others.pop() for is_it in is_one]
    found = []
    with opened(None, COUNT, n_threads) as search:
        search.index.put(range(len(codes)), 1, codes)
        for query in map(search.weigh, [one, *kin(30, 1)[::10], *codes[::40]]):
            for allowed in (None, random.random(len(codes)) < 0.7):
                truth = search.nearest(query, 4, allowed, exact=True)
                got = search.nearest(query, 4, allowed)
                best = np.sort(truth.scores)[-4:]
                found.append(np.sort(got.scores)[-4:] >= best - 1e-9)
        assert len(search.nearest(search.weigh(one), 4).ids) < 200
    assert np.mean(found[:2]) == 1
    assert np.mean(found) >= 0.98


def test_updates_do_not_fill_the_index(small_blocks: None, tmp_path: Path) -> None:
    codes = kin(50)
    with opened(tmp_path / "b") as search:
        for change in range(40):
            search.index.put(range(50), change, codes)
        assert sum(len(part.block) for part in search.index.parts()) < 200
        assert len(list((tmp_path / "b").glob("*.block"))) < 4
        assert len(search.nearest(search.weigh(codes[0]), 99, exact=True).ids) == 50


def test_a_search_ends_when_nobody_waits(small_blocks: None) -> None:
    def check() -> None:
        raise TimeoutError

    with opened() as search:
        search.index.put(range(100), 1, kin(100))
        for exact in (True, False):
            query = search.weigh(kin(1)[0])
            with pytest.raises(TimeoutError):
                search.nearest(query, 5, exact=exact, check=check)


def test_an_empty_code_is_like_nothing() -> None:
    with opened() as search:
        search.index.put([0, 1], 1, [code({}), code({5: 1})])
        assert len(search.nearest(search.weigh(code({})), 5).ids) == 0
        assert search.nearest(search.weigh(code({5: 2})), 5).ids.tolist() == [1]


def test_signs_tell_who_is_near() -> None:
    """Their distance rises as the product of the centred codes falls."""
    random = np.random.default_rng(2)
    axes = random.normal(size=(12, N_FEATURES))
    codes = np.abs(random.normal(size=(400, 12)) @ axes).astype(np.float32)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    basis = fit_basis(codes.copy())
    place = np.stack([codes @ half for half in basis.directions], axis=1) - basis.shift
    sides = np.packbits(place > 0, axis=2, bitorder="little").view(np.uint64)[..., 0]
    features = np.arange(N_FEATURES, dtype=np.uint32)
    distances = [
        signs_apart(basis.ask(WeightedCode(features, one, one)), sides) for one in codes
    ]
    centred = codes - codes.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    found = np.corrcoef(np.ravel(distances), (centred @ centred.T).ravel())[0, 1]
    assert found < -0.75


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 150), st.integers(0, 2**32), st.booleans())
def test_those_with_the_nearest_signs_are_sifted(
    n_wanted: int, seed: int, is_filtered: bool
) -> None:
    random = np.random.default_rng(seed)
    with opened() as search:
        codes = kin(150, seed)
        search.index.put(range(150), 1, codes)
        search.index.remove(random.choice(150, 30, replace=False).tolist())
        allowed = random.random(140 if is_filtered else 0) < 0.7
        query, view = search.weigh(codes[0]), View.of(search.index.parts())
    bases = [part.basis for part in view.parts]
    asked = np.array([basis.ask(query) for basis in bases if basis], np.uint64)
    twin = {}
    for number, part in enumerate(view.parts):
        for row in np.flatnonzero(part.is_alive).tolist():
            rna_id = part.block.rna_ids[row]
            if not is_filtered or (rna_id < 140 and allowed[rna_id]):
                sides = part.block.signs[:, row]
                twin[64 * number + row] = signs_apart(asked[number], sides[None])[0]
    chosen = np.arange(len(view.parts))
    places, distances = sift(view.blocks, chosen, 64, asked, allowed, n_wanted)
    assert places.tolist() == sorted(set(places.tolist()))
    assert distances.tolist() == [twin[place] for place in places.tolist()]
    assert min(n_wanted, len(twin)) <= len(places) <= 2 * n_wanted
    left = [twin[place] for place in twin.keys() - {*places.tolist()}]
    assert max(distances, default=0) <= min(left, default=np.inf)


def test_processors_without_wide_registers_count_the_same() -> None:
    program = """
import numpy as np
from ribolex.server.index.pooled_kernels import Columns, match_places, sift
random = np.random.default_rng(5)
shapes = (2, 640), (600, 16), (1, 7)
signs, bits, asked = (random.integers(0, 2**64, shape, np.uint64) for shape in shapes)
asked[0, 6] = 40
is_alive, ids = random.random(600) < 0.9, np.arange(600)
arrays = ids, is_alive, bits, signs
where = [array.__array_interface__["data"][0] for array in arrays]
block = Columns(600, 640, where[0], where[1], 0, 0, 0, 0, 0, where[2], where[3])
blocks, anybody = np.array([block]), np.empty(0, bool)
found = sift(blocks, np.zeros(1, np.int64), 600, asked, anybody, 20)
shared = np.empty(len(found[0]), np.float32)
match_places(bits[3], blocks, found[0], 600, shared)
print([array.tolist() for array in (*found, shared)])
"""
    wide, narrow = told_by_wide_and_narrow(program)
    assert wide == narrow != ""


def test_bits_tell_what_codes_have_in_common() -> None:
    """Features, and those above the mean of their code, shared over all of both."""
    codes = [*kin(30), code({}), code({7: 2})]

    def marks(one: PooledCode) -> set[tuple[str, int]]:
        weights = dict(zip(one.features.tolist(), np.log1p(one.values), strict=True))
        mean = sum(weights.values()) / max(len(weights), 1)
        return {("any", f) for f in weights} | {
            ("more", f) for f, weight in weights.items() if weight > mean + 1e-6
        }

    with opened() as search:
        search.index.put(range(len(codes)), 1, codes)
        query, view = search.weigh(codes[3]), View.of(search.index.parts())
        out = np.empty(len(codes), np.float32)
        places = np.arange(len(codes))
        bits = pooled_blocks.bits_of(query, N_FEATURES)
        match_places(bits, view.blocks, places, pooled_blocks.ROWS, out)
    mine = marks(codes[3])
    expected = [
        len(mine & marks(one)) / max(len(mine | marks(one)), 1) for one in codes
    ]
    assert out == pytest.approx(expected, abs=1e-6)


def signs_apart(asked: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The simple twin of what `sift` counts."""
    total = np.full(len(sides), int(asked[6]))
    for word in range(2):
        own, more, most = asked[3 * word : 3 * word + 3]
        apart = sides[:, word] ^ own
        for mask, weight in ((~np.uint64(0), 1), (more, 2), (most, 4)):
            total += weight * np.bitwise_count(apart & mask)
    return total
