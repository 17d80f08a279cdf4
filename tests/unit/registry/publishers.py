"""Processes that publish, for tests that race, stop and kill them."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ribolex.dictionary import Manifest
from ribolex.errors import DictionaryExistsError, NotReadyError, StaleWriteError
from ribolex.registry import FolderRegistry, RedisRegistry, Registry
from ribolex.registry.store import FolderStore

LEASE_S = 0.5

_ROOT = Path(__file__).parents[3]

# Forked from a process that has loaded everything and runs no thread.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["ribolex.registry.redis_registry"])


class Stopping(FolderStore):
    """Stops its process as soon as the files of a dictionary are there."""

    def put(self, staged: Path, manifest: Manifest) -> None:
        super().put(staged, manifest)
        os.kill(os.getpid(), signal.SIGSTOP)


def opened(url: str | None, root: Path, store: FolderStore | None = None) -> Registry:
    """Gives a registry in a folder, or in the Redis at a URL, of short leases."""
    if url is None:
        return FolderRegistry(root)
    return RedisRegistry(url, store or FolderStore(root), lease_s=LEASE_S)


def publish_each(
    said: Connection, url: str | None, root: Path, staged: Sequence[Path]
) -> None:
    """Publishes, makes current if that is still as seen; says what it did."""
    registry = opened(url, root)
    said.send("ready")
    for path in staged:
        before = registry.current("demo")
        ref = _publish_at_last(registry, path)
        said.send(("published", ref))
        version = int(ref.partition("@")[2])
        with suppress(StaleWriteError):
            registry.set_current("demo", version, before)
            said.send(("moved", before, version))


def publish_stubbornly(
    said: Connection, url: str | None, root: Path, staged: Sequence[Path]
) -> None:
    """Publishes and makes current, again and again while Redis is away."""
    registry = opened(url, root)
    said.send("ready")
    for path in staged:
        while True:
            try:
                said.send(("published", _publish_once(registry, path)))
                break
            except (NotReadyError, StaleWriteError):
                time.sleep(0.02)


def publish_stopped(
    said: Connection, url: str | None, root: Path, staged: Sequence[Path]
) -> None:
    """Publishes one and is stopped in the middle; says how that ended."""
    registry = opened(url, root, Stopping(root))
    said.send("ready")
    try:
        said.send(("published", registry.publish(staged[0])))
    except StaleWriteError as error:
        said.send(("stale", str(error)))


def prepare() -> None:
    """Begins to load what publishers need, in a process of its own."""
    ensure_running()


def start(target: Any, *arguments: object) -> tuple[BaseProcess, Connection]:
    """Gives a running process that is ready, and what it says."""
    heard, said = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=target, args=(said, *arguments), daemon=True)
    # Handed on to the process, which is to find this module.
    sys.path.append(str(_ROOT))
    try:
        process.start()
    finally:
        sys.path.remove(str(_ROOT))
    said.close()
    assert heard.recv() == "ready"
    return process, heard


def rest(heard: Connection) -> Iterator[Any]:
    """Gives what a process said until it ended."""
    with suppress(EOFError, ConnectionResetError):
        while True:
            yield heard.recv()


def _publish_at_last(registry: Registry, path: Path) -> str:
    """Publishes, though a busy machine may let a lease run out."""
    while True:
        with suppress(StaleWriteError):
            return registry.publish(path)


def _publish_once(registry: Registry, path: Path) -> str:
    try:
        ref = registry.publish(path)
    except DictionaryExistsError as error:
        ref = error.ref
    before, version = registry.current("demo"), int(ref.partition("@")[2])
    if version > (before or 0):
        registry.set_current("demo", version, before)
    return ref
