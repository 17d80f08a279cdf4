"""Where the files of published dictionaries lie: in name/version/.

A version is there once its manifest is; name/version.retired marks one that was
withdrawn. Knows nothing of pointers, events or locks: no two writers may be given the
same version to write.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from ribolex.dictionary import Manifest, read_manifest
from ribolex.dictionary.artefact import MANIFEST_FILE, seal
from ribolex.disk import sync
from ribolex.registry.protocol import check_place, is_name, is_version

log = logging.getLogger(__name__)

RETIRED = ".retired"
"""A file of that ending marks the version before it as retired, purged or not."""

_INCOMING = ".incoming-"


class Store(Protocol):
    """Folders of dictionaries. Thread-safe; str() of one gives no password away."""

    def names(self) -> Sequence[str]:
        """Returns all names, in order."""

    def versions(self, name: str) -> Sequence[int]:
        """Returns the versions of a name that have a folder, whole or not, rising."""

    def taken(self, name: str) -> int:
        """Returns the highest version that ever left a trace here, or 0."""

    def has(self, name: str, version: int) -> bool:
        """Returns whether a version is there whole."""

    def put(self, staged: Path, manifest: Manifest) -> None:
        """Copies a dictionary in; readers see all of it or nothing.

        Args:
            staged: its files.
            manifest: to write instead of theirs; its version is not there yet.
        """

    def manifest(self, name: str, version: int) -> Manifest:
        """Returns what a version says of itself.

        Raises:
            CorruptArtefactError: it is not there, or not what was written.
        """

    def opened(self, name: str, version: int) -> AbstractContextManager[Path]:
        """Gives a local folder with a version's files, unchecked."""

    def remove(self, name: str, version: int) -> None:
        """Removes a version's files, if there are any."""

    def retired(self, name: str) -> set[int]:
        """Returns the versions of a name that are marked as retired."""

    def mark_retired(self, name: str, version: int) -> None:
        """Marks a version as retired, for good."""

    def sweep(self, name: str) -> None:
        """Removes what writers left that were killed; none may be at work."""


class FolderStore:
    """Dictionaries in a folder of this machine, which readers may find read-only."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        """Returns the folder's path."""
        return str(self._root)

    def names(self) -> Sequence[str]:
        """Returns all names, in order."""
        if not self._root.is_dir():
            return []
        found = (path for path in self._root.iterdir() if path.is_dir())
        return sorted(path.name for path in found if is_name(path.name))

    def versions(self, name: str) -> Sequence[int]:
        """Returns the versions of a name that have a folder, whole or not, rising."""
        return sorted(int(text) for text in self._listed(name) if is_version(text))

    def taken(self, name: str) -> int:
        """Returns the highest version that ever left a trace here, or 0."""
        texts = (text.removesuffix(RETIRED) for text in self._listed(name))
        return max((int(text) for text in texts if is_version(text)), default=0)

    def has(self, name: str, version: int) -> bool:
        """Returns whether a version is there whole."""
        return (self._folder(name, version) / MANIFEST_FILE).is_file()

    def put(self, staged: Path, manifest: Manifest) -> None:
        """Copies a dictionary in; readers see all of it or nothing."""
        folder = self._root / manifest.name
        folder.mkdir(parents=True, exist_ok=True)
        incoming = folder / f"{_INCOMING}{uuid.uuid4().hex}"
        incoming.mkdir()
        for file in manifest.files:
            shutil.copyfile(staged / file, incoming / file)
        seal(incoming, manifest, folder / str(manifest.version))
        sync(self._root)

    def manifest(self, name: str, version: int) -> Manifest:
        """Returns what a version says of itself."""
        folder = self._folder(name, version)
        found = read_manifest(folder)
        check_place(found, name, version, folder / MANIFEST_FILE)
        return found

    @contextmanager
    def opened(self, name: str, version: int) -> Iterator[Path]:
        """Gives a local folder with a version's files, unchecked."""
        yield self._folder(name, version)

    def remove(self, name: str, version: int) -> None:
        """Removes a version's files, if there are any."""
        folder = self._folder(name, version)
        if folder.is_dir():
            # Out of sight at once: a reader meets the whole folder or none.
            leaving = folder.with_name(f"{_INCOMING}{uuid.uuid4().hex}")
            folder.rename(leaving)
            shutil.rmtree(leaving, ignore_errors=True)

    def retired(self, name: str) -> set[int]:
        """Returns the versions of a name that are marked as retired."""
        texts = [text for text in self._listed(name) if text.endswith(RETIRED)]
        return {
            int(text.removesuffix(RETIRED))
            for text in texts
            if is_version(text.removesuffix(RETIRED))
        }

    def mark_retired(self, name: str, version: int) -> None:
        """Marks a version as retired, for good."""
        folder = self._root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{version}{RETIRED}").touch()
        sync(folder)

    def sweep(self, name: str) -> None:
        """Removes what writers left that were killed; none may be at work."""
        for path in (self._root / name).glob(f"{_INCOMING}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _folder(self, name: str, version: int) -> Path:
        return self._root / name / str(version)

    def _listed(self, name: str) -> list[str]:
        try:
            return os.listdir(self._root / name)
        except (FileNotFoundError, NotADirectoryError):
            return []
