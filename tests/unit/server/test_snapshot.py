"""Collections as one file: what was acknowledged is in it; other files are refused."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.server.agreement import check_agreement
from tests.unit.server.conftest import MakeCollection, RandomCodes, encoded

from ribolex.dictionary import Dictionary
from ribolex.errors import (
    CollectionNotFoundError,
    CorruptArtefactError,
    CorruptInputError,
)
from ribolex.server.index.collection import Collection
from ribolex.server.index.records import Put, Records
from ribolex.server.index.schema import RECORDS
from ribolex.server.index.search import Search
from ribolex.server.index.snapshot import read_manifest, take, unpack


@pytest.fixture
def collection(
    make_collection: MakeCollection, random_codes: RandomCodes
) -> Collection:
    found = make_collection()
    found.upsert([encoded(f"r{i}", random_codes(3 + i), part="x") for i in range(9)])
    found.delete(["r3", "r8"])
    return found


@pytest.fixture
def file(collection: Collection, tmp_path: Path) -> Path:
    take("c", tmp_path / "c" / RECORDS, tmp_path / "file")
    return tmp_path / "file"


def told_again(file: Path, content: bytes, **changes: object) -> Path:
    """Writes some records with a last line that fits them, but for what is changed."""
    fields = json.loads(file.read_bytes().splitlines()[-1].rpartition(b" ")[0])
    fields |= {"records_bytes": len(content)} | changes
    whole = content + b"\n" + json.dumps(fields).encode() + b" "
    file.write_bytes(whole + sha256(whole).hexdigest().encode() + b"\n")
    return file


def records_of(file: Path) -> bytes:
    return file.read_bytes()[: read_manifest(file).records_bytes]


def test_what_was_taken_is_restored_under_another_name(
    collection: Collection, file: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    told = read_manifest(file)
    assert (told.collection, told.dictionary, told.n_rnas) == ("c", "tiny@1", 7)
    assert told.watermark == max(collection._records.changes().changes)
    # Later changes are not in it, and what was deleted is not in its bytes.
    collection.delete(["r5"])
    assert b"r5" in records_of(file)
    assert b"r8" not in records_of(file)
    folder = tmp_path / "new"
    folder.mkdir()
    file.rename(folder / RECORDS)
    facts = unpack(folder / RECORDS, "new")
    assert facts.name == "new"
    assert [path.name for path in folder.iterdir()] == [RECORDS]
    with closing(Collection(folder)) as again:
        again.load(dictionary)
        assert check_agreement(again) == 7
        assert again.facts.name == "new"
        collection.delete([f"r{i}" for i in range(9)])
        assert collection.n_rnas == 0
        assert again.search(again.query_like("r5"), Search(9, 3)).hits


def test_a_snapshot_taken_while_others_write_is_of_one_moment(
    collection: Collection, random_codes: RandomCodes, tmp_path: Path
) -> None:
    """Every change stores two RNAs that must be there together, with one content."""
    stop = threading.Event()
    taken: list[Path] = []

    def take_on() -> None:
        while not stop.is_set() or not taken:
            out = tmp_path / f"taken{len(taken)}"
            take("c", tmp_path / "c" / RECORDS, out)
            taken.append(out)

    thread = threading.Thread(target=take_on)
    thread.start()
    for i in range(40):
        codes = random_codes(4)
        pair = [encoded(f"{side}{i % 5}", codes, n=str(i)) for side in ("a", "b")]
        collection.upsert(pair)
        if i % 3 == 0:
            collection.delete([f"a{i % 5}", f"b{i % 5}"])
    stop.set()
    thread.join()
    for out in taken:
        unpack(out)
        with closing(sqlite3.connect(out)) as db:
            rows = db.execute(
                "SELECT name, metadata FROM rna WHERE name NOT LIKE 'r%'"
            ).fetchall()
        sides = [
            {name[1:]: metadata for name, metadata in rows if name[0] == side}
            for side in "ab"
        ]
        assert sides[0] == sides[1]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7), is_cut=st.booleans())
def test_one_bit_or_the_end_missing_is_noticed(
    file: Path, tmp_path: Path, place: int, bit: int, is_cut: bool
) -> None:
    content = bytearray(file.read_bytes())
    place %= len(content)
    if is_cut:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    other = tmp_path / "other"
    other.write_bytes(content)
    with pytest.raises((CorruptInputError, CorruptArtefactError)):
        unpack(other)


def test_changed_content_is_lost_data_and_not_a_foreign_file(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptArtefactError, match="SHA-256 is .*, expected"):
        unpack(file)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"x" * 70_000, b"[1] " + b"0" * 64 + b"\n"]
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(CorruptInputError, match="the snapshot"):
        unpack(path)


KEYS = """
UPDATE rna SET metadata = (
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
    SELECT json_group_object('k' || i || '.' || {}, '') FROM n
)
"""


def move(db: sqlite3.Connection, rna_id: int, to: int) -> None:
    for table in ("rna", "nucleotide_code"):
        db.execute(f"UPDATE {table} SET id = ? WHERE id = ?", (to, rna_id))


CHANGES: dict[str, Callable[[sqlite3.Connection], object]] = {
    "trigger": lambda db: db.execute(
        "CREATE TRIGGER t AFTER INSERT ON rna BEGIN DELETE FROM rna; END"
    ),
    "view": lambda db: db.execute("CREATE VIEW v AS SELECT 1"),
    "column": lambda db: db.execute("ALTER TABLE rna ADD COLUMN more TEXT"),
    "no codes": lambda db: db.execute("DELETE FROM nucleotide_code WHERE id = 2"),
    "letters": lambda db: db.execute("UPDATE rna SET sequence = 'XX!' WHERE id = 2"),
    "length": lambda db: db.execute("UPDATE rna SET sequence = 'A' WHERE id = 2"),
    "name": lambda db: db.execute("UPDATE rna SET name = '' WHERE id = 2"),
    "structure": lambda db: db.execute("UPDATE rna SET structure = '(' WHERE id = 2"),
    "metadata": lambda db: db.execute("UPDATE rna SET metadata = '[1]' WHERE id = 2"),
    "surrogate": lambda db: db.execute(
        """UPDATE rna SET metadata = '{"a": "\\ud800"}' WHERE id = 2"""
    ),
    "keys of one": lambda db: db.execute(KEYS.format(65, "''")),
    "keys of all": lambda db: db.execute(KEYS.format(60, "rna.id")),
    "fvu": lambda db: db.execute("UPDATE rna SET fvu = 'x' WHERE id = 2"),
    "change": lambda db: db.execute("UPDATE rna SET change = -1 WHERE id = 2"),
    "change too large": lambda db: db.execute(
        f"UPDATE rna SET change = {2**63 - 1} WHERE id = 2"
    ),
    "last change too large": lambda db: db.execute(
        f"UPDATE last_change SET change = {2**63 - 1}"
    ),
    "last change too small": lambda db: db.execute("UPDATE last_change SET change = 9"),
    "last change no number": lambda db: db.execute(
        "UPDATE last_change SET change = 'x'"
    ),
    "no last change": lambda db: db.execute("DELETE FROM last_change"),
    "two last changes": lambda db: db.execute(
        "INSERT INTO last_change SELECT change FROM last_change"
    ),
    "id 0": lambda db: move(db, 2, 0),
    "id below": lambda db: move(db, 2, -1),
    "id too large": lambda db: move(db, 2, 10**15),
    "feature": lambda db: db.execute(
        "UPDATE rna SET features = x'ffffffff', pooled = x'0000803f', "
        "peaks = x'0000803f' WHERE id = 2"
    ),
    "peaks": lambda db: db.execute("UPDATE rna SET peaks = x'' WHERE id = 2"),
    "half": lambda db: db.execute("UPDATE rna SET features = x'0102' WHERE id = 2"),
    "pooled twice": lambda db: db.execute(
        "UPDATE rna SET features = features || features, pooled = pooled || pooled, "
        "peaks = peaks || peaks WHERE id = 2"
    ),
    "text": lambda db: db.execute("UPDATE rna SET pooled = 'abcd' WHERE id = 2"),
    "bounds": lambda db: db.execute(
        "UPDATE nucleotide_code SET indptr = indptr || x'00000000' WHERE id = 2"
    ),
    "values": lambda db: db.execute(
        """UPDATE nucleotide_code SET "values" = zeroblob(length("values"))"""
    ),
    "order": lambda db: db.execute(
        "UPDATE nucleotide_code SET indices = zeroblob(length(indices)) WHERE id = 5"
    ),
    "pooling": lambda db: db.execute(
        "UPDATE facts SET json = json_set(json, '$.measure.pooling', 'sum')"
    ),
    "facts": lambda db: db.execute("UPDATE facts SET json = '{}'"),
    "width": lambda db: db.execute(
        "UPDATE facts SET json = json_set(json, '$.n_features', 'many')"
    ),
    "schema version": lambda db: db.execute("PRAGMA user_version = 9"),
    "application": lambda db: db.execute("PRAGMA application_id = 9"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_made_to_fit_its_digest_brings_nothing_that_searches_stumble_over(
    file: Path, tmp_path: Path, change: Callable[[sqlite3.Connection], object]
) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(records_of(file))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        change(db)
        db.execute("VACUUM")
    hostile = told_again(file, path.read_bytes())
    with pytest.raises(CorruptInputError):
        unpack(hostile)


def test_what_was_taken_knows_the_last_change_of_an_rna_that_is_gone(
    collection: Collection,
    random_codes: RandomCodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collection.upsert([encoded("last", random_codes(3))])
    given = max(collection._records.changes().changes)
    collection.delete(["last"])
    folder = tmp_path / "new"
    folder.mkdir()
    take("c", tmp_path / "c" / RECORDS, folder / RECORDS)
    unpack(folder / RECORDS)
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    with closing(Records(folder / RECORDS)) as records:
        done = records.write([Put([collection.get("r0")])])
        assert min(done.changes.values()) > given


def test_snapshots_of_the_schema_before_are_taken_on(
    file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "before"
    path.write_bytes(records_of(file))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("DROP TABLE last_change; PRAGMA user_version = 2; VACUUM;")
    assert unpack(told_again(file, path.read_bytes())).name == "c"


def test_ids_far_apart_take_no_memory(
    file: Path, tmp_path: Path, dictionary: Dictionary
) -> None:
    folder = tmp_path / "far"
    folder.mkdir()
    path = folder / RECORDS
    path.write_bytes(records_of(file))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for rna_id, to in ((1, 2**40 - 1), (5, 10**9), (6, 10**9 + 1)):
            move(db, rna_id, to)
    told_again(file, path.read_bytes()).rename(path)
    unpack(path)
    with closing(Collection(folder)) as collection:
        assert sorted(collection._records.changes().ids) == list(range(1, 8))
        collection.load(dictionary)
        assert check_agreement(collection) == 7
        assert len(collection.get("r0").codes) == 3
        assert len(collection.get("r5").codes) == 8


def test_a_last_line_that_says_otherwise_is_refused(file: Path) -> None:
    whole, content = file.read_bytes(), records_of(file)
    for changes in (
        {"ribolex_snapshot": 2},
        {"content_id": "0" * 64},
        {"dictionary": "other@1"},
        {"n_rnas": "7"},
        {"more": 1},
    ):
        with pytest.raises(CorruptInputError):
            unpack(told_again(file, content, **changes))
        file.write_bytes(whole)
    assert unpack(told_again(file, content)).name == "c"


def test_a_collection_that_is_gone_cannot_be_taken(tmp_path: Path) -> None:
    with pytest.raises(CollectionNotFoundError):
        take("c", tmp_path / "none", tmp_path / "out")
    assert not list(tmp_path.iterdir())
