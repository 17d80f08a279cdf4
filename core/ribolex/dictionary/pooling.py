"""From the codes of an RNA's nucleotides to one code of the RNA, and its weights.

Knows nothing of which pooling or damping is the best one for search.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float32

from ribolex.dictionary.codes import Codes, SequenceCode

Pooling = Literal["max", "mean", "count"]
Damping = Literal["log1p", "sqrt", "none"]


def pool(codes: Codes, kind: Pooling) -> SequenceCode:
    """Returns one code for all rows.

    Args:
        codes: the nucleotides of one RNA.
        kind: "max" takes each feature's largest value, "mean" its sum over the
            number of rows, "count" the number of rows in which it fires.
    """
    width = codes.n_features
    if kind == "max":
        dense = np.zeros(width, np.float32)
        np.maximum.at(dense, codes.indices, codes.values)
    elif kind == "mean":
        sums = np.bincount(codes.indices, codes.values, minlength=width)
        dense = (sums / max(1, len(codes))).astype(np.float32)
    else:
        dense = np.bincount(codes.indices, minlength=width).astype(np.float32)
    return _nonzero(dense)


def weigh(
    code: SequenceCode,
    idf: Float32[np.ndarray, " n_features"],
    damping: Damping = "log1p",
) -> SequenceCode:
    """Returns the search vector of a pooled code: damped, weighted, of length 1.

    Args:
        code: as `pool` gives it.
        idf: the dictionary's, >= 0. Features of idf 0 are dropped.
        damping: what keeps one strong feature from deciding alone: log(1 + value),
            the square root, or nothing.

    Returns:
        L2-normalised; empty if nothing is left.
    """
    values = code.values
    if damping == "log1p":
        values = np.log1p(values)
    elif damping == "sqrt":
        values = np.sqrt(values)
    weights = values * idf[code.indices]
    kept = weights > 0
    weights = weights[kept] / max(float(np.linalg.norm(weights)), 1e-30)
    return SequenceCode(code.indices[kept], weights.astype(np.float32))


def _nonzero(dense: Float32[np.ndarray, " n_features"]) -> SequenceCode:
    features = np.flatnonzero(dense)
    return SequenceCode(features.astype(np.uint32), dense[features])
