"""The tables of RNAs that a configuration means: found, or built where it says so.

Knows nothing of models or of what is trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from glob import glob
from pathlib import Path
from typing import NamedTuple

from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.rna import read_rnas
from ribolex.trainer.corpus import (
    CorpusOptions,
    Shares,
    build_corpus,
    open_corpus,
)
from ribolex.trainer.corpus.folder import MANIFEST_FILE, Corpus, describe
from ribolex.trainer.ledger import Ledger, digest_of
from ribolex.trainer.process.config import CorpusConfig

Tell = Callable[[str, int, int], None]
"""Is told a stage, how much of it is done, and of how much."""


class Tables(NamedTuple):
    """What to train on, and what to measure on."""

    train: Sequence[Path]
    validation: Path
    digest: str
    """Of all bytes."""


class FileState(NamedTuple):
    """What tells a file that was written to from one that was not."""

    path: str
    size_bytes: int
    changed_ns: int


def prepare(config: CorpusConfig, workdir: Path, tell: Tell) -> Tables:
    """Returns the tables, after building a corpus if it is to be built, and is not.

    Raises:
        CorruptInputError, InvalidSequenceError: names the file at fault.
        CorruptArtefactError: a corpus is not what was written.
        InvalidRequestError: no RNA is left, or no such file.
    """
    if config.train and config.validation is not None:
        files = [*config.train, config.validation]
        digests = [_digest_file(file) for file in files]
        return Tables(config.train, config.validation, digest_of(digests))
    if config.folder is not None:
        return _of_corpus(open_corpus(config.folder))
    inputs, options = _find(config), _options(config)
    depends = {
        "inputs": sorted(_digest_file(path) for path in inputs),
        "labels": config.labels and _digest_file(config.labels),
        "options": asdict(options),
    }

    def make(path: Path) -> None:
        def told(_: str, n_rnas: int) -> None:
            if n_rnas % 1000 == 0:
                tell("corpus", n_rnas, 0)

        build_corpus(inputs, path, options, told, labels=config.labels)

    ledger = Ledger(workdir / "corpus")
    return _of_corpus(ledger.once("corpus", depends, "tables", make, open_corpus))


def look(config: CorpusConfig) -> tuple[FileState, ...]:
    """Returns the state of all files that the tables depend on; quick."""
    inputs = [Path(path) for pattern in config.inputs for path in glob(pattern)]
    found = []
    for file in [*inputs, *_named(config)]:
        try:
            state = file.stat()
        except OSError:
            continue  # what is gone differs from what was there
        found.append(FileState(str(file), state.st_size, state.st_mtime_ns))
    return tuple(sorted(found))


def demand(config: CorpusConfig) -> None:
    """Looks whether all files are there, without reading them.

    Raises:
        CorruptInputError: names one that is not.
        InvalidRequestError: names a pattern that none matches.
    """
    _find(config)
    for file in _named(config):
        try:
            file.stat()
        except OSError as error:
            raise CorruptInputError(
                file, f"cannot be read: {error.strerror}"
            ) from error


def count_nucleotides(tables: Tables) -> int:
    """Returns how many nucleotides there are to train on."""
    return sum(len(rna.sequence) for table in tables.train for rna in read_rnas(table))


def _of_corpus(corpus: Corpus) -> Tables:
    digest = _digest_file(corpus.folder / MANIFEST_FILE)
    return Tables([corpus.table("train")], corpus.table("validation"), digest)


def _named(config: CorpusConfig) -> list[Path]:
    """Returns the files that are said by name, not by a pattern."""
    files = [*config.train, config.validation, config.labels]
    if config.folder is not None:
        files.append(config.folder / MANIFEST_FILE)
    return [file for file in files if file is not None]


def _find(config: CorpusConfig) -> list[Path]:
    found = []
    for pattern in config.inputs:
        paths = sorted(glob(pattern, recursive=True))
        if not paths:
            raise InvalidRequestError("corpus.inputs", f"{pattern!r}: no such file")
        found += [Path(path) for path in paths]
    return found


def _options(config: CorpusConfig) -> CorpusOptions:
    return CorpusOptions(
        shortest=config.shortest,
        longest=config.longest,
        max_ambiguous=config.max_ambiguous,
        degap=config.degap,
        shares=Shares(config.validation_share, config.test_share),
        salt=config.salt,
        identity=config.identity,
    )


def _digest_file(path: Path) -> str:
    try:
        return describe(path).sha256
    except OSError as error:
        raise CorruptInputError(path, f"cannot be read: {error.strerror}") from error
