"""A store at any URL that fsspec knows: an object store, a remote folder.

There is no renaming in many of them, so a version is there once its manifest is,
which is written last. How long a call may take is the file system's own setting.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from fsspec.core import url_to_fs

from ribolex.dictionary import Manifest
from ribolex.dictionary.artefact import FILES, MANIFEST_FILE
from ribolex.errors import CorruptArtefactError, InvalidRequestError, NotReadyError
from ribolex.registry.protocol import check_place, is_name, is_version
from ribolex.registry.store import RETIRED

log = logging.getLogger(__name__)


class UrlStore:
    """Dictionaries at a URL; a `Store` for several machines."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        self._shown = f"{parts.scheme}://{place}{parts.path}"
        try:
            self._fs, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InvalidRequestError(
                "registry", f"artefacts at {parts.scheme}:// cannot be reached: {error}"
            ) from error
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        """Returns the URL without user, password and query."""
        return self._shown

    def names(self) -> Sequence[str]:
        """Returns all names, in order."""
        return sorted(name for name in self._listed() if is_name(name))

    def versions(self, name: str) -> Sequence[int]:
        """Returns the versions of a name that have a folder, whole or not, rising."""
        return sorted(int(text) for text in self._listed(name) if is_version(text))

    def taken(self, name: str) -> int:
        """Returns the highest version that ever left a trace here, or 0."""
        texts = (text.removesuffix(RETIRED) for text in self._listed(name))
        return max((int(text) for text in texts if is_version(text)), default=0)

    def has(self, name: str, version: int) -> bool:
        """Returns whether a version is there whole."""
        with self._reached() as fs:
            return bool(fs.exists(self._at(name, version, MANIFEST_FILE)))

    def put(self, staged: Path, manifest: Manifest) -> None:
        """Copies a dictionary in; readers see all of it or nothing."""
        name, version = manifest.name, manifest.version
        with self._reached() as fs:
            fs.makedirs(self._at(name, version), exist_ok=True)
            for file in manifest.files:
                fs.put_file(str(staged / file), self._at(name, version, file))
            fs.pipe_file(self._at(name, version, MANIFEST_FILE), manifest.to_bytes())

    def manifest(self, name: str, version: int) -> Manifest:
        """Returns what a version says of itself."""
        where = f"{self}/{name}/{version}/{MANIFEST_FILE}"
        with self._reached() as fs:
            try:
                data = fs.cat_file(self._at(name, version, MANIFEST_FILE))
            except FileNotFoundError as error:
                raise CorruptArtefactError(where, "is missing") from error
        found = Manifest.from_bytes(data, where)
        check_place(found, name, version, where)
        return found

    @contextmanager
    def opened(self, name: str, version: int) -> Iterator[Path]:
        """Gives a local folder with a version's files, unchecked."""
        with TemporaryDirectory(prefix="ribolex-") as folder:
            with self._reached() as fs:
                for file in (*FILES, MANIFEST_FILE):
                    source = self._at(name, version, file)
                    if fs.exists(source):
                        fs.get_file(source, str(Path(folder) / file))
            yield Path(folder)

    def remove(self, name: str, version: int) -> None:
        """Removes a version's files, if there are any."""
        with self._reached() as fs:
            manifest = self._at(name, version, MANIFEST_FILE)
            if fs.exists(manifest):
                fs.rm_file(manifest)
            if fs.exists(self._at(name, version)):
                fs.rm(self._at(name, version), recursive=True)

    def retired(self, name: str) -> set[int]:
        """Returns the versions of a name that are marked as retired."""
        texts = [text for text in self._listed(name) if text.endswith(RETIRED)]
        stems = (text.removesuffix(RETIRED) for text in texts)
        return {int(stem) for stem in stems if is_version(stem)}

    def mark_retired(self, name: str, version: int) -> None:
        """Marks a version as retired, for good."""
        with self._reached() as fs:
            fs.makedirs(self._at(name), exist_ok=True)
            fs.pipe_file(self._at(name, f"{version}{RETIRED}"), b"retired\n")

    def sweep(self, name: str) -> None:
        """Removes what writers left that were killed; none may be at work."""
        for version in self.versions(name):
            if not self.has(name, version):
                self.remove(name, version)

    def _at(self, *parts: str | int) -> str:
        return "/".join([self._root, *map(str, parts)])

    def _listed(self, *parts: str) -> Sequence[str]:
        with self._reached() as fs:
            try:
                # Some remember what they listed.
                fs.invalidate_cache()
                paths = fs.ls(self._at(*parts), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return [path.rstrip("/").rpartition("/")[2] for path in paths]

    @contextmanager
    def _reached(self) -> Iterator[Any]:
        """Gives the file system, whose failures become errors of ours."""
        try:
            yield self._fs
        except OSError as error:
            raise NotReadyError(f"artefacts at {self}: {error}") from error
