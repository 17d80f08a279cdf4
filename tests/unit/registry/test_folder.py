"""The folder registry: what it survives, and what a reader needs."""

import logging
import shutil
from pathlib import Path

import pytest
from tests.unit.registry.conftest import stage

from ribolex.errors import CorruptArtefactError
from ribolex.registry import FolderRegistry


def test_half_written_folder_is_never_listed(
    folder: FolderRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.publish(stage(tmp_path / "a", 0))
    path = tmp_path / "root" / "demo"
    shutil.copytree(path / "1", path / ".incoming-left")
    shutil.copytree(path / "1", path / "2")
    (path / "2" / "dictionary.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert [entry.ref for entry in folder.list()] == ["demo@1"]
    assert "left out" in caplog.text
    with pytest.raises(CorruptArtefactError):
        folder.get("demo@2")
    folder.publish(stage(tmp_path / "b", 1))
    assert not (path / ".incoming-left").exists()
    assert [entry.ref for entry in folder.list()] == ["demo@3", "demo@1"]


def test_killed_publisher_leaves_the_registry_as_it_was(
    folder: FolderRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.publish(stage(tmp_path / "a", 0))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ribolex.registry.store.seal", die)
    staged = stage(tmp_path / "b", 1)
    with pytest.raises(KeyboardInterrupt):
        folder.publish(staged)
    assert [entry.ref for entry in folder.list()] == ["demo@1"]


def test_a_moved_version_is_noticed(folder: FolderRegistry, tmp_path: Path) -> None:
    folder.publish(stage(tmp_path / "a", 0))
    path = tmp_path / "root" / "demo"
    (path / "1").rename(path / "7")
    with pytest.raises(CorruptArtefactError, match="says demo@1, expected demo@7"):
        folder.get("demo@7")


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1"}', "[]"])
def test_broken_pointer_is_named(
    folder: FolderRegistry, tmp_path: Path, text: str
) -> None:
    folder.publish(stage(tmp_path / "a", 0))
    (tmp_path / "root" / "demo" / "current.json").write_text(text)
    with pytest.raises(CorruptArtefactError, match=r"current\.json"):
        folder.current("demo")


def test_a_read_only_root_can_be_read(folder: FolderRegistry, tmp_path: Path) -> None:
    folder.publish(stage(tmp_path / "a", 0))
    folder.set_current("demo", 1)
    root = tmp_path / "root"
    (root / "demo" / ".lock").unlink()
    before = sorted(root.rglob("*"))
    folder.list()
    folder.get("demo")
    assert sorted(root.rglob("*")) == before


def test_torn_line_in_the_log_is_left_out(
    folder: FolderRegistry, tmp_path: Path
) -> None:
    folder.publish(stage(tmp_path / "a", 0))
    log = tmp_path / "root" / "demo" / "log.jsonl"
    with log.open("ab") as file:
        file.write(b'\n{"kind": "curr')
    folder.publish(stage(tmp_path / "b", 1))
    kinds = [(event.kind, event.version) for event in folder.history()]
    assert kinds == [("published", 1), ("published", 2)]


def test_history_without_a_log_tells_what_is_so(
    folder: FolderRegistry, tmp_path: Path
) -> None:
    folder.publish(stage(tmp_path / "a", 0))
    folder.set_current("demo", 1)
    (tmp_path / "root" / "demo" / "log.jsonl").unlink()
    kinds = [(event.kind, event.version) for event in folder.history()]
    assert kinds == [("published", 1), ("current", 1)]


def test_one_broken_pointer_hides_no_other_dictionary(
    folder: FolderRegistry, tmp_path: Path
) -> None:
    folder.publish(stage(tmp_path / "a", 0))
    folder.publish(stage(tmp_path / "b", 1, "other"))
    folder.set_current("other", 1)
    (tmp_path / "root" / "demo" / "current.json").write_text("{")
    found = [(entry.ref, entry.is_current) for entry in folder.list()]
    assert found == [("demo@1", False), ("other@1", True)]
