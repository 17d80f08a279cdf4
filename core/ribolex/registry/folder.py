"""A registry in a folder: root/name/version/ and root/name/current.json.

Readers take no lock and write nothing, so that the root may be read-only; writers of
one name exclude each other, between processes too. Knows nothing of what is inside a
dictionary beyond its manifest.
"""

import fcntl
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ribolex.dictionary import (
    Dictionary,
    Identity,
    Manifest,
    load_dictionary,
    read_manifest,
)
from ribolex.dictionary.artefact import MANIFEST_FILE, seal
from ribolex.errors import (
    CorruptArtefactError,
    DictionaryExistsError,
    DictionaryNotFoundError,
    InvalidRequestError,
    StaleWriteError,
)

log = logging.getLogger(__name__)

CURRENT_FILE = "current.json"
_LOCK_FILE = ".lock"
_INCOMING = ".incoming-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class Ref(NamedTuple):
    """A dictionary's name and, if one was said, version."""

    name: str
    version: int | None


def parse_ref(text: str) -> Ref:
    """Returns the parts of "name" or "name@version".

    Raises:
        InvalidRequestError: the text is neither.
    """
    name, at, version = text.partition("@")
    if not _NAME.fullmatch(name) or (at and not _VERSION.fullmatch(version)):
        raise InvalidRequestError(
            "dictionary", f"{text!r} is neither a name nor name@version"
        )
    return Ref(name, int(version) if at else None)


@dataclass(frozen=True, slots=True)
class Entry:
    """One published version."""

    name: str
    version: int
    content_id: str
    identity: Identity
    is_current: bool
    path: Path

    @property
    def ref(self) -> str:
        """The name that pins this version: "name@version"."""
        return f"{self.name}@{self.version}"


class FolderRegistry:
    """Published dictionaries in a folder. Thread-safe; every call reads the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(self, staged: Path) -> str:
        """Copies a dictionary in under the next version of its name.

        It does not become current. The staged folder stays as it is.

        Returns:
            "name@version".

        Raises:
            CorruptArtefactError: the staged folder is not a sound dictionary.
            DictionaryExistsError: the same content was published under this name.
            InvalidRequestError: the name cannot be one in a registry.
        """
        found = load_dictionary(staged)
        if not _NAME.fullmatch(found.name):
            raise InvalidRequestError("name", f"{found.name!r} is no dictionary name")
        folder = self._root / found.name
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            _clear_abandoned(folder)
            for entry in self._entries(folder):
                if entry.content_id == found.content_id:
                    raise DictionaryExistsError(entry.ref)
            version = max(_versions(folder), default=0) + 1
            files = read_manifest(staged).files
            manifest = Manifest.of(found.name, version, found.identity, files)
            incoming = folder / f"{_INCOMING}{uuid.uuid4().hex}"
            incoming.mkdir()
            for name in files:
                shutil.copyfile(staged / name, incoming / name)
            seal(incoming, manifest, folder / str(version))
        log.info("published dictionary=%s@%d", found.name, version)
        return f"{found.name}@{version}"

    def get(self, ref: str) -> Dictionary:
        """Returns a dictionary after checking it; a name alone is its current version.

        Raises:
            DictionaryNotFoundError: there is no such name, version or current version.
            CorruptArtefactError: its files are not what was published.
            InvalidRequestError: the text is no ref.
        """
        name, version = parse_ref(ref)
        if version is None:
            version = self.current(name)
        if version is None:
            raise DictionaryNotFoundError(ref)
        path = self._root / name / str(version)
        if not path.is_dir():
            raise DictionaryNotFoundError(ref)
        found = load_dictionary(path)
        _check_place(found.name, found.version, path)
        return found

    def list(self) -> Sequence[Entry]:
        """Returns all versions: names in order, the newest of each first.

        Only manifests are read. A version whose manifest is corrupt is left out and
        logged; `get` says what is wrong with it.
        """
        if not self._root.is_dir():
            return []
        folders = sorted(path for path in self._root.iterdir() if path.is_dir())
        return [
            entry
            for folder in folders
            if _NAME.fullmatch(folder.name)
            for entry in self._entries(folder)
        ]

    def current(self, name: str) -> int | None:
        """Returns the current version of a name, or None if none was set.

        Raises:
            CorruptArtefactError: the pointer is unreadable.
            InvalidRequestError: the text is no name.
        """
        folder = self._root / parse_ref(name).name
        return _read_current(folder)

    def set_current(self, name: str, version: int, expected: int | None = None) -> None:
        """Moves the current pointer if it is still where the caller saw it.

        Args:
            name: a dictionary's name.
            version: a published version of it.
            expected: the current version that the caller has seen; None for none.

        Raises:
            DictionaryNotFoundError: there is no such version.
            StaleWriteError: the pointer is elsewhere.
        """
        ref = parse_ref(f"{name}@{version}")
        folder = self._root / ref.name
        if not (folder / str(version) / MANIFEST_FILE).is_file():
            raise DictionaryNotFoundError(f"{name}@{version}")
        with _locked(folder):
            found = _read_current(folder)
            if found != expected:
                raise StaleWriteError(name, expected, found)
            _replace(folder / CURRENT_FILE, json.dumps({"version": version}) + "\n")
        log.info("current dictionary=%s@%d before=%s", name, version, expected)

    def _entries(self, folder: Path) -> Sequence[Entry]:
        current = _read_current(folder)
        out = []
        for version in sorted(_versions(folder), reverse=True):
            path = folder / str(version)
            try:
                found = read_manifest(path)
                _check_place(found.name, found.version, path)
            except CorruptArtefactError as error:
                log.warning("left out of the list: %s", error)
                continue
            entry = Entry(
                found.name,
                version,
                found.content_id,
                found.identity,
                version == current,
                path,
            )
            out.append(entry)
        return out


def _versions(folder: Path) -> list[int]:
    return [
        int(path.name)
        for path in folder.iterdir()
        if _VERSION.fullmatch(path.name) and path.is_dir()
    ]


def _check_place(name: str, version: int, path: Path) -> None:
    if (name, str(version)) != (path.parent.name, path.name):
        raise CorruptArtefactError(
            path / MANIFEST_FILE,
            f"says {name}@{version}, expected {path.parent.name}@{path.name}",
        )


def _read_current(folder: Path) -> int | None:
    file = folder / CURRENT_FILE
    try:
        version = json.loads(file.read_bytes())["version"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtefactError(file, "names no current version") from error
    if not isinstance(version, int):
        raise CorruptArtefactError(file, f"version is {version!r}, expected a number")
    return version


def _replace(file: Path, text: str) -> None:
    """Writes a small file so that readers see the old or the new one whole."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clear_abandoned(folder: Path) -> None:
    """Removes what a publisher left that was killed; the lock says nobody is at it."""
    for path in folder.glob(f"{_INCOMING}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / _LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
