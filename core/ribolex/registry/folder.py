"""A registry in a folder: what the store holds, a current.json and a log for each name.

Readers take no lock and write nothing, so that the root may be read-only; writers of
one name exclude each other, between processes too. Events are what differs between
two looks at the folder, so no crash can lose one. Knows nothing of what is inside a
dictionary beyond its manifest.
"""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ribolex.dictionary import Dictionary, Manifest, load_dictionary, read_manifest
from ribolex.dictionary.artefact import MANIFEST_FILE
from ribolex.disk import sync, write_whole
from ribolex.errors import (
    CorruptArtefactError,
    DictionaryExistsError,
    DictionaryInUseError,
    DictionaryNotFoundError,
    InvalidRequestError,
    StaleWriteError,
)
from ribolex.registry.protocol import (
    Entry,
    Event,
    EventKind,
    check_place,
    is_name,
    parse_pinned,
    parse_ref,
    retired_error,
)
from ribolex.registry.store import RETIRED, FolderStore

log = logging.getLogger(__name__)

CURRENT_FILE = "current.json"
LOG_FILE = "log.jsonl"
_LOCK_FILE = ".lock"
_LOOK_S = 0.2
"""Between two looks at the folder while a caller waits for events."""


class _Seen(NamedTuple):
    """A name as it was at some time."""

    current: int | None = None
    versions: tuple[int, ...] = ()
    retired: tuple[int, ...] = ()
    pointed: str = ""
    """Another text whenever the current version was set, be it to what it was."""


class FolderRegistry:
    """Published dictionaries in a folder; a `Registry` that needs nothing else."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._store = FolderStore(root)

    def __str__(self) -> str:
        """Returns the folder's path."""
        return str(self._root)

    def publish(self, staged: Path) -> str:
        """Takes a copy of a dictionary under the next version of its name."""
        found = load_dictionary(staged)
        if not is_name(found.name):
            raise InvalidRequestError("name", f"{found.name!r} is no dictionary name")
        (self._root / found.name).mkdir(parents=True, exist_ok=True)
        with self._locked(found.name):
            self._store.sweep(found.name)
            for entry in self._entries(found.name):
                if entry.content_id == found.content_id:
                    raise DictionaryExistsError(entry.ref)
            version = self._store.taken(found.name) + 1
            files = read_manifest(staged).files
            self._store.put(
                staged, Manifest.of(found.name, version, found.identity, files)
            )
            self._record("published", found.name, version)
        log.info("published dictionary=%s@%d", found.name, version)
        return f"{found.name}@{version}"

    def get(self, ref: str) -> Dictionary:
        """Returns a dictionary after checking it; a name alone is its current one."""
        name, version = parse_ref(ref)
        if version is None:
            version = self.current(name)
        if version is None:
            raise DictionaryNotFoundError(ref)
        self._expect(name, version)
        with self._store.opened(name, version) as path:
            found = load_dictionary(path)
            check_place(found, name, version, path / MANIFEST_FILE)
        return found

    def list(self) -> Sequence[Entry]:
        """Returns all versions: names in order, the newest of each first."""
        return [entry for name in self._store.names() for entry in self._entries(name)]

    def current(self, name: str) -> int | None:
        """Returns the current version of a name, or None if none was set."""
        return _read_current(self._root / parse_ref(name).name / CURRENT_FILE)

    def set_current(self, name: str, version: int, expected: int | None = None) -> None:
        """Moves the current pointer if it is still where the caller saw it."""
        parse_pinned(f"{name}@{version}")
        self._expect(name, version)
        with self._locked(name):
            self._expect(name, version)
            if not self._store.has(name, version):
                raise DictionaryNotFoundError(f"{name}@{version}")
            found = self.current(name)
            if found != expected:
                raise StaleWriteError(name, expected, found)
            file = self._root / name / CURRENT_FILE
            write_whole(file, f"{json.dumps({'version': version})}\n".encode())
            self._record("current", name, version)
        log.info("current dictionary=%s@%d before=%s", name, version, expected)

    def retire(self, ref: str) -> None:
        """Withdraws a version for good."""
        name, version = parse_pinned(ref)
        if version in self._store.retired(name):
            return
        self._expect(name, version)
        with self._locked(name):
            if self.current(name) == version:
                raise DictionaryInUseError(ref, "it is current")
            self._store.mark_retired(name, version)
            self._record("retired", name, version)
        log.info("retired dictionary=%s", ref)

    def purge(self, ref: str) -> None:
        """Removes the files of a retired version; its number is not used again."""
        name, version = parse_pinned(ref)
        if version not in self._store.retired(name):
            self._expect(name, version)
            raise InvalidRequestError("dictionary", f"{ref} is not retired")
        with self._locked(name):
            self._store.remove(name, version)
        log.info("purged dictionary=%s", ref)

    def events(self, after: str | None, timeout_s: float) -> Sequence[Event]:
        """Returns what happened since a position, as soon as anything has."""
        deadline = time.monotonic() + timeout_s
        before = _from_position(after)
        while True:
            now = {name: self._look(name) for name in self._store.names()}
            events = self._differences(before, now)
            left_s = deadline - time.monotonic()
            if events or left_s <= 0:
                return events
            time.sleep(min(_LOOK_S, left_s))

    def history(self) -> Sequence[Event]:
        """Returns what is on record of the past, oldest first.

        What is so without a record (older folders, a crash before the record was
        written) is told with the time of its file.
        """
        recorded = [
            event for name in self._store.names() for event in self._recorded(name)
        ]
        last = {event.name: event.ref for event in recorded if event.kind == "current"}
        once = {(event.kind, event.ref) for event in recorded}
        rest = [
            event
            for event in self.events(None, 0)
            if (event.kind, event.ref) not in once
            or (event.kind == "current" and last[event.name] != event.ref)
        ]
        return sorted([*recorded, *rest], key=lambda event: event.time_s)

    def reconcile(self) -> Sequence[str]:
        """Mends what crashes and losses left behind; returns a line on each repair."""
        repairs = []
        for name in self._store.names():
            with self._locked(name):
                self._store.sweep(name)
                version = self.current(name)
                if version is not None and not self._store.has(name, version):
                    (self._root / name / CURRENT_FILE).unlink()
                    sync(self._root / name)
                    repairs.append(f"{name}@{version} was current and is not there")
        for line in repairs:
            log.warning("reconciled: %s", line)
        return repairs

    def _expect(self, name: str, version: int) -> None:
        if version in self._store.retired(name):
            raise retired_error(f"{name}@{version}")
        if not (self._root / name / str(version)).is_dir():
            raise DictionaryNotFoundError(f"{name}@{version}")

    def _entries(self, name: str) -> Iterator[Entry]:
        current, retired = self._pointer(name), self._store.retired(name)
        for version in reversed(self._store.versions(name)):
            try:
                found = self._store.manifest(name, version)
            except CorruptArtefactError as error:
                log.warning("left out of the list: %s", error)
                continue
            yield Entry.of(found, current, version in retired)

    def _pointer(self, name: str) -> int | None:
        """Returns the current version, or None where one name's damage is no matter."""
        try:
            return self.current(name)
        except CorruptArtefactError as error:
            log.warning("taken for no current version: %s", error)
            return None

    def _look(self, name: str) -> _Seen:
        versions = self._store.versions(name)
        whole = tuple(v for v in versions if self._store.has(name, v))
        retired = tuple(sorted(self._store.retired(name)))
        # First when it was set: what is set meanwhile is then told twice, not never.
        pointed = _mark(self._root / name / CURRENT_FILE)
        return _Seen(self._pointer(name), whole, retired, pointed)

    def _differences(
        self, before: Mapping[str, _Seen], now: Mapping[str, _Seen]
    ) -> Sequence[Event]:
        position = json.dumps(now, separators=(",", ":"))
        events = []

        def add(kind: EventKind, name: str, version: int, file: str) -> None:
            time_s = _changed_s(self._root / name / file)
            events.append(Event(kind, name, version, time_s, position))

        for name, seen in now.items():
            old = before.get(name, _Seen())
            for version in sorted(set(seen.versions) - set(old.versions)):
                add("published", name, version, f"{version}/{MANIFEST_FILE}")
            is_same = (seen.current, seen.pointed) == (old.current, old.pointed)
            if seen.current is not None and not is_same:
                add("current", name, seen.current, CURRENT_FILE)
            for version in sorted(set(seen.retired) - set(old.retired)):
                add("retired", name, version, f"{version}{RETIRED}")
        return events

    def _record(self, kind: EventKind, name: str, version: int) -> None:
        line = {"kind": kind, "version": version, "time_s": time.time()}
        with (self._root / name / LOG_FILE).open("ab", buffering=0) as file:
            # A line feed first, too: the line before may have been torn by a crash.
            file.write(f"\n{json.dumps(line)}\n".encode())
            os.fsync(file.fileno())

    def _recorded(self, name: str) -> Iterator[Event]:
        try:
            lines = (self._root / name / LOG_FILE).read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in filter(None, lines):
            try:
                found = json.loads(line)
                kind, version = found["kind"], found["version"]
                yield Event(kind, name, version, float(found["time_s"]), "")
            except (ValueError, KeyError, TypeError):
                log.warning("%s: %s: a torn line, left out", name, LOG_FILE)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self._root / name / _LOCK_FILE).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _from_position(text: str | None) -> Mapping[str, _Seen]:
    """Returns what a position was given for; nothing for one that is none."""
    try:
        found = json.loads(text or "{}")
        return {
            name: _Seen(
                current, tuple(map(int, versions)), tuple(map(int, retired)), pointed
            )
            for name, (current, versions, retired, pointed) in found.items()
        }
    except (ValueError, TypeError, AttributeError):
        return {}


def _mark(file: Path) -> str:
    """Returns what no other file in this place has, one that came later included."""
    try:
        found = file.stat()
    except OSError:
        return ""
    return f"{found.st_ino}-{found.st_mtime_ns}"


def _changed_s(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _read_current(file: Path) -> int | None:
    try:
        version = json.loads(file.read_bytes())["version"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtefactError(file, "names no current version") from error
    if not isinstance(version, int):
        raise CorruptArtefactError(file, f"version is {version!r}, expected a number")
    return version
