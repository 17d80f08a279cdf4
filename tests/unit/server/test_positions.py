"""The positional index and its scan against simple ones, and its life on disk."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.rna.test_scan import align

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.dictionary.alignment import N_STATES
from ribolex.rna.extreme_value import ExtremeValue
from ribolex.rna.local_alignment import NucleotideArrays
from ribolex.server.index import position_blocks, positions, scanning
from ribolex.server.index.position_blocks import (
    Block,
    Lettered,
    count_pieces,
    cut,
    join,
    pieces_of,
    seal,
    split,
    unseal,
)
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.positions import PositionalIndex
from ribolex.server.index.scanning import find_candidates, windows

pytestmark = pytest.mark.timeout(300)  # the first calls compile

N_FEATURES, WIDTH = 40, 4
CALM = settings(max_examples=40, deadline=None)
"""The first calls compile."""


def make_model(width: int = WIDTH) -> AlignmentModel:
    random = np.random.default_rng(5)
    letters = np.full((5, 5), -0.9, np.float32)
    letters[range(4), range(4)] = 1
    return AlignmentModel(
        embedding=random.normal(size=(N_FEATURES, width)).astype(np.float32),
        similarity=1.0,
        letters=letters,
        gap_open=2.4,
        gap_extend=0.45,
        centroids=random.normal(0, 0.5, (4, 31, width)).astype(np.float32),
        statistics=ExtremeValue(1.0, 1.0, 1.0, 1.0),
    )


MODEL = make_model()


class Drawn(NamedTuple):
    """An RNA drawn by chance."""

    rna_id: int
    change: int
    letters: np.ndarray
    codes: Codes

    def stored(self, model: AlignmentModel = MODEL) -> Lettered:
        vectors = model.vectors(self.codes)
        states = model.states(self.letters, vectors)
        return Lettered(self.rna_id, self.change, states, vectors)

    def arrays(self, model: AlignmentModel = MODEL) -> NucleotideArrays:
        bounds = np.array([0, len(self.letters)])
        return NucleotideArrays(self.letters, bounds, model.vectors(self.codes))


def lettered(rna_id: int, n: int, seed: int, change: int = 1) -> Drawn:
    random = np.random.default_rng([seed, rna_id])
    indices = np.argsort(random.random((n, N_FEATURES)), axis=1)[:, :5]
    values = random.exponential(size=(n, 5)).astype(np.float32)
    values[random.random((n, 5)) < 0.3] = 0
    return Drawn(
        rna_id,
        change,
        random.choice(5, n, p=[0.24, 0.24, 0.24, 0.24, 0.04]).astype(np.uint8),
        Codes.from_topk(indices, values, N_FEATURES),
    )


def cut_out(rna: Drawn, start: int, stop: int) -> Drawn:
    return rna._replace(
        letters=rna.letters[start:stop], codes=rna.codes.slice(start, stop)
    )


def make_index(folder: Path | None = None, basis: str = "b") -> PositionalIndex:
    place = None if folder is None else BlockFolder(folder, basis, Block)
    return PositionalIndex(place)


def put(index: PositionalIndex, *rnas: Drawn) -> None:
    index.put([rna.stored() for rna in rnas])


def search(
    index: PositionalIndex,
    query: Drawn,
    limit: int = 1000,
    allowed: np.ndarray | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[tuple[int, int, int, float]]:
    """RNA, start of the piece and of the part in it, z; best first."""
    seen = index.snapshot()
    alive = seen.alive(allowed)
    found = find_candidates(query.arrays(), MODEL, seen, alive, limit, check)
    out = []
    for block, piece, start, z in zip(*found, strict=True):
        at = seen.blocks[block]
        out.append(
            (int(at.rna_ids[piece]), int(at.starts[piece]), int(start), float(z))
        )
    return out


def simply(query: Drawn, rnas: dict[int, Drawn]) -> dict[tuple[int, int], float]:
    """Z of every piece that scores, cell by cell."""
    scores = MODEL.state_scores(query.letters, MODEL.vectors(query.codes))
    out: dict[tuple[int, int], float] = {}
    # Read when called: the tests change them.
    piece = position_blocks.PIECE, position_blocks.OVERLAP
    part = position_blocks.PART, position_blocks.PART_OVERLAP
    for first, last in cut(len(scores), scanning._WINDOW, scanning._WINDOW_OVERLAP):
        unit = 2.0 / 5.5 * max(1, (last - first) / 128) ** 0.5
        pairs = np.rint(scores[first:last] / unit).astype(int)
        gap = round((2.4 + 0.45) / 2 / unit)
        for rna_id, rna in rnas.items():
            states, n = rna.stored().states, len(rna.letters)
            for start, stop in cut(n, *piece):
                for begin, end in cut(stop - start, *part):
                    level = align(pairs[:, states[start + begin : start + end]], gap)
                    z = MODEL.statistics.standardise(level * unit, last - first, n)
                    if level:
                        before = out.get((rna_id, start), -np.inf)
                        out[rna_id, start] = max(before, float(z))
    return out


@CALM
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 30)), max_size=25),
    st.integers(1, 40),
    st.integers(0, 9),
)
def test_the_scan_scores_as_its_simple_twin(
    puts: list[tuple[int, int]], n_query: int, seed: int
) -> None:
    """Over small blocks, pieces, parts and windows, replacements, removals, packing."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (position_blocks, positions):
            patch.setattr(module, "SLOTS", 64, raising=False)
        for module, name, value in (
            (position_blocks, "PIECE", 20),
            (position_blocks, "OVERLAP", 7),
            (position_blocks, "PART", 9),
            (position_blocks, "PART_OVERLAP", 4),
            (scanning, "_WINDOW", 16),
            (scanning, "_WINDOW_OVERLAP", 5),
        ):
            patch.setattr(module, name, value)
        index = make_index()
        rnas: dict[int, Drawn] = {}
        for change, (rna_id, n) in enumerate(puts):
            if n == 30:
                index.remove([rna_id])
                rnas.pop(rna_id, None)
                continue
            rnas[rna_id] = lettered(rna_id, n, seed + change, change)
            put(index, rnas[rna_id])
        query = lettered(99, n_query, seed)
        expected = simply(query, rnas)
        found = search(index, query)
    assert {(rna, start) for rna, start, *_ in found} == set(expected)
    for rna, start, _, z in found:
        assert z == pytest.approx(expected[rna, start], rel=1e-4, abs=1e-4)
    assert [z for *_, z in found] == sorted((z for *_, z in found), reverse=True)


def test_among_many_that_score_all_8_bits_can_tell_the_best_are_found() -> None:
    index, query = make_index(), lettered(0, 250, 1)
    # Each has the whole query, the first ones with less and less of it spoiled.
    spoiled = [
        query._replace(
            rna_id=i,
            letters=np.concatenate([query.letters[:-i], 3 - query.letters[-i:] % 4]),
        )
        for i in range(100, 0, -10)
    ]
    put(index, *spoiled)
    found = search(index, query, 3)
    assert {rna for rna, *_ in found} == {10, 20, 30}


@CALM
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data())
def test_a_block_taken_apart_gives_its_pieces(
    sizes: list[int], data: st.DataObject
) -> None:
    parts = [
        piece
        for i, n in enumerate(sizes)
        for piece in pieces_of(lettered(i, n, 3).stored())
    ]
    kept = data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    left = list(split(unseal(seal(join(parts)), np.array(kept, bool))))
    expected = [part for part, is_kept in zip(parts, kept, strict=True) if is_kept]
    assert len(left) == len(expected)
    for one, other in zip(left, expected, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert (mine == theirs).all()


@CALM
@given(st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_lanes_hold_every_part_once(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(position_blocks, "PART", 25)
        patch.setattr(position_blocks, "PART_OVERLAP", 10)
        rnas = [lettered(i, n, 3).stored() for i, n in enumerate(sizes)]
        block = seal(join([piece for rna in rnas for piece in pieces_of(rna)]))
        expected = {
            (i, start): rna.states[start:stop].tolist()
            for i, rna in enumerate(rnas)
            for start, stop in cut(len(rna.states), 25, 10)
        }
    for lane, (piece, start) in enumerate(
        zip(block.lane_pieces, block.lane_starts, strict=True)
    ):
        first, last = block.group_places[lane // 64 : lane // 64 + 2]
        column = block.lanes[first:last, lane % 64]
        held = column[column < N_STATES].tolist()
        assert held == (expected.pop((piece, start)) if piece >= 0 else [])
    assert expected == {}


def test_vectors_come_back_to_a_part_in_two_hundred() -> None:
    drawn = lettered(1, 50, 0)
    vectors = MODEL.vectors(drawn.codes)
    vectors[-1] = 0
    index = make_index()
    index.put([drawn.stored()._replace(vectors=vectors)])
    (block,) = index.snapshot().blocks
    one = np.array([0], np.int32)
    found = block.targets(one, np.array([10]), np.array([50]))
    assert found.offsets.tolist() == [0, 40]
    assert (found.letters == drawn.letters[10:]).all()
    largest = np.abs(vectors[10:]).max(axis=1, keepdims=True)
    assert (np.abs(found.vectors - vectors[10:]) <= largest / 200).all()


def test_a_stretch_of_a_long_rna_is_found_where_it_lies() -> None:
    index, long = make_index(), lettered(1, 50_000, 1)
    put(index, long, *(lettered(i, 100, 2) for i in range(2, 60)))
    for start in (0, 3_000, 24_321, 49_924):
        query = cut_out(long, start, start + 76)
        rna, piece, part, _ = search(index, query, 5)[0]
        assert rna == 1
        assert piece + part <= start < piece + part + position_blocks.PART


def test_an_update_or_removal_is_seen_at_once() -> None:
    index = make_index()
    old, new = lettered(1, 80, 1), lettered(1, 80, 2, change=2)
    put(index, old, lettered(2, 80, 5))
    assert search(index, old)[0][0] == 1
    put(index, new)
    assert search(index, new)[0][0] == 1
    assert len([rna for rna, *_ in search(index, old) if rna == 1]) == 1
    index.remove([1, 777])
    assert {rna for rna, *_ in search(index, new)} == {2}


def test_only_what_is_allowed_is_found() -> None:
    index = make_index()
    put(index, *(lettered(i, 60, 1) for i in range(1, 40)))
    allowed = np.zeros(30, bool)
    allowed[[3, 17]] = True
    found = search(index, lettered(5, 60, 1), allowed=allowed)
    assert {rna for rna, *_ in found} == {3, 17}


def test_an_empty_index_finds_nothing() -> None:
    query = lettered(1, 60, 1)
    assert search(make_index(), query) == []
    index = make_index()
    put(index, lettered(1, 0, 1))
    assert search(index, query) == []
    put(index, query)
    assert search(index, lettered(2, 0, 1)) == []


def test_the_check_ends_a_scan_between_blocks() -> None:
    index = make_index()
    put(index, lettered(1, 9000, 1))
    calls = []

    def check() -> None:
        calls.append(1)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        search(index, lettered(2, 60, 1), check=check)
    assert len(calls) == 1


def test_threads_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "SLOTS", 500)
    index = make_index()
    put(index, *(lettered(i, 60, i % 9) for i in range(100)))
    seen, query = index.snapshot(), lettered(3, 60, 3).arrays()
    assert len(seen.blocks) > 10
    used = set()

    def check() -> None:
        used.add(threading.get_ident())

    alive = seen.alive()
    alone = find_candidates(query, MODEL, seen, alive, 20, check)
    with ThreadPoolExecutor(3) as pool:
        together = find_candidates(query, MODEL, seen, alive, 20, check, pool)
    assert len(used) > 1
    for one, other in zip(alone, together, strict=True):
        assert one.tolist() == other.tolist()


@CALM
@given(st.integers(0, 5000))
def test_windows_and_pieces_cover_all_and_overlap(n: int) -> None:
    for spans, overlap in ((list(windows(n)), 512), (list(cut(n, 4096, 1024)), 1024)):
        assert (spans[0][0], spans[-1][1]) == (0, n)
        for (_, stop), (start, _) in zip(spans[:-1], spans[1:], strict=True):
            assert stop - start == overlap
    assert count_pieces(np.array([n], np.int32)) == len(list(cut(n, 4096, 1024)))


def pieces_in(index: PositionalIndex) -> list[tuple[int, int]]:
    """RNA and start of every piece that a search sees."""
    seen = index.snapshot()
    pairs = np.stack([seen.pieces.rna_ids, seen.pieces.starts], axis=1)
    return sorted(map(tuple, pairs[seen.alive()].tolist()))


def restarted(folder: Path, rnas: list[Drawn], basis: str = "b") -> list[int]:
    """Opens the index anew; the ids it lacked, which are put."""
    index = make_index(folder, basis)
    ids = np.array([rna.rna_id for rna in rnas], np.int64)
    changes = np.array([rna.change for rna in rnas], np.int64)
    missing: list[int] = index.recall(ids, changes).tolist()
    by_id = {rna.rna_id: rna for rna in rnas}
    put(index, *(by_id[i] for i in missing))
    fresh = make_index()
    put(fresh, *rnas)
    query = lettered(4, 90, 4)
    assert sorted(search(index, query)) == sorted(search(fresh, query))
    assert pieces_in(index) == pieces_in(fresh)
    return missing


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """RNAs, most of them in blocks in a folder `p`, a long one in two blocks."""
    for module in (position_blocks, positions):
        monkeypatch.setattr(module, "SLOTS", 1000, raising=False)
    monkeypatch.setattr(position_blocks, "PIECE", 300)
    monkeypatch.setattr(position_blocks, "OVERLAP", 100)
    rnas = [lettered(i, 90, i) for i in range(40)]
    rnas[20] = lettered(20, 1500, 20)
    put(make_index(tmp_path / "p"), *rnas)
    return rnas


def test_a_restart_reads_blocks_from_files(tmp_path: Path, saved: list[Drawn]) -> None:
    missing = restarted(tmp_path / "p", saved)
    assert 0 < len(missing) < 12
    assert restarted(tmp_path / "p", saved[:10]) == []


def test_a_restart_catches_up_with_changes(tmp_path: Path, saved: list[Drawn]) -> None:
    saved[0] = lettered(0, 70, 77, change=5)
    saved[3] = lettered(50, 70, 78)
    missing = restarted(tmp_path / "p", saved)
    assert {0, 50} <= set(missing)
    assert 1 not in missing


def test_an_rna_of_which_a_piece_is_lost_is_read_anew(
    tmp_path: Path, saved: list[Drawn]
) -> None:
    index = make_index(tmp_path / "p")
    blocks = index.snapshot().blocks
    holding = [i for i, block in enumerate(blocks) if 20 in block.rna_ids]
    assert len(holding) > 1
    (tmp_path / "p" / f"{holding[0]:08}.block").unlink()
    assert 20 in restarted(tmp_path / "p", saved)


@pytest.mark.parametrize(("rna_id", "n"), [(3, 90), (60, 700)])
def test_what_is_there_twice_or_in_part_is_found_once(
    tmp_path: Path, saved: list[Drawn], rna_id: int, n: int
) -> None:
    """As after a kill while blocks are packed, or while a long RNA fills the last."""
    rna = lettered(rna_id, n, rna_id)
    folder = BlockFolder(tmp_path / "p", "b", Block)
    assert len(list(folder.open())) > 2
    folder.write(seal(next(pieces_of(rna.stored()))))
    others = [one for one in saved if one.rna_id != rna_id]
    assert rna_id in restarted(tmp_path / "p", [*others, rna])


def test_a_folder_keeps_blocks_that_nobody_else_holds(tmp_path: Path) -> None:
    folder = BlockFolder(tmp_path / "p", "b", Block)
    for i in range(30):
        folder.write(seal(next(pieces_of(lettered(i, 20, i).stored()))))
    opened = BlockFolder(tmp_path / "p", "b", Block).open()
    assert [block.rna_ids.tolist() for block in opened] == [[i] for i in range(30)]


@pytest.mark.parametrize("where", [0, 9, 30, 5000, -1])
def test_a_damaged_file_is_not_trusted(
    tmp_path: Path, saved: list[Drawn], where: int
) -> None:
    file = tmp_path / "p" / "00000001.block"
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(content)
    assert set(range(11, 20)) <= set(restarted(tmp_path / "p", saved))
    assert not file.exists()


@pytest.mark.parametrize("length", [0, 10, 1000])
def test_a_cut_file_is_not_trusted(
    tmp_path: Path, saved: list[Drawn], length: int
) -> None:
    file = tmp_path / "p" / "00000001.block"
    file.write_bytes(file.read_bytes()[:length])
    assert set(range(11, 20)) <= set(restarted(tmp_path / "p", saved))


@pytest.mark.parametrize("text", ["", "{", '{"blocks": [3]}', '{"blocks": ["../x"]}'])
def test_without_its_list_all_is_read_anew(
    tmp_path: Path, saved: list[Drawn], text: str
) -> None:
    (tmp_path / "p" / "blocks.json").write_text(text)
    assert len(restarted(tmp_path / "p", saved)) == 40


def test_blocks_of_another_basis_are_not_used(
    tmp_path: Path, saved: list[Drawn]
) -> None:
    assert len(restarted(tmp_path / "p", saved, "other")) == 40
    assert not list((tmp_path / "p").glob("0000000[0-2].block"))


class Killed(BaseException):
    """As nothing of ours catches."""


def test_a_kill_at_any_moment_of_writing_loses_nothing(
    tmp_path: Path, saved: list[Drawn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the calls that reach the disk is the last one once."""
    more = [lettered(i, 90, i) for i in range(100, 125)]
    n_left, was_killed = -1, True
    while was_killed:
        n_left += 1
        left = iter(range(n_left))

        def stop(*_: object) -> None:
            if next(left, None) is None:  # noqa: B023
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr("ribolex.server.index.position_files.sync", stop)
            patch.setattr("ribolex.disk.sync", stop)
            try:
                index = make_index(tmp_path / "p")
                index.recall(np.arange(40), np.ones(40, np.int64))
                put(index, *more)
                was_killed = False
            except Killed:
                pass
        restarted(tmp_path / "p", [*saved, *more])
    assert n_left > 5


def test_packing_leaves_what_is_alive(tmp_path: Path, saved: list[Drawn]) -> None:
    index = make_index(tmp_path / "p")
    index.recall(np.arange(40), np.ones(40, np.int64))
    before = len(list((tmp_path / "p").glob("*.block")))
    kept = [rna for rna in saved if rna.rna_id % 4 == 0]
    index.remove([rna.rna_id for rna in saved if rna.rna_id % 4])
    assert len(list((tmp_path / "p").glob("*.block"))) < before
    found = {rna for rna, *_ in search(index, lettered(4, 90, 4))}
    assert found <= {rna.rna_id for rna in kept}
    restarted(tmp_path / "p", kept)
