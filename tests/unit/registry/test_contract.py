"""What every registry promises, whatever it is kept in."""

import json
import re
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.unit.registry.conftest import stage

from ribolex.dictionary.artefact import FILES, MANIFEST_FILE
from ribolex.errors import (
    CorruptArtefactError,
    DictionaryExistsError,
    DictionaryInUseError,
    DictionaryNotFoundError,
    InvalidRequestError,
    StaleWriteError,
)
from ribolex.registry import Event, Ref, Registry, parse_ref


def test_versions_rise_and_the_newest_is_listed_first(
    registry: Registry, tmp_path: Path
) -> None:
    assert registry.list() == []
    assert registry.publish(stage(tmp_path / "a", 0)) == "demo@1"
    assert registry.publish(stage(tmp_path / "b", 1)) == "demo@2"
    registry.publish(stage(tmp_path / "c", 2, "another"))
    registry.set_current("demo", 1)
    assert [(entry.ref, entry.is_current) for entry in registry.list()] == [
        ("another@1", False),
        ("demo@2", False),
        ("demo@1", True),
    ]
    assert registry.list()[0].identity.d_in == 4


def test_a_name_alone_is_its_current_version(
    registry: Registry, tmp_path: Path
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    registry.publish(stage(tmp_path / "b", 1))
    with pytest.raises(DictionaryNotFoundError):
        registry.get("demo")
    registry.set_current("demo", 2)
    assert registry.current("demo") == 2
    assert registry.get("demo").ref == "demo@2"
    assert registry.get("demo@1").identity.seed == 0


def test_what_is_not_there_is_not_found(registry: Registry, tmp_path: Path) -> None:
    assert registry.current("nothing") is None
    for ref in ("nothing", "nothing@1"):
        with pytest.raises(DictionaryNotFoundError):
            registry.get(ref)
    registry.publish(stage(tmp_path / "a", 0))
    with pytest.raises(DictionaryNotFoundError):
        registry.set_current("demo", 2)


@pytest.mark.parametrize("text", ["", "@1", "a@", "a@0", "a@x", "../a", "a/b", ".a"])
def test_what_is_no_ref_is_refused(registry: Registry, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        registry.get(text)


def test_the_same_content_is_published_once(registry: Registry, tmp_path: Path) -> None:
    staged = stage(tmp_path / "a", 0)
    registry.publish(staged)
    with pytest.raises(DictionaryExistsError, match="demo@1"):
        registry.publish(staged)


def test_stale_writer_does_not_move_the_pointer(
    registry: Registry, tmp_path: Path
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    registry.publish(stage(tmp_path / "b", 1))
    registry.set_current("demo", 1)
    for expected in (None, 2):
        with pytest.raises(StaleWriteError):
            registry.set_current("demo", 2, expected)
    assert registry.current("demo") == 1
    registry.set_current("demo", 2, 1)
    assert registry.current("demo") == 2


def test_of_many_writers_one_moves_the_pointer(
    registry: Registry, tmp_path: Path
) -> None:
    registry.publish(stage(tmp_path / "a", 0))

    def move(_: int) -> bool:
        try:
            registry.set_current("demo", 1, None)
        except StaleWriteError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(move, range(16))) == 1


def test_many_publishers_get_different_versions(
    registry: Registry, tmp_path: Path
) -> None:
    staged = [stage(tmp_path / str(seed), seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        refs = list(pool.map(registry.publish, staged))
    assert sorted(refs) == [f"demo@{version}" for version in range(1, 7)]


def test_unsound_folder_is_not_published(registry: Registry, tmp_path: Path) -> None:
    staged = stage(tmp_path / "a", 0)
    fields = json.loads((staged / "cfg.json").read_text()) | {"k": 1}
    (staged / "cfg.json").write_text(json.dumps(fields))
    with pytest.raises(CorruptArtefactError, match=r"cfg\.json"):
        registry.publish(staged)
    assert registry.list() == []


def test_refs_are_taken_apart() -> None:
    assert parse_ref("rfam-l4") == Ref("rfam-l4", None)
    assert parse_ref("rfam-l4@12") == Ref("rfam-l4", 12)


def test_retired_version_is_listed_but_not_given_out(
    registry: Registry, tmp_path: Path
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    registry.publish(stage(tmp_path / "b", 1))
    registry.set_current("demo", 2)
    registry.retire("demo@1")
    registry.retire("demo@1")
    assert [entry.is_retired for entry in registry.list()] == [False, True]
    with pytest.raises(DictionaryNotFoundError, match="'demo@1' was retired"):
        registry.get("demo@1")
    with pytest.raises(DictionaryNotFoundError, match="'demo@1' was retired"):
        registry.set_current("demo", 1, 2)
    assert registry.current("demo") == 2


def test_current_version_cannot_be_retired(registry: Registry, tmp_path: Path) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    registry.set_current("demo", 1)
    with pytest.raises(DictionaryInUseError, match="it is current"):
        registry.retire("demo@1")
    assert registry.get("demo").ref == "demo@1"


@pytest.mark.parametrize("ref", ["demo", "demo@x", "none@1", "demo@9"])
def test_only_a_version_that_is_there_is_retired(
    registry: Registry, tmp_path: Path, ref: str
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    for act in (registry.retire, registry.purge):
        with pytest.raises((InvalidRequestError, DictionaryNotFoundError)):
            act(ref)
    with pytest.raises(InvalidRequestError, match="not retired"):
        registry.purge("demo@1")


def test_purged_version_is_gone_and_its_number_not_used_again(
    registry: Registry, tmp_path: Path
) -> None:
    staged = stage(tmp_path / "a", 0)
    registry.publish(staged)
    registry.retire("demo@1")
    registry.purge("demo@1")
    registry.purge("demo@1")
    assert registry.list() == []
    assert not (tmp_path / "root" / "demo" / "1").exists()
    with pytest.raises(DictionaryNotFoundError, match="retired"):
        registry.get("demo@1")
    assert registry.publish(staged) == "demo@2"


def told(events: Sequence[Event]) -> list[str]:
    return [f"{event.kind} {event.ref}" for event in events]


def test_events_tell_what_happened_since_a_position(
    registry: Registry, tmp_path: Path
) -> None:
    assert registry.events(None, 0) == []
    registry.publish(stage(tmp_path / "a", 0))
    before = time.time()
    first = registry.events(None, 0)
    assert told(first) == ["published demo@1"]
    assert before - 60 < first[0].time_s < before + 60
    assert registry.events(first[-1].position, 0) == []
    registry.publish(stage(tmp_path / "b", 1))
    registry.set_current("demo", 2)
    registry.retire("demo@1")
    after = registry.events(first[-1].position, 0)
    assert told(after) == ["published demo@2", "current demo@2", "retired demo@1"]
    assert registry.events(after[-1].position, 0) == []
    registry.publish(stage(tmp_path / "c", 2, "other"))
    assert told(registry.events(after[-1].position, 0)) == ["published other@1"]


def test_what_is_current_again_is_told_again(
    registry: Registry, tmp_path: Path
) -> None:
    for seed in range(2):
        registry.publish(stage(tmp_path / str(seed), seed))
    registry.set_current("demo", 1)
    seen = registry.events(None, 0)[-1].position
    registry.set_current("demo", 2, 1)
    registry.set_current("demo", 1, 2)
    events = registry.events(seen, 0)
    assert told(events)[-1:] == ["current demo@1"]
    assert registry.events(events[-1].position, 0) == []


@pytest.mark.parametrize("position", [None, "lost", "{", '{"demo":[1]}', "[]", "9-9"])
def test_a_lost_reader_is_told_all_that_is_so(
    registry: Registry, tmp_path: Path, position: str | None
) -> None:
    for seed in range(3):
        registry.publish(stage(tmp_path / str(seed), seed))
    registry.set_current("demo", 1)
    registry.set_current("demo", 3, 1)
    registry.retire("demo@1")
    events = registry.events(position, 0)
    assert set(told(events)) == {
        "published demo@1", "published demo@2", "published demo@3",
        "current demo@3", "retired demo@1",
    }  # fmt: skip
    assert registry.events(events[-1].position, 0) == []


def test_a_waiting_reader_is_woken(registry: Registry, tmp_path: Path) -> None:
    staged = stage(tmp_path / "a", 0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(registry.events, None, 20)
        registry.publish(staged)
        assert told(waiting.result(20)) == ["published demo@1"]


def test_history_keeps_every_move_of_the_pointer(
    registry: Registry, tmp_path: Path
) -> None:
    for seed in range(2):
        registry.publish(stage(tmp_path / str(seed), seed))
    registry.set_current("demo", 1)
    registry.set_current("demo", 2, 1)
    registry.set_current("demo", 1, 2)
    assert told(registry.history()) == [
        "published demo@1", "published demo@2",
        "current demo@1", "current demo@2", "current demo@1",
    ]  # fmt: skip


@pytest.mark.parametrize("file", [*FILES, MANIFEST_FILE])
def test_one_wrong_byte_in_any_file_is_noticed_and_the_file_named(
    registry: Registry, tmp_path: Path, file: str
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    path = tmp_path / "root" / "demo" / "1" / file
    whole = path.read_bytes()
    for at in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CorruptArtefactError, match=re.escape(file)):
            registry.get("demo@1")
    path.write_bytes(whole)
    assert registry.get("demo@1").ref == "demo@1"


def test_pointer_to_what_is_gone_is_taken_away(
    registry: Registry, tmp_path: Path
) -> None:
    for seed in range(2):
        registry.publish(stage(tmp_path / str(seed), seed))
    registry.set_current("demo", 2)
    assert registry.reconcile() == []
    shutil.rmtree(tmp_path / "root" / "demo" / "2")
    assert "demo@2" in " ".join(registry.reconcile())
    assert registry.current("demo") is None
    with pytest.raises(DictionaryNotFoundError):
        registry.set_current("demo", 2)
    registry.set_current("demo", 1)
    assert registry.get("demo").ref == "demo@1"
