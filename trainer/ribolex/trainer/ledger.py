"""Which stages of a run are done, from what, in a folder; so that none is done twice.

A stage's result lies beside its record. The record is written last and names all that
the result depends on: if any of it is another, the stage is done anew. Knows nothing
of what stages do.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from ribolex.disk import write_whole
from ribolex.errors import CorruptArtefactError, RibolexError

log = logging.getLogger(__name__)

T = TypeVar("T")

Inputs = Mapping[str, Any]
"""What a result depends on, as JSON holds it."""


@dataclass(frozen=True, slots=True)
class Record:
    """That a stage is done."""

    stage: str
    inputs: Inputs
    seconds: float
    time_s: float
    """When it was done, as a UTC timestamp."""


class Ledger:
    """The stages of one thing that is made, in a folder of its own.

    One writer at a time; a reader sees records whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def once(
        self,
        stage: str,
        inputs: Inputs,
        result: str,
        make: Callable[[Path], object],
        load: Callable[[Path], T],
    ) -> T:
        """Returns a stage's result, made only if it is not there.

        Args:
            stage: its name.
            inputs: all that decides the result.
            result: name of the file or folder that it lies in.
            make: writes it, whole or not at all.
            load: reads it; an error of ours means that it is damaged, and it is made
                anew.
        """
        path = self.folder / result
        inputs = json.loads(json.dumps(inputs))
        if self.is_done(stage, inputs):
            try:
                return load(path)
            except (RibolexError, OSError) as error:
                log.warning("stage %s is done anew: %s", stage, error)
        self.forget(stage)
        remove(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        make(path)
        found = load(path)
        record = Record(stage, inputs, time.monotonic() - began, time.time())
        write_json(self._file(stage), asdict(record))
        return found

    def is_done(self, stage: str, inputs: Inputs) -> bool:
        """Returns whether a stage was done from these inputs."""
        record = self.record(stage)
        return record is not None and record.inputs == inputs

    def record(self, stage: str) -> Record | None:
        """Returns what is known of a stage, done from whatever; None if it is not."""
        try:
            return Record(**json.loads(self._file(stage).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.warning("record of stage %s is damaged: %s", stage, error)
            return None

    def forget(self, stage: str) -> None:
        """Takes a stage for not done."""
        self._file(stage).unlink(missing_ok=True)

    def _file(self, stage: str) -> Path:
        return self.folder / f"{stage}.done.json"


def digest_of(value: object) -> str:
    """Returns the SHA-256 of what JSON can hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(file: Path, value: object) -> None:
    """Writes JSON so that readers see the old or the new file whole."""
    write_whole(file, f"{json.dumps(value, indent=1)}\n".encode())


def read_json(file: Path) -> Any:
    """Returns what `write_json` wrote.

    Raises:
        CorruptArtefactError: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptArtefactError(file, "is missing or no JSON") from error


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
