"""Random codes, as a server would answer them."""

from collections.abc import Callable

import numpy as np
import pytest

from ribolex.client import DictionaryRef, Encoded, Rejection, SparseCodes, Timing

MakeEncoded = Callable[[list[int]], Encoded]


def make_codes(rng: np.random.Generator, n_rows: int, n_features: int) -> SparseCodes:
    dense = rng.random((n_rows, n_features), np.float32)
    fires = rng.random((n_rows, n_features)) < 0.1
    rows, features = np.nonzero(fires)
    indptr = np.searchsorted(rows, np.arange(n_rows + 1))
    values = dense[fires] + np.float32(0.1)
    return SparseCodes(
        indptr.astype(np.int64), features.astype(np.uint32), values, n_features
    )


@pytest.fixture
def make_encoded() -> MakeEncoded:
    """Gives a function from the RNAs' lengths (0: refused) to their codes."""
    rng, n_features = np.random.default_rng(7), 40

    def make(lengths: list[int]) -> Encoded:
        parts = [make_codes(rng, min(length, 1), n_features) for length in lengths]
        padded = [
            part if len(part) else SparseCodes.empty(1, n_features) for part in parts
        ]
        return Encoded(
            n_nucleotides=np.array(lengths, np.int64),
            sequence_codes=SparseCodes.concatenate(padded),
            nucleotide_codes=make_codes(rng, sum(lengths), n_features),
            fvu=np.where(np.array(lengths) > 0, 0.5, np.nan).astype(np.float32),
            rejections=tuple(
                Rejection(i, "invalid_sequence", f"sequences[{i}]: is empty")
                for i, length in enumerate(lengths)
                if length == 0
            ),
            dictionary=DictionaryRef("tiny", 3),
            timing=Timing(0.0, 0.0, 0.0),
        )

    return make
