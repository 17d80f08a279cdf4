"""Publishers and Redis are killed at random: readers notice nothing, nothing is lost.

More rounds: RIBOLEX_CRASH_ROUNDS=200 pytest tests/unit/registry/test_crash.py
--timeout 3600 -o log_cli=true --log-cli-level=INFO
"""

import logging
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.registry.conftest import stage
from tests.unit.registry.publishers import (
    opened,
    publish_each,
    publish_stopped,
    publish_stubbornly,
    rest,
    start,
)
from tests.valkey import Valkey, running_valkey

from ribolex.errors import DictionaryNotFoundError, NotReadyError
from ribolex.registry import Registry

log = logging.getLogger(__name__)

ROUNDS = int(os.environ.get("RIBOLEX_CRASH_ROUNDS", "4"))
_BATCH = 4
"""Dictionaries to publish in a round; few publishers live to the last one."""


@pytest.fixture(params=["folder", "redis"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Gives the URL of an empty Redis, or None for a registry in a folder."""
    if request.param == "folder":
        return None
    valkey: Valkey = request.getfixturevalue("valkey")
    return valkey.url


@contextmanager
def read_all_the_time(registry: Registry) -> Iterator[Counter[str]]:
    """Reads all that is told of while the body runs; all of it must load."""
    counts: Counter[str] = Counter()
    faults: list[BaseException] = []
    done = threading.Event()

    def look(position: str | None) -> str | None:
        current = registry.current("demo")
        if current is not None:
            assert registry.get(f"demo@{current}").version == current
            counts["currents loaded"] += 1
        events = registry.events(position, 0.02)
        for event in events:
            assert registry.get(event.ref).ref == event.ref
            counts["events loaded"] += 1
        for entry in registry.list()[:3]:
            assert registry.get(entry.ref).content_id == entry.content_id
            counts["listed loaded"] += 1
        return events[-1].position if events else position

    def read() -> None:
        position = None
        while not done.wait(0.005):
            try:
                position = look(position)
            except NotReadyError:
                counts["Redis away"] += 1
            except BaseException as fault:
                faults.append(fault)
                return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield counts
    finally:
        done.set()
        thread.join()
    assert faults == []


def check_all(registry: Registry, root: Path, acknowledged: list[str]) -> None:
    """Expects a sound registry that holds all that was acknowledged."""
    registry.reconcile()
    entries = registry.list()
    there = {entry.ref for entry in entries}
    assert set(acknowledged) <= there
    assert len(acknowledged) == len(set(acknowledged))
    for ref in there:
        registry.get(ref)
    current = registry.current("demo")
    assert current is None or f"demo@{current}" in there
    folders = {f"demo@{path.name}" for path in (root / "demo").glob("[0-9]*")}
    assert folders == there
    assert list((root / "demo").glob(".incoming-*")) == []


def test_killed_publishers_leave_whole_versions_only(
    url: str | None, tmp_path: Path
) -> None:
    root, chance = tmp_path / "root", random.Random(0)
    registry = opened(url, root)
    registry.publish(stage(tmp_path / "first", 0))
    acknowledged = ["demo@1"]
    with read_all_the_time(registry) as counts:
        for turn in range(ROUNDS):
            seeds = range(1 + turn * _BATCH, 1 + (turn + 1) * _BATCH)
            staged = [stage(tmp_path / str(seed), seed) for seed in seeds]
            process, heard = start(publish_each, url, root, staged)
            said = [heard.recv() for _ in range(chance.randrange(2 * _BATCH - 2))]
            time.sleep(chance.uniform(0, 0.15))
            process.kill()
            said += rest(heard)
            acknowledged += [line[1] for line in said if line[0] == "published"]
            process.join()
            counts["killed at work" if process.exitcode else "done before"] += 1
    registry.publish(stage(tmp_path / "last", -1))
    n_before = len(registry.list())
    check_all(registry, root, acknowledged)
    counts["acknowledged"] = len(acknowledged)
    counts["whole but not announced"] = len(registry.list()) - n_before
    log.info("%s: %s", "folder" if url is None else "redis", dict(counts))


def test_racing_publishers_lose_nothing(url: str | None, tmp_path: Path) -> None:
    root = tmp_path / "root"
    registry = opened(url, root)
    staged = [stage(tmp_path / str(seed), seed) for seed in range(2 * ROUNDS)]
    with read_all_the_time(registry) as counts:
        running = [
            start(publish_each, url, root, part) for part in (staged[::2], staged[1::2])
        ]
        said = [list(rest(heard)) for _, heard in running]
        for process, _ in running:
            process.join()
            assert process.exitcode == 0
    refs = [line[1] for lines in said for line in lines if line[0] == "published"]
    assert len(refs) == len(staged)
    check_all(registry, root, refs)
    moves = dict(line[1:] for lines in said for line in lines if line[0] == "moved")
    n_moved = sum(line[0] == "moved" for lines in said for line in lines)
    # Of those who saw the same pointer one moved it: the moves are one chain.
    assert len(moves) == n_moved
    at, chain = None, []
    while at in moves:
        at = moves[at]
        chain.append(at)
    assert len(chain) == n_moved
    assert registry.current("demo") == at
    told = [event.version for event in registry.history() if event.kind == "current"]
    assert told == chain
    counts.update({"published": len(refs), "pointer moved": n_moved})
    log.info("%s: %s", "folder" if url is None else "redis", dict(counts))


def test_killed_redis_loses_nothing_acknowledged(tmp_path: Path) -> None:
    root, chance = tmp_path / "root", random.Random(0)
    staged = [stage(tmp_path / str(seed), seed) for seed in range(3 * ROUNDS)]
    with running_valkey() as valkey:
        registry = opened(valkey.url, root)
        process, heard = start(publish_stubbornly, valkey.url, root, staged)
        with read_all_the_time(registry) as counts:
            while process.is_alive() and counts["Redis killed"] < ROUNDS:
                time.sleep(chance.uniform(0, 0.25))
                valkey.kill()
                valkey.start()
                counts["Redis killed"] += 1
            refs = [line[1] for line in rest(heard)]
            process.join()
        assert process.exitcode == 0
        assert len(refs) == len(staged)
        n_repairs = len(registry.reconcile())
        check_all(registry, root, refs)
        assert len({entry.content_id for entry in registry.list()}) == len(staged)
        assert len(registry.list()) == len(staged) + n_repairs
        assert registry.get("demo").ref == refs[-1]
        counts.update({"acknowledged": len(refs), "doubles kept": n_repairs})
    log.info("redis: %s", dict(counts))


def test_publisher_that_slept_past_its_lease_publishes_nothing(
    valkey: Valkey, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    registry = opened(valkey.url, root)
    process, heard = start(
        publish_stopped, valkey.url, root, [stage(tmp_path / "a", 0)]
    )
    while not (root / "demo" / "1" / "dictionary.json").exists():
        time.sleep(0.005)
    assert registry.publish(stage(tmp_path / "b", 1)) == "demo@2"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    assert [line[0] for line in rest(heard)] == ["stale"]
    process.join()
    assert [entry.ref for entry in registry.list()] == ["demo@2"]
    assert not (root / "demo" / "1").exists()
    with pytest.raises(DictionaryNotFoundError):
        registry.get("demo@1")
