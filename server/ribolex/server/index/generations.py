"""Which folders of a collection are what: searched, kept from before, or being built.

The first generation lies in the collection's folder itself, later ones in folders in
it. One small file says which is which, so that its replacement moves the collection,
all at once. Knows nothing of what is in them.
"""

import json
import logging
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ribolex.disk import write_whole
from ribolex.errors import CorruptArtefactError
from ribolex.server.index.schema import RECORDS
from ribolex.server.index.upkeep import POOLED, POSITIONS

_LOG = logging.getLogger(__name__)

_FILE = "generations.json"
_FOLDER = re.compile(r"g[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a collection is to move to another dictionary."""

    dictionary: str
    version: int
    max_share: float
    """Of the time, that the work may take; the rest of it is rest."""
    min_overlap: float
    """Of the neighbours before and after, below which it does not move."""

    @property
    def ref(self) -> str:
        """The dictionary version, "name@version"."""
        return f"{self.dictionary}@{self.version}"


@dataclass(frozen=True, slots=True)
class Generations:
    """The folders of a collection by what they are; "" is its own folder."""

    current: str = ""
    """What is searched."""
    kept: str | None = None
    """What was before."""
    kept_ref: str = ""
    """The dictionary version of that."""
    coming: str | None = None
    """What is being built."""
    plan: Plan | None = None
    """What for."""

    def next_name(self) -> str:
        """Returns a name that none of them has."""
        names = (self.current, self.kept, self.coming)
        return f"g{1 + max(int(name[1:]) if name else 0 for name in names)}"


def read(folder: Path) -> Generations:
    """Returns the generations of a collection.

    Raises:
        CorruptArtefactError: the file that names them is damaged.
    """
    path = folder / _FILE
    try:
        fields: dict[str, Any] = json.loads(path.read_bytes())
        plan = fields.pop("plan")
        found = Generations(**fields, plan=None if plan is None else Plan(**plan))
        names = (found.current, found.kept, found.coming)
        if not all(not name or _FOLDER.fullmatch(name) for name in names):
            raise ValueError("a name is none")
    except FileNotFoundError:
        return Generations()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptArtefactError(path, f"not readable: {error}") from error
    return found


def write(folder: Path, generations: Generations) -> None:
    """Makes generations what they are from now on, on disk when this returns.

    What is no longer named stays, for `tidy`.
    """
    write_whole(folder / _FILE, json.dumps(asdict(generations)).encode() + b"\n")


def tidy(folder: Path, generations: Generations) -> None:
    """Removes generations that are none of these."""
    named = {generations.current, generations.kept, generations.coming}
    for path in folder.iterdir():
        if _FOLDER.fullmatch(path.name) and path.name not in named:
            shutil.rmtree(path)
    if "" not in named:
        for path in folder.glob(f"{RECORDS}*"):
            path.unlink()
        for name in (POSITIONS, POOLED):
            shutil.rmtree(folder / name, ignore_errors=True)


def try_tidy(folder: Path, generations: Generations) -> None:
    """As `tidy`; what cannot be removed is logged and stays until the next start."""
    try:
        tidy(folder, generations)
    except OSError as error:
        _LOG.error("%s: what is not needed stays: %s", folder, error)
