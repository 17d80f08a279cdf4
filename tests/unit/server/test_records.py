"""Records on disk: whole, atomic, and honest about files that are not theirs."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.server.conftest import RandomCodes

from ribolex.dictionary import Codes
from ribolex.errors import CorruptArtefactError
from ribolex.rna import Rna
from ribolex.server.index.records import PooledCode, Record, Records

N_FEATURES = 96


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "records.sqlite3"
    Records.create(path, {"n_features": N_FEATURES, "name": "c"})
    return path


@pytest.fixture
def records(path: Path) -> Iterator[Records]:
    with closing(Records(path)) as records:
        yield records


def record(name: str, codes: Codes, sequence: str = "ACGU") -> Record:
    pooled = PooledCode(
        np.array([3, 9], np.uint32),
        np.array([0.5, 2.0], np.float32),
        np.array([0.25, 1.5], np.float32),
    )
    return Record(
        Rna(name, sequence, "(..)", {"family": "tRNA é"}), codes, pooled, 0.25
    )


def test_a_record_comes_back_as_it_was(
    records: Records, random_codes: RandomCodes
) -> None:
    sent = record("one", random_codes(4))
    written = records.upsert([sent])
    found = records.read(written.ids[0])
    assert found.rna == sent.rna
    assert found.fvu == sent.fvu
    for name in ("indptr", "indices", "values"):
        assert (getattr(found.codes, name) == getattr(sent.codes, name)).all()
    for name in ("features", "values", "peaks"):
        assert (getattr(found.pooled, name) == getattr(sent.pooled, name)).all()


def test_a_name_keeps_its_id_and_the_later_record_stays(
    records: Records, random_codes: RandomCodes
) -> None:
    first = records.upsert(
        [record("one", random_codes(4)), record("two", random_codes(4))]
    )
    again = records.upsert(
        [record("three", random_codes(4)), record("one", random_codes(2), "GG")]
    )
    assert again.ids[1] == first.ids[0]
    assert (again.n_inserted, again.n_updated) == (1, 1)
    assert records.n_rnas == 3
    assert records.read(first.ids[0]).rna.sequence == "GG"


def test_of_two_with_one_name_in_a_group_the_later_stays(
    records: Records, random_codes: RandomCodes
) -> None:
    group = [record("one", random_codes(4)), record("one", random_codes(2), "GG")]
    written = records.upsert(group)
    assert (written.n_inserted, written.n_updated) == (1, 1)
    assert written.ids[0] == written.ids[1]
    assert records.read(written.ids[0]).rna.sequence == "GG"


def test_a_group_that_fails_leaves_nothing(
    records: Records, random_codes: RandomCodes
) -> None:
    broken = replace(record("two", random_codes(4)), fvu=None)  # type: ignore[arg-type]
    group = [record("one", random_codes(4)), broken]
    with pytest.raises(sqlite3.IntegrityError):
        records.upsert(group)
    assert records.find("one") is None
    assert records.n_rnas == 0


def test_everything_is_there_after_opening_again(
    path: Path, records: Records, random_codes: RandomCodes
) -> None:
    ids = records.upsert([record(name, random_codes(3)) for name in "abc"]).ids
    records.close()
    with closing(Records(path)) as again:
        assert again.n_rnas == 3
        assert [rna_id for rna_id, _ in again.scan()] == ids
        assert again.names(ids) == ["a", "b", "c"]
        assert again.facts == {"n_features": N_FEATURES, "name": "c"}


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    with closing(Records(path)) as records:
        (mode,) = records._db.execute("PRAGMA journal_mode").fetchone()
        (level,) = records._db.execute("PRAGMA synchronous").fetchone()
    assert (mode, level) == ("wal", 2)


def test_another_schema_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(CorruptArtefactError, match="schema version 7, expected 2"):
        Records(path)


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, certainly not one" * 99]
)
def test_what_is_no_collection_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(CorruptArtefactError):
        Records(path)


def test_every_upsert_changes_what_its_records_stand_for(
    records: Records, random_codes: RandomCodes
) -> None:
    one = records.upsert([record(name, random_codes(4)) for name in ("a", "b")])
    two = records.upsert([record("b", random_codes(4)), record("c", random_codes(4))])
    assert one.change != two.change
    found = dict(zip(*(column.tolist() for column in records.changes()), strict=True))
    assert found == {one.ids[0]: one.change} | dict.fromkeys(two.ids, two.change)


def test_nucleotides_come_in_the_order_that_is_asked_for(
    records: Records, random_codes: RandomCodes
) -> None:
    sent = [record(name, random_codes(4), name * 4) for name in "ACG"]
    ids = records.upsert(sent).ids
    found = list(records.nucleotide_codes([ids[2], ids[0]]))
    assert [(each.rna_id, each.sequence) for each in found] == [
        (ids[2], "GGGG"),
        (ids[0], "AAAA"),
    ]
    for each, i in zip(found, (2, 0), strict=True):
        assert (each.codes.values == sent[i].codes.values).all()
        assert (each.codes.indptr == sent[i].codes.indptr).all()


def test_a_file_of_the_first_version_is_taken_on(
    path: Path, random_codes: RandomCodes
) -> None:
    with closing(Records(path)) as records:
        records.upsert([record("one", random_codes(4))])
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP INDEX rna_change; ALTER TABLE rna DROP COLUMN change;"
            "PRAGMA user_version = 1;"
        )
    for _ in range(2):
        with closing(Records(path)) as records:
            assert records.changes().changes.tolist() == [0]
            assert records.read(1).rna.name == "one"
    with closing(Records(path)) as records:
        assert records.upsert([record("one", random_codes(4))]).n_updated == 1
