"""Rankings by the search for relatives as it is served: put, voted for, aligned.

Knows the codes of a database; encoding is measured elsewhere. No alignment is traced,
as none is for the hits of other programs.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple
from unittest import mock

import numpy as np

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.local_alignment import correct_for_length
from ribolex.server.index import relatives
from ribolex.server.index.relatives import RelativesSearch, Sought
from ribolex.server.index.stretches import column
from searching.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of searching; what is not said is as served."""

    exhaustive: bool = False
    n_candidates: int = relatives.N_CANDIDATES
    aligns_features: bool = True
    """False: candidates as ever, aligned by letters alone, ranked by their scores over
    the logarithm of the length, since E-values are of features and letters."""
    features_vote: bool = True
    """False: words of four letters alone vote."""


SERVED: dict[str, Variant] = {
    "sensitive": Variant(),
    "sensitive, 300 candidates": Variant(n_candidates=300),
    "sensitive, words alone vote": Variant(features_vote=False),
    "sensitive, letters alone aligned": Variant(aligns_features=False),
    "exhaustive": Variant(exhaustive=True),
}


class Built(NamedTuple):
    """A database in memory, and what it cost."""

    search: RelativesSearch
    build_s: float
    """Processor time, of vectors and of postings."""
    index_bytes: float
    """A nucleotide: postings, letters, and what belongs to each RNA."""
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
    postings = sum(block.postings_bytes for block in blocks) / n
    vectors = sum(block.vectors.nbytes + block.scales.nbytes for block in blocks) / n
    return Built(search, seconds, postings, vectors)


def rank_all(
    search: RelativesSearch, queries: Sequence[Sought], variant: Variant
) -> Ranking:
    """Returns what is found for each query, and the processor time of all of them."""
    seen = search.index.snapshot()

    def rank(sought: Sought) -> tuple[np.ndarray, np.ndarray]:
        args = (seen, sought, variant.exhaustive, None, lambda: None)
        found = search.rank(*args)
        if variant.aligns_features:
            return found.rna_ids, -np.arange(len(found.rna_ids))
        totals = column("totals", seen.blocks, found.stretches)
        return found.rna_ids, correct_for_length(found.scores, totals)

    with _candidates(variant.n_candidates):
        rank(queries[0])  # Compiles.
        began = time.process_time()
        lists = [rank(sought) for sought in queries]
        seconds = time.process_time() - began
    return Ranking.of_lists(lists, seconds)


def weaken(model: AlignmentModel, variant: Variant) -> AlignmentModel:
    """Returns the model that a variant searches with."""
    if not variant.aligns_features:
        model = replace(model, similarity=0.0)
    if not variant.features_vote:
        model = replace(model, votes=np.zeros_like(model.votes))
    return model


@contextmanager
def _candidates(n: int) -> Iterator[None]:
    with mock.patch.object(relatives, "N_CANDIDATES", n):
        yield
