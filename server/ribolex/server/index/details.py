"""How much a collection holds: nucleotides, bytes on disk, keys of metadata.

Knows nothing of search, or of what was asked.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ribolex.server.index import generations
from ribolex.server.index.metadata import KeyFacts, MetadataColumns
from ribolex.server.index.schema import RECORDS
from ribolex.server.index.upkeep import POOLED, POSITIONS


class Details(NamedTuple):
    """How much a collection holds, and what its metadata tell."""

    n_nucleotides: int
    records_bytes: int
    """Of the file that is the truth, with its log."""
    index_bytes: int
    """Of files that are drawn from it."""
    keys: list[KeyFacts]


def details_of(folder: Path, metadata: MetadataColumns) -> Details:
    """Returns how much a generation's folder holds, and what its metadata tell."""
    return Details(metadata.n_nucleotides, *_sizes(folder), metadata.key_facts())


class Aside(NamedTuple):
    """What there is of a collection beside what is searched; "" and 0 for nothing."""

    kept_ref: str
    kept_bytes: int
    coming_ref: str
    coming_bytes: int


def aside_of(folder: Path) -> Aside:
    """Returns what a collection's folder holds beside what is searched."""
    found = generations.read(folder)
    kept_bytes, coming_bytes = (
        0 if one is None else sum(_sizes(folder / one))
        for one in (found.kept, found.coming)
    )
    coming_ref = "" if found.plan is None else found.plan.ref
    return Aside(found.kept_ref, kept_bytes, coming_ref, coming_bytes)


def _sizes(folder: Path) -> tuple[int, int]:
    """Returns the bytes of a generation: of records, of what is drawn from them."""
    blocks = (
        path for name in (POSITIONS, POOLED) for path in (folder / name).glob("*")
    )
    return _n_bytes(folder.glob(f"{RECORDS}*")), _n_bytes(blocks)


def _n_bytes(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
