"""Compiles the loops of the search by alignment, so that no search has to wait for it.

What is compiled is the same for all dictionaries. Knows nothing of when it is needed.
"""

import functools
import logging
import time
from contextlib import closing

import numpy as np

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.extreme_value import ExtremeValue
from ribolex.server.index.position_blocks import unseal
from ribolex.server.index.relatives import RelativesSearch, Sought

_LOG = logging.getLogger(__name__)

_N = 64
"""Nucleotides, and features."""


@functools.cache
def warm_up() -> None:
    """Searches for an RNA among itself, once in the life of a process.

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
        np.ones(_N, np.float32),
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
        (block,) = relatives.index.snapshot().blocks
        unseal(block, np.ones(len(block), bool))
    _LOG.info("search by alignment compiled, %.1f s", time.monotonic() - begun_s)


def _frozen(codes: Codes) -> Codes:
    arrays = codes.indices.copy(), codes.values.copy()
    for array in arrays:
        array.flags.writeable = False
    return Codes(codes.indptr, *arrays, codes.n_features)
