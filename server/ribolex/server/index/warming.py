"""Compiles the loops of all searches, so that none has to wait for it.

What is compiled is the same for all dictionaries. Knows nothing of when it is needed.
"""

import functools
import logging
import time
from contextlib import closing

import numpy as np

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.dictionary.alignment import N_CLUSTERS
from ribolex.rna.extreme_value import ExtremeValue
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.pooled import PooledSearch, View
from ribolex.server.index.pooled_blocks import OpenBlock, Weighing
from ribolex.server.index.pooled_index import Part
from ribolex.server.index.records import PooledCode
from ribolex.server.index.relatives import RelativesSearch, Sought
from ribolex.server.index.sketch import fit_basis

_LOG = logging.getLogger(__name__)

_N = 64
"""Nucleotides, and features."""


@functools.cache
def warm_up() -> None:
    """Searches for an RNA among itself in every way, once in the life of a process.

    Some ten seconds of a core on a machine that never did it; then one, since what was
    compiled is kept on disk where numba may write. Blocks.
    """
    begun_s = time.monotonic()
    model = AlignmentModel(
        np.eye(_N, dtype=np.float32),
        1.0,
        np.eye(5, dtype=np.float32) * 2 - 1,
        2.0,
        1.0,
        np.zeros((4, N_CLUSTERS, _N), np.float32),
        ExtremeValue(1.0, 1.0, 1.0, 1.0),
    )
    sequence = "ACGU" * (_N // 4)
    features = np.arange(_N)[:, None]
    made = Codes.from_topk(features, np.ones((_N, 1), np.float32), _N)
    with closing(RelativesSearch(model)) as relatives:
        # Codes that were read from records are read-only, which is another type.
        for rna_id, codes in enumerate((made, _frozen(made))):
            relatives.put(rna_id, 0, sequence, codes)
            sought = Sought.of(sequence, codes)
            for hit in relatives.search(sought, limit=1):
                hit.trace()
    _compare()
    _LOG.info("searches compiled, %.1f s", time.monotonic() - begun_s)


def _compare() -> None:
    """Compares an RNA with itself by pooled codes, all of them and by sketches."""
    measure, idf = SearchMeasure(), np.ones(_N, np.float32)
    features = np.arange(_N, dtype=np.uint32)
    one = np.ones(_N, np.float32)
    with closing(PooledSearch(measure, idf)) as search:
        search.index.put([0], 0, [PooledCode(features, one, one)])
        query = search.weigh(PooledCode(features, one, one))
        search.nearest(query, 1, exact=True)
        search.index.peaks(0, 1)
        (part,) = search.index.parts()
        block = OpenBlock(_N, Weighing.of(measure, idf))
        block.append(part.block.rna_ids, part.block.changes, part.block.rows)
        basis = fit_basis(np.eye(_N, dtype=np.float32))
        block.set_basis(basis)
        view = View.of([Part(block.view(), part.is_alive, basis, block.view().signs)])
        search.score_best(query, view, 1)


def _frozen(codes: Codes) -> Codes:
    arrays = codes.indices.copy(), codes.values.copy()
    for array in arrays:
        array.flags.writeable = False
    return Codes(codes.indptr, *arrays, codes.n_features)
