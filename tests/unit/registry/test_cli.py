"""`ribolex dictionaries`: work on a registry from a shell."""

import json
from pathlib import Path

import typer
from tests.unit.registry.conftest import stage
from typer.testing import CliRunner, Result

from ribolex.errors import DictionaryNotFoundError, StaleWriteError
from ribolex.registry import FolderRegistry
from ribolex.registry.cli import dictionaries_group, register


def run(folder: FolderRegistry, *arguments: str) -> Result:
    app = typer.Typer()
    register(app)
    texts = ["dictionaries", *arguments, "--registry", str(folder)]
    return CliRunner().invoke(app, texts)


def test_the_life_of_a_version(folder: FolderRegistry, tmp_path: Path) -> None:
    for seed in range(2):
        staged = stage(tmp_path / str(seed), seed)
        assert (
            run(folder, "publish", str(staged)).stdout == f"published demo@{seed + 1}\n"
        )
    error = run(folder, "current", "demo").exception
    assert isinstance(error, DictionaryNotFoundError)
    assert "-" in run(folder, "activate", "demo@1").stdout
    assert "before it: demo@1" in run(folder, "activate", "demo@2").stdout
    assert "already" in run(folder, "activate", "demo@2").stdout
    assert run(folder, "current", "demo").stdout == "demo@2\n"
    assert run(folder, "retire", "demo@1").exit_code == 0
    listed = run(folder, "list").stdout.splitlines()
    assert listed[1].startswith("demo@2 *")
    assert "retired" in listed[2]
    assert run(folder, "purge", "demo@1").exit_code == 0
    entries = json.loads(run(folder, "list", "--json").stdout)
    assert [entry["version"] for entry in entries] == [2]
    events = json.loads(run(folder, "log", "--json").stdout)
    assert [(event["kind"], event["version"]) for event in events] == [
        ("published", 1), ("published", 2), ("current", 1), ("current", 2),
        ("retired", 1),
    ]  # fmt: skip
    assert run(folder, "log").stdout.count("demo@1") == 3
    assert run(folder, "reconcile").stdout == "nothing to mend\n"


def test_current_versions_are_brought_to_another_registry_once(
    folder: FolderRegistry, tmp_path: Path
) -> None:
    other = FolderRegistry(tmp_path / "other")
    for seed, name in ((0, "one"), (1, "one"), (2, "two")):
        other.publish(stage(tmp_path / f"{seed}", seed, name))
    other.set_current("one", 2)
    told = run(folder, "copy", "--from", str(other)).stdout
    assert told == "published one@1\none@1 is current\n"
    assert folder.get("one").content_id == other.get("one").content_id
    newer = folder.publish(stage(tmp_path / "newer", 3, "one"))
    folder.set_current("one", 2, 1)
    assert newer == "one@2"
    told = run(folder, "copy", "--from", str(other)).stdout
    assert told == "one@1 is there already\n"
    assert folder.current("one") == 2
    assert run(folder, "copy", "--from", str(tmp_path / "none")).exit_code == 2
    assert run(folder, "copy", "--from", "redis://h:1/0").exit_code == 2


def test_copying_leaves_what_was_retired_as_it_is(
    folder: FolderRegistry, tmp_path: Path
) -> None:
    other = FolderRegistry(tmp_path / "other")
    for registry in (other, folder):
        registry.publish(stage(tmp_path / Path(str(registry)).name, 0))
    other.set_current("demo", 1)
    folder.retire("demo@1")
    assert "demo@1 is retired" in run(folder, "copy", "--from", str(other)).stdout
    assert folder.current("demo") is None


def test_activation_that_expects_another_version_is_refused(
    folder: FolderRegistry, tmp_path: Path
) -> None:
    for seed in range(2):
        folder.publish(stage(tmp_path / str(seed), seed))
    assert run(folder, "activate", "demo@1", "--expected", "0").exit_code == 0
    error = run(folder, "activate", "demo@2", "--expected", "0").exception
    assert isinstance(error, StaleWriteError)
    assert run(folder, "activate", "demo@2", "--expected", "1").exit_code == 0


def test_the_group_is_made_once() -> None:
    app = typer.Typer()
    assert dictionaries_group(app) is dictionaries_group(app)
