"""What a work folder tells of its trainer: at work or not, and which stages are done.

Reads only. Knows nothing of the configuration.
"""

import fcntl
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ribolex.dictionary import read_manifest
from ribolex.errors import CorruptArtefactError, CorruptInputError
from ribolex.trainer.ledger import Ledger, read_json
from ribolex.trainer.pipeline import STAGES
from ribolex.trainer.process.listeners import STATE_FILE
from ribolex.trainer.process.run import DICTIONARIES, LOCK


@dataclass(frozen=True, slots=True)
class DictionaryStatus:
    """How far one dictionary is."""

    name: str
    done: Sequence[str]
    """Stages, in order."""
    outcome: str
    """"mine@3", "gate fvu failed", or "" if it is not there yet."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far a trainer is."""

    workdir: str
    is_at_work: bool
    last: Mapping[str, Any]
    """What it told last; nothing if it never told anything."""
    dictionaries: Sequence[DictionaryStatus]

    def to_json(self) -> str:
        """Returns all of it as one JSON object."""
        return json.dumps(asdict(self))

    def sentence(self) -> str:
        """Returns what it does, in words."""
        if not self.last:
            return f"{self.workdir}: nothing yet"
        last = self.last
        said = str(last["event"])
        if said == "progress":
            said = f"{last['stage']} {last.get('dictionary', '')}".rstrip()
            said += f", {last['done']:,} of {last['total']:,}"
            if "fvu" in last:
                said += f", FVU {last['fvu']:.3f}"
        ago = max(0.0, time.time() - float(last["time_s"]))
        state = f"at work (process {last['pid']})" if self.is_at_work else "not running"
        return f"{self.workdir}: {state}; {said}, {ago:,.0f} s ago"


def read_status(workdir: Path) -> Status:
    """Returns how far the trainer of a work folder is.

    Raises:
        CorruptInputError: there is no such folder.
    """
    if not workdir.is_dir():
        raise CorruptInputError(workdir, "is no work folder of a trainer")
    try:
        last = read_json(workdir / STATE_FILE)
    except CorruptArtefactError:
        last = {}
    folders = sorted((workdir / DICTIONARIES).glob("*"))
    return Status(
        str(workdir), _is_held(workdir), last, [_status(each) for each in folders]
    )


def _status(folder: Path) -> DictionaryStatus:
    ledger = Ledger(folder)
    done = [stage for stage in STAGES if ledger.record(stage) is not None]
    outcome = ""
    try:
        if "candidate" in done:
            gates = read_manifest(folder / "candidate").identity.gates
            failed = [gate.metric for gate in gates if not gate.is_met]
            outcome = f"failed: {', '.join(failed)}" if failed else ""
        if "publish" in done:
            outcome = str(read_json(folder / "published.json")["ref"])
    except CorruptArtefactError as error:
        outcome = f"damaged: {error}"
    return DictionaryStatus(folder.name, done, outcome)


def _is_held(workdir: Path) -> bool:
    try:
        with (workdir / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False
