"""A registry whose files lie in a store and whose names, pointers and log in Redis.

Files come first, then the metadata with its event in one step: what Redis tells of is
there. Knows nothing of how either keeps what it is given.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from ribolex.dictionary import Dictionary, Manifest, load_dictionary, read_manifest
from ribolex.dictionary.artefact import MANIFEST_FILE
from ribolex.errors import (
    CorruptArtefactError,
    DictionaryExistsError,
    DictionaryInUseError,
    DictionaryNotFoundError,
    InvalidRequestError,
    StaleWriteError,
)
from ribolex.registry import scripts
from ribolex.registry.connection import Connection
from ribolex.registry.lease import held
from ribolex.registry.metadata import Metadata
from ribolex.registry.protocol import (
    Entry,
    Event,
    check_place,
    is_name,
    parse_pinned,
    parse_ref,
    retired_error,
)
from ribolex.registry.repair import reconcile
from ribolex.registry.store import Store

log = logging.getLogger(__name__)

_BLOCK_S = 1.0
"""Longest wait in one call for events; well under the time-out of the socket."""


class RedisRegistry:
    """Published dictionaries known to a Redis; a `Registry` for several machines.

    Args:
        url: redis://, rediss:// or unix://.
        store: where the files lie.
        lease_s: a publisher that was killed bars others for so long.
        wait_s: longest wait for another publisher of the same name.
    """

    def __init__(
        self, url: str, store: Store, *, lease_s: float = 10.0, wait_s: float = 120.0
    ) -> None:
        self._metadata = Metadata(Connection(url))
        self._store = store
        self._lease_s = lease_s
        self._wait_s = wait_s

    def __str__(self) -> str:
        """Returns where both are, without a password."""
        return f"redis://{self._metadata.connection.address}?artefacts={self._store}"

    def publish(self, staged: Path) -> str:
        """Takes a copy of a dictionary under the next version of its name."""
        found = load_dictionary(staged)
        name = found.name
        if not is_name(name):
            raise InvalidRequestError("name", f"{name!r} is no dictionary name")
        files = read_manifest(staged).files
        connection = self._metadata.connection
        with held(connection, name, self._lease_s, self._wait_s) as token:
            version = self._allocate(name, token, found.content_id)
            manifest = Manifest.of(name, version, found.identity, files)
            self._put(staged, manifest, token)
            if not self._metadata.announce(manifest, token):
                self._withdraw(name, version)
        log.info("published dictionary=%s@%d", name, version)
        return f"{name}@{version}"

    def get(self, ref: str) -> Dictionary:
        """Returns a dictionary after checking it; a name alone is its current one."""
        name, version = parse_ref(ref)
        if version is None:
            version = self.current(name)
        if version is None:
            raise DictionaryNotFoundError(ref)
        if version in self._metadata.retired(name):
            raise retired_error(f"{name}@{version}")
        known = self._metadata.manifest(name, version)
        if known is None:
            raise DictionaryNotFoundError(f"{name}@{version}")
        recorded = self._read(known, name, version)
        with self._store.opened(name, version) as path:
            found = load_dictionary(path)
        where = f"{self._store}/{name}/{version}/{MANIFEST_FILE}"
        check_place(found, name, version, where)
        if found.content_id != recorded.content_id:
            raise CorruptArtefactError(
                where,
                f"content id is {found.content_id}, expected {recorded.content_id}",
            )
        return found

    def list(self) -> Sequence[Entry]:
        """Returns all versions: names in order, the newest of each first."""
        entries = []
        for name in self._metadata.names():
            current, retired = self.current(name), self._metadata.retired(name)
            known = self._metadata.manifests(name)
            for version in sorted(known, reverse=True):
                try:
                    manifest = self._read(known[version], name, version)
                except CorruptArtefactError as error:
                    log.warning("left out of the list: %s", error)
                    continue
                entries.append(Entry.of(manifest, current, version in retired))
        return entries

    def current(self, name: str) -> int | None:
        """Returns the current version of a name, or None if none was set."""
        return self._metadata.current(parse_ref(name).name)

    def set_current(self, name: str, version: int, expected: int | None = None) -> None:
        """Moves the current pointer if it is still where the caller saw it."""
        ref = f"{name}@{version}"
        parse_pinned(ref)
        if version in self._metadata.retired(name):
            raise retired_error(ref)
        if not self._store.has(name, version):
            raise DictionaryNotFoundError(ref)
        word, found = self._metadata.run(
            name, scripts.SET_CURRENT, name, version, expected or ""
        )
        if word == "missing":
            raise DictionaryNotFoundError(ref)
        if word == "retired":
            raise retired_error(ref)
        if word == "stale":
            raise StaleWriteError(name, expected, int(found) if found else None)
        log.info("current dictionary=%s before=%s", ref, expected)

    def retire(self, ref: str) -> None:
        """Withdraws a version for good."""
        name, version = parse_pinned(ref)
        word, _ = self._metadata.run(name, scripts.RETIRE, name, version)
        if word == "missing":
            raise DictionaryNotFoundError(ref)
        if word == "current":
            raise DictionaryInUseError(ref, "it is current")
        self._store.mark_retired(name, version)
        log.info("retired dictionary=%s", ref)

    def purge(self, ref: str) -> None:
        """Removes the files of a retired version; its number is not used again."""
        name, version = parse_pinned(ref)
        if version not in self._metadata.retired(name):
            if version not in self._metadata.versions(name):
                raise DictionaryNotFoundError(ref)
            raise InvalidRequestError("dictionary", f"{ref} is not retired")
        self._store.mark_retired(name, version)
        self._store.remove(name, version)
        self._metadata.run(name, scripts.FORGET, version)
        log.info("purged dictionary=%s", ref)

    def events(self, after: str | None, timeout_s: float) -> Sequence[Event]:
        """Returns what happened since a position, as soon as anything has."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            found = self._metadata.events(after, min(left_s, _BLOCK_S))
            if found or left_s <= 0:
                return found

    def history(self) -> Sequence[Event]:
        """Returns what is on record of the past, oldest first."""
        return self._metadata.history()

    def reconcile(self) -> Sequence[str]:
        """Mends what crashes and losses left behind; returns a line on each repair."""
        return reconcile(self._metadata, self._store, self._lease_s)

    def _allocate(self, name: str, token: str, content_id: str) -> int:
        taken = self._store.taken(name)
        word, value = self._metadata.run(
            name, scripts.ALLOCATE, token, content_id, taken
        )
        if word == "exists":
            raise DictionaryExistsError(f"{name}@{value}")
        if word == "stale":
            raise _lost_error(name)
        return int(value)

    def _put(self, staged: Path, manifest: Manifest, token: str) -> None:
        try:
            self._store.sweep(manifest.name)
            self._store.put(staged, manifest)
        except OSError as error:
            # Another may have taken the lease, and swept these files away.
            ttl_ms = int(self._lease_s * 1000)
            run = self._metadata.run(manifest.name, scripts.EXTEND, token, ttl_ms)
            if run.word == "stale":
                raise _lost_error(manifest.name) from error
            raise

    def _withdraw(self, name: str, version: int) -> None:
        """Takes back what the lease was lost for, unless `reconcile` announced it."""
        if version not in self._metadata.versions(name):
            self._store.remove(name, version)
            raise _lost_error(name)

    def _read(self, known: str, name: str, version: int) -> Manifest:
        return Manifest.from_bytes(known.encode(), f"{self}: {name}@{version}")


def _lost_error(name: str) -> StaleWriteError:
    return StaleWriteError(
        name,
        None,
        None,
        f"dictionary {name!r}: the lease to publish expired meanwhile, nothing was "
        "published",
    )
