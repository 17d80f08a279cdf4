"""Keeps the search for relatives in step with the records of a collection.

The records are the truth: what the index has in files is used as far as it is of the
same state, all else is read anew. Knows nothing of queries.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from ribolex.dictionary import Dictionary
from ribolex.server.index.position_blocks import FORMAT
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.recall_sample import RecallSample
from ribolex.server.index.records import Records
from ribolex.server.index.relatives import RelativesSearch

_LOG = logging.getLogger(__name__)

POSITIONS = "positions"
"""The folder of blocks in that of a collection."""


@dataclass(frozen=True, slots=True)
class RelativesOptions:
    """How all collections of a server search for relatives."""

    n_threads: int = 1
    """That work for one search."""
    sample: RecallSample | None = None
    """Takes some searches to measure their recall."""


def open_relatives(
    folder: Path, dictionary: Dictionary, records: Records, options: RelativesOptions
) -> RelativesSearch | None:
    """Returns the search among all RNAs of the records.

    None if the dictionary has no alignment model.

    Args:
        folder: of the collection.
        dictionary: that its codes are of.
        records: of the collection.
        options: of the search.
    """
    if dictionary.alignment is None:
        return None
    relatives = RelativesSearch(
        dictionary.alignment,
        folder=BlockFolder(folder / POSITIONS, f"{dictionary.content_id} {FORMAT}"),
        n_threads=options.n_threads,
        sample=options.sample,
    )
    ids, changes = records.changes()
    missing = relatives.index.recall(ids, changes)
    current = dict(zip(ids.tolist(), changes.tolist(), strict=True))
    for rna_id, sequence, codes in records.nucleotide_codes(missing.tolist()):
        relatives.put(rna_id, current[rna_id], sequence, codes)
    _LOG.info("%d RNAs indexed, %d of them read anew", len(ids), len(missing))
    return relatives
