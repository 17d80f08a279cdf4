"""RNAs deleted and listed: gone from the disk and every index, others untouched."""

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import random_alignment
from tests.small_blocks import shrink_blocks
from tests.unit.server.agreement import check_agreement
from tests.unit.server.conftest import RandomCodes

from ribolex.dictionary import Dictionary
from ribolex.rna import Rna
from ribolex.server.index import positions
from ribolex.server.index.collection import Collection
from ribolex.server.index.facts import Facts
from ribolex.server.index.intake import Encoded
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import AnyOf, Between, Condition
from ribolex.server.index.search import Search

pytestmark = pytest.mark.timeout(300)  # the first calls compile


class Maker:
    """Makes RNAs, opens the collection they are for."""

    def __init__(
        self, folder: Path, dictionary: Dictionary, random_codes: RandomCodes
    ) -> None:
        self.folder, self._dictionary, self._codes = folder, dictionary, random_codes
        self.random = np.random.default_rng(11)
        Collection.create(folder, Facts.of("c", dictionary, SearchMeasure()))

    def rna(self, name: str, n_nucleotides: int = 60, **metadata: str) -> Encoded:
        letters = "".join(self.random.choice(list("ACGU"), n_nucleotides))
        return Encoded(Rna(name, letters, None, metadata), self._codes(len(letters)), 0)

    def open(self) -> Collection:
        collection = Collection(self.folder)
        collection.load(self._dictionary)
        return collection


@pytest.fixture
def maker(tmp_path: Path, dictionary: Dictionary, random_codes: RandomCodes) -> Maker:
    aligning = replace(dictionary, alignment=random_alignment(1))
    return Maker(tmp_path, aligning, random_codes)


@pytest.fixture
def collection(maker: Maker) -> Iterator[Collection]:
    with closing(maker.open()) as collection:
        yield collection


def found(collection: Collection, rna: Encoded, **how: object) -> list[str]:
    query = collection.query_of(rna.rna.sequence, rna.codes, rna.fvu)
    hits = collection.search(query, Search(50, 0, **how)).hits  # type: ignore[arg-type]
    return [hit.rna.name for hit in hits]


@pytest.mark.parametrize("sensitivity", ["fast", "sensitive", "exhaustive"])
def test_a_deleted_rna_is_found_no_more(
    maker: Maker, collection: Collection, sensitivity: str
) -> None:
    rnas = [maker.rna(name) for name in "abc"]
    collection.upsert(rnas)
    assert found(collection, rnas[1], sensitivity=sensitivity)[0] == "b"
    assert collection.delete(["b", "nobody", "b"]) == 1
    assert "b" not in found(collection, rnas[1], sensitivity=sensitivity)
    assert found(collection, rnas[0], sensitivity=sensitivity)[0] == "a"
    assert collection.n_rnas == 2
    assert collection.delete(["b"]) == 0


def test_a_code_left_in_a_file_is_of_nobody_though_the_clock_stands(
    maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_blocks(monkeypatch.setattr, rows=64, first_fit=40)
    monkeypatch.setattr(time, "time_ns", lambda: 10**9)
    with closing(maker.open()) as collection:
        collection.upsert([maker.rna(f"r{i}") for i in range(45)])
        collection.upsert([maker.rna("left")])
        collection.delete(["left"])
    with closing(maker.open()) as collection:
        # It has the id that was of the other, whose code is in a file.
        collection.upsert([maker.rna("new")])
        # As a kill would leave it.
        shutil.copytree(maker.folder, killed := tmp_path / "killed")
    maker.folder = killed
    with closing(maker.open()) as collection:
        assert check_agreement(collection) == 46


def test_an_id_that_is_given_again_stands_for_the_new_rna(
    maker: Maker, collection: Collection
) -> None:
    """The last id becomes free; an index that kept it by id alone would lie."""
    old, new = maker.rna("old", kind="x"), maker.rna("new", kind="y")
    (old_id,) = collection.upsert([old]).ids
    collection.delete(["old"])
    assert collection.upsert([new]).ids == [old_id]
    for sensitivity in ("fast", "exhaustive"):
        assert found(collection, new, sensitivity=sensitivity)[0] == "new"
    assert collection.list_rnas((AnyOf("kind", frozenset("x")),), "", 9, 9).rnas == []
    check_agreement(collection)
    with closing(maker.open()) as again:
        check_agreement(again)


def test_conditions_delete_those_that_pass_group_by_group(
    maker: Maker, collection: Collection
) -> None:
    rnas = [maker.rna(f"r{i}", 20 + i, kind="ab"[i % 2]) for i in range(20)]
    collection.upsert(rnas)
    where: tuple[Condition, ...] = (
        AnyOf("kind", frozenset("a")),
        Between("length", 24, 99),
    )
    counts = [collection.delete_where(where, 3) for _ in range(4)]
    assert counts == [3, 3, 2, 0]
    left = collection.list_rnas((), "", 99, 10**6)
    expected = {r.rna.name for r in rnas if r.rna.metadata["kind"] == "b"}
    assert {one.name for one in left.rnas} == expected | {"r0", "r2"}
    check_agreement(collection)


def test_a_list_goes_on_by_name_whatever_is_stored_meanwhile(
    maker: Maker, collection: Collection
) -> None:
    names = ["Z", "a", "aa", "é", "b c", "\U0001f9ec"]
    collection.upsert([maker.rna(name, 10, k="v") for name in names])
    first = collection.list_rnas((), "", 2, 10**6)
    assert [one.name for one in first.rnas] == ["Z", "a"]
    assert (first.n_rnas, first.is_last) == (6, False)
    collection.delete(["a", "aa"])
    collection.upsert([maker.rna("A"), maker.rna("ab")])
    rest = collection.list_rnas((), "a", 9, 10**6)
    assert [one.name for one in rest.rnas] == ["ab", "b c", "é", "\U0001f9ec"]
    assert (rest.n_rnas, rest.is_last) == (6, True)
    assert rest.rnas[1].metadata == {"k": "v"}
    one = collection.list_rnas((AnyOf("k", frozenset("v")),), "a", 1, 1)
    assert ([rna.name for rna in one.rnas], one.n_rnas) == (["b c"], 4)


def test_a_page_is_cut_where_it_grows_too_large(
    maker: Maker, collection: Collection
) -> None:
    collection.upsert([maker.rna(f"r{i}", 50) for i in range(5)])
    page = collection.list_rnas((), "", 99, 120)
    assert ([rna.name for rna in page.rnas], page.is_last) == (["r0", "r1"], False)
    page = collection.list_rnas((), "r3", 99, 10)
    assert ([rna.name for rna in page.rnas], page.is_last) == (["r4"], True)


def test_the_indexes_agree_with_the_table_after_any_changes(
    maker: Maker, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small blocks, so that some are written, packed anew, and opened again."""
    monkeypatch.setattr(positions, "SLOTS", 600)
    current: set[str] = set()
    for step in range(40):
        names = [f"r{i}" for i in maker.random.integers(0, 40, 6)]
        if step % 3 == 2:
            collection.delete(names)
            current -= set(names)
        else:
            lengths = maker.random.integers(1, 90, 6).tolist()
            pairs = zip(names, lengths, strict=True)
            collection.upsert([maker.rna(name, n) for name, n in pairs])
            current |= set(names)
        if step % 5 == 0:
            assert check_agreement(collection) == len(current)
    with closing(maker.open()) as again:
        assert check_agreement(again) == len(current)
        listed = again.list_rnas((), "", 99, 10**6).rnas
        assert [rna.name for rna in listed] == sorted(current)
