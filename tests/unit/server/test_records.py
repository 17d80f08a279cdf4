"""Records on disk: whole, atomic, and honest about files that are not theirs."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.server.conftest import RandomCodes

from ribolex.dictionary import Codes
from ribolex.errors import CorruptArtefactError
from ribolex.rna import Rna
from ribolex.server.index import schema
from ribolex.server.index.records import (
    PooledCode,
    Put,
    Record,
    Records,
    Removal,
    Written,
)

N_FEATURES = 96


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "records.sqlite3"
    schema.create(path, {"n_features": N_FEATURES, "name": "c"})
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


def put(records: Records, group: list[Record]) -> Written:
    return records.write([Put(group)]).written[0]


def test_a_record_comes_back_as_it_was(
    records: Records, random_codes: RandomCodes
) -> None:
    sent = record("one", random_codes(4))
    written = put(records, [sent])
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
    first = put(
        records, [record("one", random_codes(4)), record("two", random_codes(4))]
    )
    again = put(
        records,
        [record("three", random_codes(4)), record("one", random_codes(2), "GG")],
    )
    assert again.ids[1] == first.ids[0]
    assert (again.n_inserted, again.n_updated) == (1, 1)
    assert records.n_rnas == 3
    assert records.read(first.ids[0]).rna.sequence == "GG"


def test_of_two_with_one_name_in_a_group_the_later_stays(
    records: Records, random_codes: RandomCodes
) -> None:
    group = [record("one", random_codes(4)), record("one", random_codes(2), "GG")]
    written = put(records, group)
    assert (written.n_inserted, written.n_updated) == (1, 1)
    assert written.ids[0] == written.ids[1]
    assert records.read(written.ids[0]).rna.sequence == "GG"


def test_a_group_that_fails_leaves_nothing(
    records: Records, random_codes: RandomCodes
) -> None:
    broken = replace(record("two", random_codes(4)), fvu=None)  # type: ignore[arg-type]
    group = [record("one", random_codes(4)), broken]
    with pytest.raises(sqlite3.IntegrityError):
        put(records, group)
    assert records.find("one") is None
    assert records.n_rnas == 0


def test_everything_is_there_after_opening_again(
    path: Path, records: Records, random_codes: RandomCodes
) -> None:
    ids = put(records, [record(name, random_codes(3)) for name in "abc"]).ids
    records.close()
    with closing(Records(path)) as again:
        assert again.n_rnas == 3
        assert again.changes().ids.tolist() == ids
        assert [len(code.features) > 0 for code in again.pooled_codes(ids)] == [
            True
        ] * 3
        assert again.names(ids) == ["a", "b", "c"]
        assert again.facts == {"n_features": N_FEATURES, "name": "c"}


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    with closing(Records(path)) as records:
        (mode,) = records.db.execute("PRAGMA journal_mode").fetchone()
        (level,) = records.db.execute("PRAGMA synchronous").fetchone()
    assert (mode, level) == ("wal", 2)


def test_another_schema_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(CorruptArtefactError, match="schema version 7, expected 3"):
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
    one = records.write([Put([record(n, random_codes(4)) for n in "ab"])])
    two = records.write([Put([record(n, random_codes(4)) for n in "bc"])])
    first, second = (max(x.changes.values()) for x in (one, two))
    assert second > first
    found = dict(zip(*(column.tolist() for column in records.changes()), strict=True))
    (a, _), (b, c) = one.written[0].ids, two.written[0].ids
    assert found == {a: first, b: second, c: second}


def test_changes_rise_though_the_clock_goes_back(
    path: Path, random_codes: RandomCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    for now in (9, 5, 5, 20):
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        with closing(Records(path)) as records:
            group = [Put([record(f"{len(seen)}", random_codes(2))])]
            seen.extend(records.write(group).changes.values())
    assert seen == [9, 10, 11, 20]


def test_no_change_is_given_again_though_its_rna_is_deleted(
    path: Path, random_codes: RandomCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id is, so it must tell the one from the other."""
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    given: list[tuple[int, int]] = []
    for name in "abc":
        with closing(Records(path)) as records:
            done = records.write([Put([record(name, random_codes(2))])])
            given.extend(done.changes.items())
            records.write([Removal([name])])
    assert [rna_id for rna_id, _ in given] == [1, 1, 1]
    changes = [change for _, change in given]
    assert sorted(set(changes)) == changes
    # What changes nothing writes nothing.
    with closing(Records(path)) as records:
        before = records.db.execute("SELECT change FROM last_change").fetchone()
        records.write([Removal(["nobody"])])
        after = records.db.execute("SELECT change FROM last_change").fetchone()
    assert before == after


GROUPS = st.lists(
    st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from("abcde"), max_size=4)),
        max_size=5,
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS)
def test_groups_of_changes_come_to_what_they_do_one_by_one(
    groups: list[list[tuple[bool, list[str]]]],
) -> None:
    """Ids that are given again within a group included."""
    codes = Codes.from_topk(
        np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32), N_FEATURES
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "records"
        schema.create(path, {"n_features": N_FEATURES})
        records = Records(path)
        truth: dict[str, int] = {}
        index: dict[int, int] = {}
        number = 0
        for group in groups:
            steps: list[Put | Removal] = []
            counts = []
            for is_put, names in group:
                before = set(truth)
                number += 1
                if is_put:
                    sequence = "A" * number
                    steps.append(Put([record(n, codes, sequence) for n in names]))
                    truth |= dict.fromkeys(names, number)
                    counts.append((len(truth) - len(before), 0))
                else:
                    steps.append(Removal(names))
                    truth = {n: x for n, x in truth.items() if n not in names}
                    counts.append((0, len(before) - len(truth)))
            done = records.write(steps)
            found = [(one.n_inserted, one.n_deleted) for one in done.written]
            assert found == counts
            for rna_id in done.removed:
                del index[rna_id]
            index |= {i: len(r.rna.sequence) for i, r in done.stored.items()}
            ids = {name: records.find(name) for name in "abcde"}
            assert {n: index[i] for n, i in ids.items() if i is not None} == truth
            assert records.n_rnas == len(truth) == len(index)
        records.close()


def test_nucleotides_come_in_the_order_that_is_asked_for(
    records: Records, random_codes: RandomCodes
) -> None:
    sent = [record(name, random_codes(4), name * 4) for name in "ACG"]
    ids = put(records, sent).ids
    found = list(records.nucleotide_codes([ids[2], ids[0]]))
    assert [(each.rna_id, each.sequence) for each in found] == [
        (ids[2], "GGGG"),
        (ids[0], "AAAA"),
    ]
    for each, i in zip(found, (2, 0), strict=True):
        assert (each.codes.values == sent[i].codes.values).all()
        assert (each.codes.indptr == sent[i].codes.indptr).all()


def test_a_file_of_the_second_version_is_taken_on(
    path: Path, random_codes: RandomCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Records(path)) as records:
        first = records.write([Put([record("one", random_codes(4))])]).changes[1]
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE last_change; PRAGMA user_version = 2;")
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    with closing(Records(path)) as records:
        assert records.read(1).rna.name == "one"
        records.write([Removal(["one"])])
    with closing(Records(path)) as records:
        later = records.write([Put([record("two", random_codes(4))])]).changes[1]
    assert later > first + 1


def test_a_file_of_the_first_version_is_taken_on(
    path: Path, random_codes: RandomCodes
) -> None:
    with closing(Records(path)) as records:
        put(records, [record("one", random_codes(4))])
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP INDEX rna_change; ALTER TABLE rna DROP COLUMN change;"
            "DROP TABLE last_change;"
            "PRAGMA user_version = 1;"
        )
    for _ in range(2):
        with closing(Records(path)) as records:
            assert records.changes().changes.tolist() == [0]
            assert records.read(1).rna.name == "one"
    with closing(Records(path)) as records:
        assert put(records, [record("one", random_codes(4))]).n_updated == 1
