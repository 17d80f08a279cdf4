"""The folder registry: versions rise, the pointer is compared before it moves."""

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from ribolex.dictionary import (
    Codes,
    FeatureTable,
    Identity,
    Panel,
    Sae,
    Standardisation,
    write_dictionary,
)
from ribolex.errors import (
    CorruptArtefactError,
    DictionaryExistsError,
    DictionaryNotFoundError,
    InvalidRequestError,
    StaleWriteError,
)
from ribolex.registry import FolderRegistry, Ref, parse_ref


def stage(path: Path, seed: int, name: str = "demo") -> Path:
    d_in, n_features, k = 4, 8, 2
    w_dec = torch.randn(n_features, d_in, generator=torch.Generator().manual_seed(seed))
    write_dictionary(
        path,
        name=name,
        identity=Identity(
            "tiny", "0" * 64, 2, "normed", "nucleotide", "sae", "topk",
            k, d_in, n_features, Standardisation((0.0,) * 4, (1.0,) * 4),
            "1" * 64, seed, "CC0-1.0",
        ),
        sae=Sae(
            w_dec.T.contiguous(), torch.zeros(n_features), w_dec, torch.zeros(d_in), k
        ),
        features=FeatureTable.blank(n_features),
        panel=Panel(
            ("a",),
            ("A",),
            Codes(
                np.array([0, 1]), np.array([2], np.uint32), np.ones(1, np.float32), 8
            ),
        ),
    )  # fmt: skip
    return path


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "root")


def test_versions_rise_and_the_newest_is_listed_first(
    registry: FolderRegistry, tmp_path: Path
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
    registry: FolderRegistry, tmp_path: Path
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    registry.publish(stage(tmp_path / "b", 1))
    with pytest.raises(DictionaryNotFoundError):
        registry.get("demo")
    registry.set_current("demo", 2)
    assert registry.current("demo") == 2
    assert registry.get("demo").ref == "demo@2"
    assert registry.get("demo@1").identity.seed == 0


def test_what_is_not_there_is_not_found(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    assert registry.current("nothing") is None
    for ref in ("nothing", "nothing@1"):
        with pytest.raises(DictionaryNotFoundError):
            registry.get(ref)
    registry.publish(stage(tmp_path / "a", 0))
    with pytest.raises(DictionaryNotFoundError):
        registry.set_current("demo", 2)


@pytest.mark.parametrize("text", ["", "@1", "a@", "a@0", "a@x", "../a", "a/b", ".a"])
def test_what_is_no_ref_is_refused(registry: FolderRegistry, text: str) -> None:
    with pytest.raises(InvalidRequestError):
        registry.get(text)


def test_refs_are_taken_apart() -> None:
    assert parse_ref("rfam-l4") == Ref("rfam-l4", None)
    assert parse_ref("rfam-l4@12") == Ref("rfam-l4", 12)


def test_the_same_content_is_published_once(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    staged = stage(tmp_path / "a", 0)
    registry.publish(staged)
    with pytest.raises(DictionaryExistsError, match="demo@1"):
        registry.publish(staged)


def test_stale_writer_does_not_move_the_pointer(
    registry: FolderRegistry, tmp_path: Path
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
    registry: FolderRegistry, tmp_path: Path
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
    registry: FolderRegistry, tmp_path: Path
) -> None:
    staged = [stage(tmp_path / str(seed), seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        refs = list(pool.map(registry.publish, staged))
    assert sorted(refs) == [f"demo@{version}" for version in range(1, 7)]


def test_half_written_folder_is_never_listed(
    registry: FolderRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    folder = tmp_path / "root" / "demo"
    shutil.copytree(folder / "1", folder / ".incoming-left")
    shutil.copytree(folder / "1", folder / "2")
    (folder / "2" / "dictionary.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert [entry.ref for entry in registry.list()] == ["demo@1"]
    assert "left out" in caplog.text
    with pytest.raises(CorruptArtefactError):
        registry.get("demo@2")
    registry.publish(stage(tmp_path / "b", 1))
    assert not (folder / ".incoming-left").exists()
    assert [entry.ref for entry in registry.list()] == ["demo@3", "demo@1"]


def test_killed_publisher_leaves_the_registry_as_it_was(
    registry: FolderRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish(stage(tmp_path / "a", 0))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ribolex.registry.folder.seal", die)
    staged = stage(tmp_path / "b", 1)
    with pytest.raises(KeyboardInterrupt):
        registry.publish(staged)
    assert [entry.ref for entry in registry.list()] == ["demo@1"]


def test_a_moved_version_is_noticed(registry: FolderRegistry, tmp_path: Path) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    folder = tmp_path / "root" / "demo"
    (folder / "1").rename(folder / "7")
    with pytest.raises(CorruptArtefactError, match="says demo@1, expected demo@7"):
        registry.get("demo@7")


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1"}', "[]"])
def test_broken_pointer_is_named(
    registry: FolderRegistry, tmp_path: Path, text: str
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    (tmp_path / "root" / "demo" / "current.json").write_text(text)
    with pytest.raises(CorruptArtefactError, match=r"current\.json"):
        registry.current("demo")


def test_unsound_folder_is_not_published(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    staged = stage(tmp_path / "a", 0)
    fields = json.loads((staged / "cfg.json").read_text()) | {"k": 1}
    (staged / "cfg.json").write_text(json.dumps(fields))
    with pytest.raises(CorruptArtefactError, match=r"cfg\.json"):
        registry.publish(staged)
    assert registry.list() == []


def test_a_read_only_root_can_be_read(registry: FolderRegistry, tmp_path: Path) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    registry.set_current("demo", 1)
    root = tmp_path / "root"
    (root / "demo" / ".lock").unlink()
    before = sorted(root.rglob("*"))
    registry.list()
    registry.get("demo")
    assert sorted(root.rglob("*")) == before
