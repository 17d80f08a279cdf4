"""A corpus as a folder: written whole or not at all, checked when opened.

    train.tsv.gz, validation.tsv.gz, test.tsv.gz   RNAs, as `read_rnas` reads them
    train.aligned.tsv.gz, …                        alignment rows of their members
    corpus.json                                    the report, with SHA-256 of all

Knows nothing of how RNAs come into a part.
"""

import hashlib
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ribolex.disk import sync
from ribolex.errors import CorruptArtefactError, InvalidRequestError
from ribolex.trainer.corpus.manifest import CorpusManifest, FileRecord
from ribolex.trainer.corpus.split import Part

MANIFEST_FILE = "corpus.json"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus on disk whose files are what its manifest says."""

    folder: Path
    manifest: CorpusManifest

    def table(self, part: Part) -> Path:
        """Returns the table of a part's RNAs, which may hold none."""
        return self.folder / self.manifest.parts[part].table.name

    def aligned(self, part: Part) -> Path | None:
        """Returns the table of a part's alignment rows, if there are any."""
        record = self.manifest.parts[part].aligned
        return None if record is None else self.folder / record.name

    def needed_table(self, part: Part) -> Path:
        """Returns the table of a part's RNAs.

        Raises:
            InvalidRequestError: it holds none.
        """
        if not self.manifest.parts[part].n_rnas:
            raise InvalidRequestError(
                "corpus", f"{self.folder} holds no RNA of {part}, expected some"
            )
        return self.table(part)

    def needed_aligned(self, part: Part) -> Path:
        """Returns the table of a part's alignment rows.

        Raises:
            InvalidRequestError: there are none.
        """
        aligned = self.aligned(part)
        if aligned is None:
            raise InvalidRequestError(
                "corpus",
                f"{self.folder} holds no alignment rows of {part}: build it of "
                "Stockholm files too, whose alignments it keeps",
            )
        return aligned


def open_corpus(folder: Path) -> Corpus:
    """Returns the corpus in a folder after checking every byte of it.

    Raises:
        CorruptArtefactError: names the file that is missing or not what was written.
    """
    file = folder / MANIFEST_FILE
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CorruptArtefactError(file, "is missing or unreadable") from error
    manifest = CorpusManifest.from_bytes(data, str(file))
    for part in manifest.parts.values():
        for record in (part.table, part.aligned):
            if record is not None:
                _check(folder, record)
    return Corpus(folder, manifest)


def describe(file: Path) -> FileRecord:
    """Returns the name and content of a file."""
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileRecord(sha256, file.stat().st_size, file.name)


def check_free(folder: Path, force: bool) -> None:
    """Returns if a corpus may be written to a folder.

    Raises:
        InvalidRequestError: something is there that is to be kept.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST_FILE).is_file():
        raise InvalidRequestError(
            "out", f"{folder} exists and is no corpus, expected a new folder"
        )
    if not force:
        raise InvalidRequestError(
            "out", f"{folder} holds a corpus, which is replaced only by force"
        )


def write_folder(
    folder: Path, fill: Callable[[Path], CorpusManifest], force: bool
) -> CorpusManifest:
    """Writes a corpus; a reader sees all of it or nothing.

    Args:
        folder: where it is to be; parents are made.
        fill: writes the tables in the folder that it is given.
        force: replace a corpus that is there.

    Raises:
        InvalidRequestError: something is there that is to be kept.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        manifest = fill(temporary)
        for file in temporary.iterdir():
            sync(file)
        (temporary / MANIFEST_FILE).write_bytes(manifest.to_bytes())
        sync(temporary / MANIFEST_FILE)
        sync(temporary)
        check_free(folder, force)
        _put(temporary, folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return manifest


def _put(temporary: Path, folder: Path) -> None:
    """Renames the folder; an old corpus is gone only once the new one is there."""
    if not folder.exists():
        temporary.rename(folder)
        return
    old = temporary.with_name(f"{temporary.name}.old")
    folder.rename(old)
    try:
        temporary.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check(folder: Path, expected: FileRecord) -> None:
    file = folder / expected.name
    if Path(expected.name).name != expected.name:
        raise CorruptArtefactError(
            folder / MANIFEST_FILE, f"names {expected.name!r}, expected a file beside"
        )
    try:
        found = describe(file)
    except OSError as error:
        raise CorruptArtefactError(file, "is missing or unreadable") from error
    if found.size_bytes != expected.size_bytes:
        raise CorruptArtefactError(
            file, f"is {found.size_bytes} bytes, expected {expected.size_bytes}"
        )
    if found.sha256 != expected.sha256:
        raise CorruptArtefactError(
            file, f"SHA-256 is {found.sha256}, expected {expected.sha256}"
        )
