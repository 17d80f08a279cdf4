"""Keeps the indexes of a collection in step with its records.

The records are the truth: what an index has in files is used as far as it is of the
same state, all else is read anew. Knows nothing of queries.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from ribolex.dictionary import Dictionary
from ribolex.server.index import pooled_blocks
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.milvus import Milvus
from ribolex.server.index.milvus_index import IndexPlace, MilvusIndex
from ribolex.server.index.pooled import PooledSearch
from ribolex.server.index.pooled_blocks import PooledBlock
from ribolex.server.index.position_blocks import FORMAT, Block
from ribolex.server.index.position_files import BlockFolder
from ribolex.server.index.recall_sample import RecallSample
from ribolex.server.index.records import Changes, Records
from ribolex.server.index.relatives import RelativesSearch
from ribolex.server.index.seams import Indexes
from ribolex.server.index.stored_relatives import StoredRelatives
from ribolex.server.portions import portions

_LOG = logging.getLogger(__name__)

POSITIONS = "positions"
"""The folder of blocks in that of a collection."""

POOLED = "pooled"
"""Likewise, of the blocks of pooled codes."""

_PATIENCE_S = 10.0
"""That the start of a server waits for the codes of one collection."""

_GROUP = 1024
"""Codes that are read together."""

_SLOTS = 1 << 16
"""Nucleotides that are read together, or one RNA if it is longer."""


@dataclass(frozen=True, slots=True)
class RelativesOptions:
    """How all collections of a server search."""

    n_threads: int = 1
    """That work for one search."""
    sample: RecallSample | None = None
    """Takes some searches to measure their recall."""
    milvus: Milvus | None = None
    """Keeps the pooled codes, and no positions are indexed; None: both lie here."""


def open_indexes(
    folder: Path,
    dictionary: Dictionary,
    measure: SearchMeasure,
    records: Records,
    options: RelativesOptions,
) -> Indexes:
    """Returns the indexes of all RNAs of the records.

    With a Milvus the codes that it lacks are put there for a while; `catch_up` does
    the rest.

    Args:
        folder: of the collection.
        dictionary: that its codes are of.
        measure: of their likeness.
        records: of the collection.
        options: of searches.
    """
    if options.milvus is not None:
        return _open_milvus(
            folder, dictionary, measure, records, options, options.milvus
        )
    there = records.changes()
    return Indexes(
        _open_pooled(folder, dictionary, measure, records, there, options),
        _open_relatives(folder, dictionary, records, there, options),
    )


def _open_milvus(
    folder: Path,
    dictionary: Dictionary,
    measure: SearchMeasure,
    records: Records,
    options: RelativesOptions,
    milvus: Milvus,
) -> Indexes:
    # What an index kept here before is of no use, and would be stale later.
    for name in (POSITIONS, POOLED):
        shutil.rmtree(folder / name, ignore_errors=True)
    collection, *generation = folder.relative_to(milvus.root).parts
    basis = f"{dictionary.content_id} {json.dumps(measure.to_json(), sort_keys=True)}"
    place = IndexPlace(collection, "".join(generation), basis)
    codes = MilvusIndex(milvus, place, measure, dictionary.features.idf, records)
    if not codes.catch_up(_PATIENCE_S):
        _LOG.warning("%s lacks some codes: searches fail for now", codes.table.name)
    if dictionary.alignment is None:
        return Indexes(codes, None)
    model, n_threads = dictionary.alignment, options.n_threads
    return Indexes(codes, StoredRelatives(model, codes, measure, records, n_threads))


def _open_relatives(
    folder: Path,
    dictionary: Dictionary,
    records: Records,
    there: Changes,
    options: RelativesOptions,
) -> RelativesSearch | None:
    """Returns the search among all RNAs; None if there is no alignment model."""
    if dictionary.alignment is None:
        return None
    relatives = RelativesSearch(
        dictionary.alignment,
        folder=BlockFolder(
            folder / POSITIONS, f"{dictionary.content_id} {FORMAT}", Block
        ),
        n_threads=options.n_threads,
        sample=options.sample,
    )
    missing = relatives.index.recall(*there)
    lacking = records.nucleotide_codes(missing.tolist())
    changes = iter(there.of(missing).tolist())
    for group in portions(lacking, lambda one: len(one.sequence), _SLOTS):
        ids, sequences, codes = zip(*group, strict=True)
        relatives.put_all(ids, [next(changes) for _ in ids], sequences, codes)
    _LOG.info("%d RNAs indexed, %d of them read anew", len(there.ids), len(missing))
    return relatives


def _open_pooled(
    folder: Path,
    dictionary: Dictionary,
    measure: SearchMeasure,
    records: Records,
    there: Changes,
    options: RelativesOptions,
) -> PooledSearch:
    """Returns the search by pooled codes among all RNAs."""
    about = json.dumps(measure.to_json(), sort_keys=True)
    basis = f"{dictionary.content_id} {pooled_blocks.FORMAT} {about}"
    search = PooledSearch(
        measure,
        dictionary.features.idf,
        folder=BlockFolder(folder / POOLED, basis, PooledBlock),
        n_threads=options.n_threads,
    )
    missing = search.index.recall(*there)
    changes = there.of(missing)
    for start in range(0, len(missing), _GROUP):
        part = slice(start, start + _GROUP)
        group = missing[part].tolist()
        search.index.put(group, changes[part].tolist(), records.pooled_codes(group))
    _LOG.info("%d pooled codes, %d of them read anew", len(there.ids), len(missing))
    return search
