"""The Redis registry: Redis away or wiped, leases lost, files and metadata apart."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from tests.unit.registry.conftest import stage
from tests.valkey import Valkey, running_valkey

from ribolex.dictionary import Manifest
from ribolex.errors import (
    CorruptArtefactError,
    DictionaryExistsError,
    DictionaryNotFoundError,
    InvalidRequestError,
    NotReadyError,
    StaleWriteError,
)
from ribolex.registry import RedisRegistry, Registry, open_registry
from ribolex.registry.scripts import EVENTS, Keys
from ribolex.registry.store import FolderStore


class StoreThen(FolderStore):
    """A folder where something happens once the files of a dictionary are there."""

    def __init__(self, root: Path, then: Callable[[], object]) -> None:
        super().__init__(root)
        self._then = then

    def put(self, staged: Path, manifest: Manifest) -> None:
        super().put(staged, manifest)
        self._then()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """Gives one that a test may kill and set as it likes."""
    with running_valkey() as valkey:
        yield valkey


@pytest.fixture
def registry(redis_on_folder: Registry) -> Registry:
    return redis_on_folder


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Redis]:
    with Redis.from_url(valkey.url, decode_responses=True) as redis:
        yield redis


def refs(registry: Registry) -> list[str]:
    return [entry.ref for entry in registry.list()]


def test_redis_away_is_said_with_its_address_and_found_again(
    own_valkey: Valkey, tmp_path: Path
) -> None:
    registry = open_registry(f"{own_valkey.url}?artefacts={tmp_path}/root")
    registry.publish(stage(tmp_path / "a", 0))
    position = registry.events(None, 0)[-1].position
    own_valkey.kill()
    staged = stage(tmp_path / "b", 1)
    for act in (
        registry.list,
        lambda: registry.get("demo@1"),
        lambda: registry.publish(staged),
        lambda: registry.set_current("demo", 1),
        lambda: registry.events(position, 5),
        registry.reconcile,
    ):
        with pytest.raises(NotReadyError, match="socket"):
            act()
    own_valkey.start()
    assert registry.get("demo@1").ref == "demo@1"
    assert registry.publish(staged) == "demo@2"
    assert [event.ref for event in registry.events(position, 5)] == ["demo@2"]


def test_nobody_listens_is_said_at_once(tmp_path: Path) -> None:
    registry = open_registry(f"redis://127.0.0.1:1/3?artefacts={tmp_path}")
    with pytest.raises(NotReadyError, match="127.0.0.1:1/3"):
        registry.current("demo")


def test_redis_that_accepts_and_is_silent_is_given_up(
    own_valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ribolex.registry.connection._ANSWER_S", 0.1)
    registry = open_registry(f"{own_valkey.url}?artefacts={tmp_path}")
    assert registry.list() == []
    own_valkey.pause()
    with pytest.raises(NotReadyError, match="socket"):
        registry.list()
    own_valkey.go_on()
    assert registry.list() == []


def test_password_is_not_told(own_valkey: Valkey, tmp_path: Path) -> None:
    with Redis.from_url(own_valkey.url) as redis:
        redis.config_set("requirepass", "right")
    path = own_valkey.url.removeprefix("unix://")
    right = open_registry(f"unix://:right@{path}?artefacts={tmp_path}")
    assert right.list() == []
    wrong = open_registry(f"unix://:geheim@{path}?artefacts=file://me:geheim@h/{path}")
    with pytest.raises(NotReadyError) as caught:
        wrong.list()
    assert "geheim" not in f"{caught.value} {wrong} {wrong!r}"
    assert "right" not in f"{right}"


def test_password_may_lie_in_a_file_and_change(
    own_valkey: Valkey, tmp_path: Path
) -> None:
    file, store = tmp_path / "password", tmp_path / "dictionaries"
    file.touch()
    registry = open_registry(f"{own_valkey.url}?artefacts={store}&password_file={file}")
    assert registry.list() == []  # an empty file is no password
    for password in ("first", "second"):
        known = file.read_text().strip() or None
        with Redis.from_url(own_valkey.url, password=known) as redis:
            redis.config_set("requirepass", password)
            redis.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(NotReadyError):
            registry.list()
        file.write_text(f"{password}\n")
        assert registry.list() == []
    file.unlink()
    with pytest.raises(NotReadyError) as caught:
        open_registry(f"{own_valkey.url}?artefacts={store}&password_file={file}").list()
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://me:geheim@h/x?artefacts=y", "ftp:// is none"),
        ("redis://:geheim@h:1/0", "artefacts"),
        ("redis://:geheim@h:x/0?artefacts=y", "no URL of a Redis"),
        ("redis://:geheim@h/0?artefacts=none%3A//me:geheim@x", "none://"),
    ],
)
def test_what_is_no_registry_is_refused(url: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        open_registry(url)
    assert "geheim" not in str(caught.value)


def test_a_redis_that_evicts_keys_is_refused(
    own_valkey: Valkey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{own_valkey.url}?artefacts={tmp_path}"
    with Redis.from_url(own_valkey.url) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        with caplog.at_level(logging.WARNING):
            assert open_registry(url).list() == []
        assert "allkeys-lru" in caplog.text
        redis.config_set("maxmemory", "100mb")
    with pytest.raises(InvalidRequestError, match="allkeys-lru.*expected noeviction"):
        open_registry(url).list()


def test_reader_behind_the_cut_log_is_told_all_that_is_so(
    registry: Registry, redis: Redis, tmp_path: Path
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    position = registry.events(None, 0)[-1].position
    registry.set_current("demo", 1)
    registry.publish(stage(tmp_path / "b", 1))
    redis.xtrim(EVENTS, maxlen=1, approximate=False)
    found = [f"{event.kind} {event.ref}" for event in registry.events(position, 0)]
    assert found == ["published demo@1", "published demo@2", "current demo@1"]


def test_publisher_whose_lease_was_lost_publishes_nothing(
    valkey: Valkey, redis: Redis, tmp_path: Path
) -> None:
    def lose() -> None:
        redis.set(Keys.of("demo").lease, "another's")

    root = tmp_path / "root"
    registry = RedisRegistry(valkey.url, StoreThen(root, lose))
    with pytest.raises(StaleWriteError, match="lease"):
        registry.publish(stage(tmp_path / "a", 0))
    assert refs(registry) == []
    assert registry.events(None, 0) == []
    assert not (root / "demo" / "1").exists()
    assert redis.get(Keys.of("demo").lease) == "another's"


def test_publisher_swept_away_by_the_next_says_that_its_lease_was_lost(
    valkey: Valkey, redis: Redis, tmp_path: Path
) -> None:
    def lose() -> None:
        redis.delete(Keys.of("demo").lease)
        raise FileNotFoundError("swept away")

    registry = RedisRegistry(valkey.url, StoreThen(tmp_path / "root", lose))
    with pytest.raises(StaleWriteError, match="lease"):
        registry.publish(stage(tmp_path / "a", 0))


def test_lease_is_prolonged_while_its_holder_works(
    valkey: Valkey, tmp_path: Path
) -> None:
    slow = StoreThen(tmp_path / "root", lambda: time.sleep(5))
    first = RedisRegistry(valkey.url, slow, lease_s=2)
    second = RedisRegistry(valkey.url, slow, lease_s=2)
    staged = [stage(tmp_path / str(seed), seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = [
            pool.submit(registry.publish, path)
            for registry, path in zip((first, second), staged, strict=True)
        ]
        assert sorted(each.result() for each in found) == ["demo@1", "demo@2"]


def test_who_waits_for_a_lease_does_not_wait_for_ever(
    valkey: Valkey, redis: Redis, tmp_path: Path
) -> None:
    redis.set(Keys.of("demo").lease, "another's")
    store = FolderStore(tmp_path / "root")
    registry = RedisRegistry(valkey.url, store, wait_s=0.1)
    with pytest.raises(NotReadyError, match="another publisher"):
        registry.publish(stage(tmp_path / "a", 0))


def test_lost_metadata_is_made_anew_from_the_files(
    registry: Registry, redis: Redis, tmp_path: Path
) -> None:
    for seed in range(3):
        registry.publish(stage(tmp_path / str(seed), seed))
    registry.set_current("demo", 2)
    registry.retire("demo@1")
    position = registry.events(None, 0)[-1].position
    redis.flushall()
    assert refs(registry) == []
    assert len(registry.reconcile()) == 4
    assert refs(registry) == ["demo@3", "demo@2", "demo@1"]
    assert [entry.is_retired for entry in registry.list()] == [False, False, True]
    assert registry.current("demo") is None
    found = {f"{event.kind} {event.ref}" for event in registry.events(position, 0)}
    assert found >= {"published demo@3", "retired demo@1"}
    assert registry.publish(stage(tmp_path / "d", 3)) == "demo@4"
    assert registry.reconcile() == []


def test_what_was_put_in_place_as_redis_died_is_announced_later(
    own_valkey: Valkey, tmp_path: Path
) -> None:
    store = StoreThen(tmp_path / "root", own_valkey.kill)
    registry = RedisRegistry(own_valkey.url, store, lease_s=0.2)
    with pytest.raises(NotReadyError):
        registry.publish(stage(tmp_path / "a", 0))
    own_valkey.start()
    assert refs(registry) == []
    deadline = time.monotonic() + 60
    while not refs(registry) and time.monotonic() < deadline:
        registry.reconcile()
        time.sleep(0.05)
    assert registry.get("demo@1").ref == "demo@1"


def test_versions_of_the_same_content_are_all_kept(
    registry: Registry, redis: Redis, tmp_path: Path
) -> None:
    staged = stage(tmp_path / "a", 0)
    registry.publish(staged)
    redis.flushall()
    registry.publish(staged)
    assert refs(registry) == ["demo@2"]
    assert registry.reconcile() == ["demo@1 is there and was unknown to Redis"]
    assert refs(registry) == ["demo@2", "demo@1"]
    assert [registry.get(ref).ref for ref in refs(registry)] == refs(registry)
    with pytest.raises(DictionaryExistsError, match="demo@1"):
        registry.publish(staged)
    registry.retire("demo@1")
    registry.purge("demo@1")
    assert registry.get("demo@2").ref == "demo@2"
    assert registry.reconcile() == []


def test_what_was_announced_for_a_slow_publisher_is_not_taken_back(
    valkey: Valkey, redis: Redis, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    other = RedisRegistry(valkey.url, FolderStore(root))

    def lose() -> None:
        redis.delete(Keys.of("demo").lease)
        assert len(other.reconcile()) == 1

    slow = RedisRegistry(valkey.url, StoreThen(root, lose))
    assert slow.publish(stage(tmp_path / "a", 0)) == "demo@1"
    assert other.get("demo@1").ref == "demo@1"


def test_what_is_not_whole_is_not_announced(
    registry: Registry, redis: Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    registry.publish(stage(tmp_path / "b", 1))
    redis.flushall()
    (tmp_path / "root" / "demo" / "1" / "features.parquet").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        registry.reconcile()
    assert refs(registry) == ["demo@2"]
    assert "features.parquet" in caplog.text


def test_store_that_is_away_costs_no_pointer(
    registry: Registry, tmp_path: Path
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    registry.set_current("demo", 1)
    (tmp_path / "root").rename(tmp_path / "away")
    with pytest.raises(NotReadyError, match="holds no dictionary"):
        registry.reconcile()
    with pytest.raises(CorruptArtefactError):
        registry.get("demo")
    (tmp_path / "away").rename(tmp_path / "root")
    assert registry.get("demo").ref == "demo@1"


def test_another_dictionary_in_its_place_is_noticed(
    registry: Registry, redis: Redis, tmp_path: Path
) -> None:
    registry.publish(stage(tmp_path / "a", 0))
    shutil.rmtree(tmp_path / "root")
    redis.rename(Keys.of("demo").versions, "kept")
    redis.delete(Keys.of("demo").contents, Keys.of("demo").last)
    registry.publish(stage(tmp_path / "b", 1))
    redis.rename("kept", Keys.of("demo").versions)
    with pytest.raises(CorruptArtefactError, match="content id"):
        registry.get("demo@1")


def test_two_names_need_no_common_lease(
    valkey: Valkey, redis: Redis, tmp_path: Path
) -> None:
    redis.set(Keys.of("demo").lease, "another's")
    store = FolderStore(tmp_path / "root")
    registry = RedisRegistry(valkey.url, store, wait_s=0)
    assert registry.publish(stage(tmp_path / "a", 0, "other")) == "other@1"
    with pytest.raises(DictionaryNotFoundError):
        registry.get("demo@1")
