"""The positional index against the simplest of its kind, and its life on disk."""

import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.dictionary import Codes
from ribolex.server.index import position_blocks, positions
from ribolex.server.index.position_blocks import (
    Block,
    Layout,
    Lettered,
    count_pieces,
    cut,
    join,
    pieces_of,
    seal,
    split,
    strongest,
    unseal,
)
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.position_kernels import words
from ribolex.server.index.positions import PositionalIndex, Snapshot
from ribolex.server.index.voting import (
    Ballots,
    Candidates,
    Electorate,
    Franchise,
    count_votes,
    draw_ballots,
    windows,
)

pytestmark = pytest.mark.timeout(300)  # the first calls compile

N_FEATURES, WIDTH = 40, 4
VOTES = np.linspace(0, 2, N_FEATURES, dtype=np.float32)
LAYOUT = Layout(VOTES > 0.3, n_kept=3)
CALM = settings(max_examples=40, deadline=None)
"""The first calls compile."""
FRANCHISE = Franchise(VOTES, word=0.4, density=1.0)


def lettered(rna_id: int, n: int, seed: int, change: int = 1) -> Lettered:
    random = np.random.default_rng([seed, rna_id])
    indices = np.argsort(random.random((n, N_FEATURES)), axis=1)[:, :5]
    values = random.exponential(size=(n, 5)).astype(np.float32)
    values[random.random((n, 5)) < 0.3] = 0
    return Lettered(
        rna_id,
        change,
        random.choice(5, n, p=[0.24, 0.24, 0.24, 0.24, 0.04]).astype(np.uint8),
        Codes.from_topk(indices, values, N_FEATURES),
        random.normal(size=(n, WIDTH)).astype(np.float32),
    )


def cut_out(rna: Lettered, start: int, stop: int) -> Lettered:
    return rna._replace(
        letters=rna.letters[start:stop],
        codes=rna.codes.slice(start, stop),
        vectors=rna.vectors[start:stop],
    )


def make_index(folder: Path | None = None, basis: str = "b") -> PositionalIndex:
    place = None if folder is None else BlockFolder(folder, basis, Block)
    return PositionalIndex(LAYOUT, place)


def ballots_of(query: Lettered, seen: Snapshot) -> Ballots:
    return draw_ballots(
        query.codes, query.letters, LAYOUT, FRANCHISE, seen.sizes, seen.n_slots
    )


def search(
    index: PositionalIndex,
    query: Lettered,
    limit: int = 1000,
    allowed: np.ndarray | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[tuple[int, int, float, int]]:
    """RNA, start of the piece, votes, diagonal in the RNA; best first."""
    seen = index.snapshot()
    electorate = Electorate(seen.blocks, lambda block: seen.is_alive(block, allowed))
    found = count_votes(ballots_of(query, seen), electorate, limit, check)
    return places(seen, found)


def places(seen: Snapshot, found: Candidates) -> list[tuple[int, int, float, int]]:
    out = []
    for block, piece, votes, diagonal in zip(*found, strict=True):
        at = seen.blocks[block]
        start = int(at.starts[piece])
        out.append((int(at.rna_ids[piece]), start, float(votes), start + int(diagonal)))
    return out


def simply(
    seen: Snapshot, ballots: Ballots, rnas: dict[int, Lettered]
) -> dict[tuple[int, int], tuple[float, set[int]]]:
    """Votes of every piece and the diagonals that may be named, without blocks."""
    own: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for group, its_list in enumerate(ballots.lists):
        for b in range(ballots.firsts[group], ballots.firsts[group + 1]):
            own[int(its_list)].append((ballots.positions[b], int(ballots.weights[b])))
    out = {}
    for rna_id, rna in rnas.items():
        for start, stop in cut(len(rna.letters)):
            votes: dict[int, int] = defaultdict(int)
            for t, its_list in _postings(rna):
                if start <= t < stop:
                    for i, weight in own[its_list]:
                        votes[t - i] += weight
            joint = {d: votes[d] + votes.get(d + 1, 0) for d in list(votes)}
            joint |= {d - 1: votes[d] for d in list(votes) if d - 1 not in joint}
            best = max(joint.values(), default=0)
            peaks = {d for d in joint if joint[d] == best}
            named = {d + (votes.get(d, 0) < votes.get(d + 1, 0)) for d in peaks}
            if best:
                out[rna_id, start] = best / np.log(max(2, stop - start)), named
    return out


def _postings(rna: Lettered) -> list[tuple[int, int]]:
    out = []
    for t in range(len(rna.codes)):
        features, values = rna.codes.row(t)
        pairs = zip(-values, features, strict=True)
        voters = sorted((value, f) for value, f in pairs if LAYOUT.is_voter[f])
        out += [(t, int(f)) for _, f in voters[: LAYOUT.n_kept]]
        word = rna.letters[t : t + 4]
        if len(word) == 4 and (word < 4).all():
            number = int("".join(map(str, word)), 4)
            out.append((t, N_FEATURES + number))
    return out


@CALM
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 30)), max_size=25),
    st.integers(1, 40),
    st.integers(0, 9),
)
def test_votes_are_those_of_the_simple_twin(
    puts: list[tuple[int, int]], n_query: int, seed: int
) -> None:
    """Over small blocks and pieces, replacements, removals and packing."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (position_blocks, positions):
            patch.setattr(module, "SLOTS", 64, raising=False)
        patch.setattr(position_blocks, "PIECE", 20)
        patch.setattr(position_blocks, "OVERLAP", 7)
        index = make_index()
        rnas: dict[int, Lettered] = {}
        for change, (rna_id, n) in enumerate(puts):
            if n == 30:
                index.remove([rna_id])
                rnas.pop(rna_id, None)
                continue
            rnas[rna_id] = lettered(rna_id, n, seed + change, change)
            index.put([rnas[rna_id]])
        query = lettered(99, n_query, seed)
        seen = index.snapshot()
        expected = simply(seen, ballots_of(query, seen), rnas)
        found = search(index, query)
    assert {(rna, start) for rna, start, _, _ in found} == set(expected)
    for rna, start, votes, diagonal in found:
        score, diagonals = expected[rna, start]
        assert votes == pytest.approx(score, rel=1e-5)
        assert diagonal in diagonals
    assert [v for _, _, v, _ in found] == sorted(
        (v for *_, v, _ in found), reverse=True
    )


LETTERS = st.lists(st.integers(0, 5), max_size=30)


@CALM
@given(LETTERS, st.integers(1, 5))
def test_words_are_those_of_the_simple_twin(letters: list[int], length: int) -> None:
    found = words(np.array(letters, np.uint8), length)
    for i, number in enumerate(found):
        word = letters[i : i + length]
        is_word = len(word) == length and max(word) < 4
        assert number == (int("".join(map(str, word)), 4) if is_word else -1)


@CALM
@given(st.integers(0, 20), st.integers(1, 6), st.integers(0, 5))
def test_what_is_kept_of_a_nucleotide_matters_most(n: int, k: int, seed: int) -> None:
    codes = lettered(0, n, seed).codes
    layout = Layout(LAYOUT.is_voter, k)
    found = strongest(codes, layout)
    for row in range(n):
        features, values = codes.row(row)
        values = values * layout.is_voter[features]
        order = np.argsort(-values, kind="stable")[:k]
        order = np.sort(order[values[order] > 0])
        assert found.features[found.rows == row].tolist() == features[order].tolist()


@CALM
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data())
def test_a_block_taken_apart_gives_its_pieces(
    sizes: list[int], data: st.DataObject
) -> None:
    parts = [
        piece
        for i, n in enumerate(sizes)
        for piece in pieces_of(lettered(i, n, 3), LAYOUT)
    ]
    kept = data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    left = list(split(unseal(seal(join(parts), LAYOUT), np.array(kept, bool))))
    expected = [part for part, is_kept in zip(parts, kept, strict=True) if is_kept]
    assert len(left) == len(expected)
    for one, other in zip(left, expected, strict=True):
        entries = [
            sorted(zip(each.slots.tolist(), each.lists.tolist(), strict=True))
            for each in (one, other)
        ]
        assert entries[0] == entries[1]
        for name in ("rna_ids", "changes", "starts", "lengths", "letters", "vectors"):
            assert (getattr(one, name) == getattr(other, name)).all()


def test_vectors_come_back_to_a_part_in_two_hundred() -> None:
    rna = lettered(1, 50, 0)
    zero = rna._replace(vectors=np.concatenate([rna.vectors[:49], np.zeros((1, 4))]))
    index = make_index()
    index.put([zero._replace(vectors=zero.vectors.astype(np.float32))])
    (block,) = index.snapshot().blocks
    one = np.array([0], np.int32)
    found = block.targets(one, np.array([10]), np.array([50]))
    assert found.offsets.tolist() == [0, 40]
    assert (found.letters == rna.letters[10:]).all()
    largest = np.abs(zero.vectors[10:]).max(axis=1, keepdims=True)
    assert (np.abs(found.vectors - zero.vectors[10:]) <= largest / 200).all()


def test_a_stretch_of_a_long_rna_is_found_where_it_lies() -> None:
    index, long = make_index(), lettered(1, 50_000, 1)
    others = [lettered(i, 100, 2) for i in range(2, 60)]
    index.put([long, *others])
    for start in (0, 3_000, 24_321, 49_924):
        query = cut_out(long, start, start + 76)
        rna, _, _, diagonal = search(index, query, 5)[0]
        assert (rna, diagonal) == (1, start)


def test_an_update_or_removal_is_seen_at_once() -> None:
    index = make_index()
    old, new = lettered(1, 80, 1), lettered(1, 80, 2, change=2)
    index.put([old, lettered(2, 80, 5)])
    assert search(index, old)[0][0] == 1
    index.put([new])
    votes = {rna: v for rna, _, v, _ in search(index, new)}
    assert max(votes, key=votes.__getitem__) == 1
    assert len([rna for rna, *_ in search(index, old) if rna == 1]) == 1
    index.remove([1, 777])
    assert {rna for rna, *_ in search(index, new)} == {2}


def test_only_what_is_allowed_is_found() -> None:
    index = make_index()
    index.put([lettered(i, 60, 1) for i in range(1, 40)])
    allowed = np.zeros(30, bool)
    allowed[[3, 17]] = True
    found = search(index, lettered(5, 60, 1), allowed=allowed)
    assert {rna for rna, *_ in found} == {3, 17}


def test_an_empty_index_finds_nothing() -> None:
    query = lettered(1, 60, 1)
    assert search(make_index(), query) == []
    index = make_index()
    index.put([lettered(1, 0, 1)])
    assert search(index, query) == []
    index.put([query])
    assert search(index, lettered(2, 0, 1)) == []


def test_the_check_ends_a_search_between_blocks() -> None:
    index = make_index()
    index.put([lettered(1, 9000, 1)])
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
    index.put([lettered(i, 60, i % 9) for i in range(100)])
    seen, query = index.snapshot(), lettered(3, 60, 3)
    assert len(seen.blocks) > 10
    electorate = Electorate(seen.blocks, seen.is_alive)
    ballots, used = ballots_of(query, seen), set()

    def check() -> None:
        used.add(threading.get_ident())

    alone = count_votes(ballots, electorate, 20, check)
    with ThreadPoolExecutor(3) as pool:
        together = count_votes(ballots, electorate, 20, check, (pool, 3))
    assert len(used) > 1
    for one, other in zip(alone, together, strict=True):
        assert one.tolist() == other.tolist()


def test_a_budget_lets_the_weightiest_vote() -> None:
    query = lettered(1, 60, 1)
    index = make_index()
    index.put([query])
    seen = index.snapshot()
    lists = {}
    for density in (0.0, 0.02, 1.0):
        franchise = Franchise(VOTES, 0.4, density)
        ballots = draw_ballots(
            query.codes, query.letters, LAYOUT, franchise, seen.sizes, seen.n_slots
        )
        of_features = ballots.lists < N_FEATURES
        groups = np.diff(ballots.firsts) * seen.sizes[ballots.lists]
        assert groups[of_features].sum() <= density * 60 * 60
        assert int(ballots.weights.astype(int).sum()) <= 32767
        lists[density] = set(ballots.lists.tolist())
    assert lists[0.0] < lists[0.02] < lists[1.0]


@CALM
@given(st.integers(0, 5000))
def test_windows_and_pieces_cover_all_and_overlap(n: int) -> None:
    for spans, overlap in ((list(windows(n)), 512), (list(cut(n)), 1024)):
        assert (spans[0][0], spans[-1][1]) == (0, n)
        for (_, stop), (start, _) in zip(spans[:-1], spans[1:], strict=True):
            assert stop - start == overlap
    assert count_pieces(np.array([n], np.int32)) == len(list(cut(n)))


def restarted(folder: Path, rnas: list[Lettered], basis: str = "b") -> list[int]:
    """Opens the index anew; the ids it lacked, which are put."""
    index = make_index(folder, basis)
    ids = np.array([rna.rna_id for rna in rnas], np.int64)
    changes = np.array([rna.change for rna in rnas], np.int64)
    missing: list[int] = index.recall(ids, changes).tolist()
    by_id = {rna.rna_id: rna for rna in rnas}
    index.put([by_id[i] for i in missing])
    fresh = make_index()
    fresh.put(rnas)
    query = lettered(4, 90, 4)
    found, expected = search(index, query), search(fresh, query)
    # Sizes of lists differ where some is dead, and so the rarity of words.
    assert {(r, s) for r, s, _, _ in found} == {(r, s) for r, s, _, _ in expected}
    assert found[0][0] == expected[0][0]
    assert found[0][3] == expected[0][3]
    return missing


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Lettered]:
    """RNAs, most of them in blocks in a folder `p`, a long one in two blocks."""
    for module in (position_blocks, positions):
        monkeypatch.setattr(module, "SLOTS", 1000, raising=False)
    monkeypatch.setattr(position_blocks, "PIECE", 300)
    monkeypatch.setattr(position_blocks, "OVERLAP", 100)
    rnas = [lettered(i, 90, i) for i in range(40)]
    rnas[20] = lettered(20, 1500, 20)
    make_index(tmp_path / "p").put(rnas)
    return rnas


def test_a_restart_reads_blocks_from_files(
    tmp_path: Path, saved: list[Lettered]
) -> None:
    missing = restarted(tmp_path / "p", saved)
    assert 0 < len(missing) < 12
    assert restarted(tmp_path / "p", saved[:10]) == []


def test_a_restart_catches_up_with_changes(
    tmp_path: Path, saved: list[Lettered]
) -> None:
    saved[0] = lettered(0, 70, 77, change=5)
    saved[3] = lettered(50, 70, 78)
    missing = restarted(tmp_path / "p", saved)
    assert {0, 50} <= set(missing)
    assert 1 not in missing


def test_an_rna_of_which_a_piece_is_lost_is_read_anew(
    tmp_path: Path, saved: list[Lettered]
) -> None:
    index = make_index(tmp_path / "p")
    blocks = index.snapshot().blocks
    holding = [i for i, block in enumerate(blocks) if 20 in block.rna_ids]
    assert len(holding) > 1
    (tmp_path / "p" / f"{holding[0]:08}.block").unlink()
    assert 20 in restarted(tmp_path / "p", saved)


@pytest.mark.parametrize("where", [0, 9, 30, 5000, -1])
def test_a_damaged_file_is_not_trusted(
    tmp_path: Path, saved: list[Lettered], where: int
) -> None:
    file = tmp_path / "p" / "00000001.block"
    content = bytearray(file.read_bytes())
    content[where] ^= 1
    file.write_bytes(content)
    assert set(range(11, 20)) <= set(restarted(tmp_path / "p", saved))
    assert not file.exists()


@pytest.mark.parametrize("length", [0, 10, 1000])
def test_a_cut_file_is_not_trusted(
    tmp_path: Path, saved: list[Lettered], length: int
) -> None:
    file = tmp_path / "p" / "00000001.block"
    file.write_bytes(file.read_bytes()[:length])
    assert set(range(11, 20)) <= set(restarted(tmp_path / "p", saved))


@pytest.mark.parametrize("text", ["", "{", '{"blocks": [3]}', '{"blocks": ["../x"]}'])
def test_without_its_list_all_is_read_anew(
    tmp_path: Path, saved: list[Lettered], text: str
) -> None:
    (tmp_path / "p" / "blocks.json").write_text(text)
    assert len(restarted(tmp_path / "p", saved)) == 40


def test_blocks_of_another_basis_are_not_used(
    tmp_path: Path, saved: list[Lettered]
) -> None:
    assert len(restarted(tmp_path / "p", saved, "other")) == 40
    assert not list((tmp_path / "p").glob("0000000[0-2].block"))


class Killed(BaseException):
    """As nothing of ours catches."""


def test_a_kill_at_any_moment_of_writing_loses_nothing(
    tmp_path: Path, saved: list[Lettered], monkeypatch: pytest.MonkeyPatch
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
                index.put(more)
                was_killed = False
            except Killed:
                pass
        restarted(tmp_path / "p", [*saved, *more])
    assert n_left > 5


def test_packing_leaves_what_is_alive(tmp_path: Path, saved: list[Lettered]) -> None:
    index = make_index(tmp_path / "p")
    index.recall(np.arange(40), np.ones(40, np.int64))
    before = len(list((tmp_path / "p").glob("*.block")))
    kept = [rna for rna in saved if rna.rna_id % 4 == 0]
    index.remove([rna.rna_id for rna in saved if rna.rna_id % 4])
    assert len(list((tmp_path / "p").glob("*.block"))) < before
    found = {rna for rna, *_ in search(index, lettered(4, 90, 4))}
    assert found <= {rna.rna_id for rna in kept}
    restarted(tmp_path / "p", kept)
