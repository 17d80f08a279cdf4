"""The RNAs of tables: read, without repeats, evenly chosen.

Knows nothing of models.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ribolex.rna import Rna, read_rnas

log = logging.getLogger(__name__)


def read_corpus(paths: Iterable[Path], longest: int) -> list[Rna]:
    """Returns the RNAs of all tables, each sequence once, in their order.

    Args:
        paths: tables as `read_rnas` reads them.
        longest: nucleotides; longer RNAs are left out, and their number is logged.

    Raises:
        CorruptInputError, InvalidSequenceError: names the file.
    """
    first: dict[str, Rna] = {}
    n_long = 0
    for path in paths:
        for rna in read_rnas(path):
            if len(rna.sequence) > longest:
                n_long += 1
            else:
                first.setdefault(rna.sequence, rna)
    if n_long:
        log.info("left out n_rnas=%d longer than n_nucleotides=%d", n_long, longest)
    return list(first.values())


def choose(
    rnas: Sequence[Rna], n_nucleotides: int, generator: np.random.Generator
) -> list[Rna]:
    """Returns as many RNAs as give so many nucleotides, families taken in turn.

    The first member of every family (in random order) comes before the second of any,
    so that large families do not crowd out small ones. Order is that of `rnas`.
    """
    families: dict[str, list[int]] = defaultdict(list)
    for i, rna in enumerate(rnas):
        families[family_of(rna)].append(i)
    turns = np.empty(len(rnas), np.int64)
    for members in families.values():
        turns[generator.permutation(members)] = np.arange(len(members))
    order = np.lexsort((generator.random(len(rnas)), turns))
    lengths = np.array([len(rna.sequence) for rna in rnas])
    n_chosen = int(np.searchsorted(np.cumsum(lengths[order]), n_nucleotides)) + 1
    return [rnas[i] for i in sorted(order[:n_chosen].tolist())]


def family_of(rna: Rna) -> str:
    """Returns the family's accession, or the RNA's own name where there is none."""
    return rna.metadata.get("family_acc") or f"name:{rna.name}"


def digest(rnas: Iterable[Rna]) -> str:
    """Returns the SHA-256 of names and sequences in their order."""
    out = hashlib.sha256()
    for rna in rnas:
        out.update(f"{rna.name}\t{rna.sequence}\n".encode())
    return out.hexdigest()
