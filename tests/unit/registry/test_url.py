"""A store at a URL: what is no folder of this machine works as one."""

import uuid
from pathlib import Path

import pytest
from tests.unit.registry.conftest import stage
from tests.valkey import Valkey

from ribolex.errors import CorruptArtefactError, DictionaryNotFoundError, NotReadyError
from ribolex.registry import open_registry
from ribolex.registry.url import UrlStore


@pytest.fixture
def url() -> str:
    """Gives a place in memory that no other test has used."""
    return f"memory://{uuid.uuid4().hex}/dictionaries"


def test_the_life_of_a_version(valkey: Valkey, url: str, tmp_path: Path) -> None:
    registry = open_registry(f"{valkey.url}?artefacts={url}")
    for seed in range(2):
        registry.publish(stage(tmp_path / str(seed), seed))
    registry.set_current("demo", 2)
    assert registry.get("demo").identity.seed == 1
    registry.retire("demo@1")
    registry.purge("demo@1")
    assert [entry.ref for entry in registry.list()] == ["demo@2"]
    with pytest.raises(DictionaryNotFoundError, match="retired"):
        registry.get("demo@1")
    assert registry.publish(stage(tmp_path / "c", 2)) == "demo@3"
    assert registry.reconcile() == []


def test_upload_that_broke_off_is_not_there_and_swept(url: str) -> None:
    store = UrlStore(url)
    with store._reached() as fs:
        fs.pipe_file(f"{store._root}/demo/4/cfg.json", b"{}")
    assert not store.has("demo", 4)
    assert store.taken("demo") == 4
    with pytest.raises(CorruptArtefactError, match=r"dictionary\.json: is missing"):
        store.manifest("demo", 4)
    store.sweep("demo")
    assert store.versions("demo") == []


def test_place_that_fails_is_said_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = UrlStore(f"file://{tmp_path}/file/below")
    with pytest.raises(NotReadyError, match="file/below"):
        store.mark_retired("demo", 1)
    assert "geheim" not in str(UrlStore("memory://me:geheim@there/x?key=geheim"))
