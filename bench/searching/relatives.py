"""Rankings by the search for relatives as it is served: put, voted for, aligned.

Knows the codes of a database; encoding is measured elsewhere. No alignment is traced,
as none is for the hits of other programs.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.local_alignment import correct_for_length
from ribolex.server.index.relatives import N_CANDIDATES, RelativesSearch, Sought
from searching.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of searching; what is not said is as served."""

    exhaustive: bool = False
    n_candidates: int = N_CANDIDATES
    aligns_features: bool = True
    """False: candidates as ever, aligned by letters alone, ranked by their scores over
    the logarithm of the length, since E-values are of features and letters."""


SERVED: dict[str, Variant] = {
    "sensitive": Variant(),
    "sensitive, 100 candidates": Variant(n_candidates=100),
    "sensitive, 1,000 candidates": Variant(n_candidates=1000),
    "sensitive, letters alone aligned": Variant(aligns_features=False),
    "exhaustive": Variant(exhaustive=True),
}


class Built(NamedTuple):
    """A database in memory, and what it cost."""

    search: RelativesSearch
    build_s: float
    """Processor time, of vectors, states and lanes."""
    index_bytes: float
    """A nucleotide: states, lanes, and what belongs to each RNA."""
    vector_bytes: float
    """A nucleotide."""


def build(
    model: AlignmentModel, sequences: Iterable[str], codes: Iterable[Codes]
) -> Built:
    """Returns the search among RNAs, whose ids are their places."""
    search = RelativesSearch(model)
    seconds = 0.0
    for place, (sequence, own) in enumerate(zip(sequences, codes, strict=True)):
        began = time.process_time()
        search.put(place, 0, sequence, own)
        seconds += time.process_time() - began
    blocks = search.index.snapshot().blocks
    n = max(1, sum(block.n_slots for block in blocks))
    others = sum(block.index_bytes for block in blocks) / n
    vectors = sum(block.vectors.nbytes + block.scales.nbytes for block in blocks) / n
    return Built(search, seconds, others, vectors)


def rank_all(
    search: RelativesSearch, queries: Sequence[Sought], variant: Variant
) -> Ranking:
    """Returns what is found for each query, and the processor time of all of them."""
    seen = search.index.snapshot()

    def rank(sought: Sought) -> tuple[np.ndarray, np.ndarray]:
        n = None if variant.exhaustive else variant.n_candidates
        args = (seen, sought, n, None, lambda: None)
        found = search.rank(*args)
        if variant.aligns_features:
            return found.rna_ids, -np.arange(len(found.rna_ids))
        rows = seen.pieces.rows(found.stretches.blocks, found.stretches.pieces)
        totals = seen.pieces.totals[rows]
        return found.rna_ids, correct_for_length(found.scores, totals)

    rank(queries[0])  # Compiles.
    began = time.process_time()
    lists = [rank(sought) for sought in queries]
    seconds = time.process_time() - began
    return Ranking.of_lists(lists, seconds)


def weaken(model: AlignmentModel, variant: Variant) -> AlignmentModel:
    """Returns the model that a variant searches with."""
    if not variant.aligns_features:
        model = replace(model, similarity=0.0)
    return model
