"""How much a collection holds: nucleotides, bytes on disk, keys of metadata.

Knows nothing of search, or of what was asked.
"""

from pathlib import Path
from typing import NamedTuple

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
    """Returns how much there is in a collection's folder, and what its metadata tell.

    For the one thread that changes what is there.
    """
    records = folder.glob(f"{RECORDS}*")
    blocks = (
        path for name in (POSITIONS, POOLED) for path in (folder / name).glob("*")
    )
    return Details(
        metadata.n_nucleotides,
        sum(path.stat().st_size for path in records),
        sum(path.stat().st_size for path in blocks),
        metadata.key_facts(),
    )
