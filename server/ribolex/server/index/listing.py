"""RNAs read from the records to be shown: some of all, or examples of a feature.

Knows nothing of how it was found which ones to show.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from ribolex.rna import Rna
from ribolex.server.index.forward import Strongest
from ribolex.server.index.hits import Firing
from ribolex.server.index.records import Records


class Listed(NamedTuple):
    """A part of a list of RNAs."""

    rnas: list[Rna]
    n_rnas: int
    """In the whole list."""
    is_last: bool
    """Whether nothing comes after them."""


class Example(NamedTuple):
    """An RNA in which a feature fires."""

    rna: Rna
    max_activation: float
    positions: Int64[np.ndarray, " position"]


def list_rnas(
    records: Records,
    allowed: Bool[np.ndarray, " id"],
    after: str,
    limit: int,
    max_size: int,
) -> Listed:
    """Returns RNAs by name.

    Args:
        records: that hold them.
        allowed: by id, whether it is on the list.
        after: the name after which to begin; empty for the first.
        limit: most RNAs to return.
        max_size: of them together, in letters, signs and metadata; one of them is
            returned however large it is.
    """
    rnas: list[Rna] = []
    n_rnas, size = int(np.count_nonzero(allowed)), 0
    for rna_id in records.ids_after(after):
        if not allowed[rna_id]:
            continue
        rna = records.read_rna(rna_id)
        size += size_of(rna)
        if len(rnas) == limit or (rnas and size > max_size):
            return Listed(rnas, n_rnas, False)
        rnas.append(rna)
    return Listed(rnas, n_rnas, True)


def size_of(rna: Rna) -> int:
    """Returns how large an RNA is, in letters, signs and metadata."""
    known = sum(len(key) + len(text) for key, text in rna.metadata.items())
    return len(rna.sequence) + len(rna.structure or "") + known


def examples_of(
    feature: int, strongest: Iterable[Strongest], records: Records
) -> list[Example]:
    """Returns the RNAs in which a feature fires most strongly, as examples of it."""
    found = []
    for rna_id, peak in strongest:
        record = records.read(rna_id)
        positions = Firing(record.codes).of(np.array([feature]))[0]
        found.append(Example(record.rna, peak, positions))
    return found
