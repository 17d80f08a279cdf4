"""Search for relatives where no positions are indexed: candidates, then alignment.

What a Milvus tells to be nearest by pooled codes are the candidates; letters and codes
of these are read from the records, and aligned as `relatives` does. Knows ids; nothing
of how a Milvus is asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from ribolex.dictionary import AlignmentModel, Codes
from ribolex.rna.traceback import Alignment
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.metadata import Condition
from ribolex.server.index.milvus_index import MilvusIndex
from ribolex.server.index.records import NucleotideCodes, Records
from ribolex.server.index.relatives import Check, Relative, RelativesSearch, Sought
from ribolex.server.index.stored_codes import StoredCodes
from ribolex.server.portions import portions

N_CANDIDATES = 1000
"""RNAs that a sensitive search aligns at least, the nearest by pooled codes."""
_CANDIDATES_A_HIT = 2
_IDS = 1 << 14
"""That are read together."""
_SLOTS = 1 << 18
"""Nucleotides that are aligned together, or one RNA if it is longer."""


class _Aligned(NamedTuple):
    """How well an RNA aligns; smaller is better."""

    e_value: float
    minus_score: float
    rna_id: int


class StoredRelatives:
    """Finds relatives among the RNAs of one collection. For one thread."""

    def __init__(
        self,
        model: AlignmentModel,
        codes: MilvusIndex,
        measure: SearchMeasure,
        records: Records,
        n_threads: int = 1,
    ) -> None:
        """Reads nothing yet.

        Args:
            model: of the dictionary that all codes are of.
            codes: gives the candidates.
            measure: that it compares by.
            records: of the collection.
            n_threads: that work for one search.
        """
        self._model, self._codes, self._measure = model, codes, measure
        self._records, self._stored = records, StoredCodes(records)
        self._pool = ThreadPoolExecutor(n_threads) if n_threads > 1 else None

    def put(self, rna_id: int, change: int, sequence: str, codes: Codes) -> None:
        """Does nothing: all is read when it is asked for."""

    def remove(self, ids: Iterable[int]) -> None:
        """Does nothing, likewise."""

    def close(self) -> None:
        """Ends its threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def search(
        self,
        sought: Sought,
        *,
        limit: int,
        exhaustive: bool = False,
        allowed: Bool[np.ndarray, " id"] | None = None,
        where: Sequence[Condition] = (),
        max_e_value: float = np.inf,
        check: Check = lambda: None,
    ) -> list[Relative]:
        """Returns the best hit in each RNA, smallest E-value first, then by id.

        E-values are those of a search among all RNAs that are allowed. With
        `exhaustive` all of them are read and aligned, some at a time. Arguments are
        those of `Aligner.search`.

        Raises:
            NotReadyError: the index of pooled codes cannot tell candidates now.
        """
        ids: Iterable[int] = self._all(allowed)
        if not exhaustive:
            ids = self._candidates(sought, limit, allowed, where, check)
        n_rnas = self._records.n_rnas
        if allowed is not None:
            n_rnas = int(np.count_nonzero(allowed))
        if sought.excluded is not None and (
            allowed is None or allowed[sought.excluded]
        ):
            n_rnas -= 1
        best: list[_Aligned] = []
        there = self._records.nucleotide_codes(i for i in ids if i != sought.excluded)
        for group in portions(there, lambda one: len(one.sequence), _SLOTS):
            check()
            found = self._align(sought, group, n_rnas, check)
            best = sorted(best + [one for one in found if one.e_value <= max_e_value])
            best = best[:limit]
        return [
            Relative(
                one.rna_id,
                one.e_value,
                -one.minus_score,
                partial(self._trace, sought, one.rna_id),
            )
            for one in best
        ]

    def _all(self, allowed: Bool[np.ndarray, " id"] | None) -> Iterator[int]:
        if allowed is not None:
            yield from np.flatnonzero(allowed).tolist()
            return
        for start in range(0, self._stored.end, _IDS):
            yield from sorted(self._stored.changes(start, start + _IDS))

    def _candidates(
        self,
        sought: Sought,
        limit: int,
        allowed: Bool[np.ndarray, " id"] | None,
        where: Sequence[Condition],
        check: Check,
    ) -> list[int]:
        n = max(N_CANDIDATES, _CANDIDATES_A_HIT * limit)
        query = self._codes.weigh(self._measure.pool(sought.codes))
        return self._codes.candidates(query, n, allowed, where, check)

    def _align(
        self,
        sought: Sought,
        group: Sequence[NucleotideCodes],
        n_rnas: int,
        check: Check,
    ) -> list[_Aligned]:
        """Returns how well RNAs align; those that do not at all are out."""
        with closing(self._index(group)) as relatives:
            seen = relatives.index.snapshot()
            found = relatives.rank(seen, sought, None, None, check, self._pool, n_rnas)
        columns = found.e_values, -found.scores, found.rna_ids
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [_Aligned(*row) for row in rows]

    def _trace(self, sought: Sought, rna_id: int) -> Alignment:
        found = list(self._records.nucleotide_codes([rna_id]))
        with closing(self._index(found)) as relatives:
            (hit,) = relatives.search(sought, limit=1, exhaustive=True)
            return hit.trace()

    def _index(self, group: Sequence[NucleotideCodes]) -> RelativesSearch:
        """Returns a search among some RNAs alone."""
        relatives = RelativesSearch(self._model)
        ids, sequences, codes = zip(*group, strict=True)
        relatives.put_all(ids, [0] * len(ids), sequences, codes)
        return relatives
