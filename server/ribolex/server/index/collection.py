"""One collection of RNAs: stored, found by likeness, and every hit explained.

Joins the records on disk with what is drawn from them in memory. Knows nothing of
names of other collections, threads or messages.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ribolex.dictionary import Codes, Dictionary
from ribolex.errors import (
    IncompatibleDictionaryError,
    InvalidRequestError,
    NotReadyError,
    RnaNotFoundError,
)
from ribolex.rna import Rna
from ribolex.server.index import schema
from ribolex.server.index.details import Details, details_of
from ribolex.server.index.drawn import Drawn
from ribolex.server.index.explanation import Aligned
from ribolex.server.index.facts import Facts
from ribolex.server.index.feature_search import FeatureScan, Source
from ribolex.server.index.forward import WeightedCode
from ribolex.server.index.hits import Firing, Hit, SharedFeature
from ribolex.server.index.intake import Encoded, Storing
from ribolex.server.index.listing import Example, Listed, examples_of, list_rnas
from ribolex.server.index.metadata import Condition, MetadataColumns
from ribolex.server.index.pairwise import hit_of
from ribolex.server.index.pooled import Scored
from ribolex.server.index.records import (
    Place,
    PooledCode,
    Put,
    Record,
    Records,
    Removal,
    Written,
)
from ribolex.server.index.relatives import Relative, Sought
from ribolex.server.index.seams import Indexes
from ribolex.server.index.search import Found, Query, Rank, Search, choose
from ribolex.server.index.upkeep import RelativesOptions
from ribolex.server.logs import log_fault

_LOG = logging.getLogger(__name__)

Change = Storing | Removal

_NOWHERE = Firing(
    Codes(np.zeros(1, np.int64), np.empty(0, np.uint32), np.empty(0, np.float32), 0)
)


class Collection:
    """One collection. To be used by one thread, the one that opened it.

    `load` must come before everything that needs the dictionary.

    Attributes:
        facts: What it was made with.
    """

    def __init__(
        self,
        folder: Path,
        options: RelativesOptions = RelativesOptions(),  # noqa: B008
    ) -> None:
        self._folder, self._options = folder, options
        self._records = Records(folder / schema.RECORDS)
        self.facts = Facts.from_json(self._records.facts)
        self._dictionary: Dictionary | None = None
        self._drawn: Drawn | None = None
        self._is_leading = False

    @staticmethod
    def create(folder: Path, facts: Facts) -> None:
        """Writes an empty collection into a folder, which must exist."""
        schema.create(folder / schema.RECORDS, facts.to_json())

    @property
    def n_rnas(self) -> int:
        """RNAs stored."""
        return self._records.n_rnas

    def load(self, dictionary: Dictionary) -> None:
        """Builds the index from the records.

        Raises:
            IncompatibleDictionaryError: it is not the one the collection was made
                with.
        """
        if dictionary.content_id != self.facts.content_id:
            raise IncompatibleDictionaryError(
                dictionary.ref,
                "content_id",
                dictionary.content_id,
                self.facts.content_id,
            )
        self._dictionary = dictionary
        self._drawn = Drawn.of(
            self._folder, dictionary, self.facts.measure, self._records, self._options
        )
        if self._is_leading:
            self.lead()

    @property
    def indexes(self) -> Indexes:
        """What searches ask; NotReadyError before `load`."""
        return self._seen().indexes

    @property
    def _metadata(self) -> MetadataColumns:
        return self._seen().metadata

    def _seen(self) -> Drawn:
        """Returns what is in memory; what a change left behind is drawn anew."""
        if self._drawn is None and self._dictionary is not None:
            self.load(self._dictionary)
        if self._drawn is None:
            raise NotReadyError(f"collection {self.facts.name!r} has no index yet")
        return self._drawn

    def catch_up(self, within_s: float) -> bool:
        """Has the indexes do what they could not; see `CodeIndex.catch_up`."""
        return self.indexes.codes.catch_up(within_s)

    def lead(self) -> None:
        """Tells the indexes that this is what is searched."""
        self._is_leading = True
        self.indexes.codes.lead()

    def details(self) -> Details:
        """Returns how much there is, and what its metadata tell."""
        return details_of(self._folder, self._metadata)

    def close(self) -> None:
        """Closes the file; everything acknowledged is in it."""
        if self._drawn is not None:
            self._drawn.close()
        self._records.close()

    def write(self, changes: Sequence[Change]) -> list[Written]:
        """Makes changes one after the other, in one transaction; tells of each.

        On return they are on disk, and every search sees them: if an index failed to
        follow, the next use waits until it is drawn anew. After an error none was made.

        Raises:
            InvalidRequestError: the RNAs would have too many different keys.
        """
        drawn = self._seen()
        # What is decided elsewhere was looked at there.
        asked = [each for each in changes if isinstance(each, Storing)]
        came = [r for each in asked if each.places is None for r, _, _ in each.rnas]
        drawn.metadata.check_keys(key for rna in came for key in rna.metadata)
        done = self._records.write([self._step(each) for each in changes])
        try:
            drawn.follow(done)
        except Exception as error:
            # They are on disk, so they were made; what did not follow is not asked.
            self._drawn = None
            log_fault(_LOG, "an index is drawn anew", error, collection=self.facts.name)
        return done.written

    def upsert(self, rnas: Sequence[Encoded]) -> Written:
        """Stores RNAs; each replaces the one of its name. See `write`."""
        return self.write([Storing(rnas)])[0]

    def delete(self, names: Iterable[str]) -> int:
        """Deletes RNAs; returns how many there were. See `write`.

        Names that are not there are passed over.
        """
        return self.write([Removal(list(names))])[0].n_deleted

    def delete_where(self, where: Sequence[Condition], limit: int) -> int:
        """Deletes at most `limit` of the RNAs that pass all conditions, likewise."""
        ids = np.flatnonzero(self._metadata.allowed(where))
        return self.delete(self._records.names(ids[:limit].tolist()))

    def copies(self, ids: Sequence[int]) -> list[tuple[Place, Rna]]:
        """Returns stored RNAs, and their places; passes over those not there."""
        return self._records.copies(ids)

    def list_rnas(
        self, where: Sequence[Condition], after: str, limit: int, max_size: int
    ) -> Listed:
        """Returns the RNAs that pass all conditions, by name; see `listing`.

        Raises:
            InvalidRequestError: a condition is about what no RNA has.
        """
        allowed = self._metadata.allowed(where)
        return list_rnas(self._records, allowed, after, limit, max_size)

    def has(self, name: str) -> bool:
        """Returns whether there is an RNA of that name."""
        return self._records.find(name) is not None

    def get(self, name: str) -> Record:
        """Returns a stored RNA.

        Raises:
            RnaNotFoundError: there is none of that name.
        """
        return self._records.read(self._find(name))

    def query_of(self, sequence: str, codes: Codes, fvu: float) -> Query:
        """Returns the query for an RNA from outside."""
        return Query(self.facts.measure.pool(codes), codes, sequence, fvu=fvu)

    def query_of_code(self, pooled: PooledCode) -> Query:
        """Returns the query for a pooled code from outside.

        Raises:
            InvalidRequestError: it cannot be pooled as the collection says.
        """
        if self.facts.measure.pooling == "count" and np.any(pooled.values % 1):
            raise InvalidRequestError(
                "code", "values that are no counts, expected a code pooled by count"
            )
        return Query(pooled, None)

    def query_like(self, name: str) -> Query:
        """Returns the query for a stored RNA, which will not find itself.

        Raises:
            RnaNotFoundError: there is none of that name.
        """
        rna_id = self._find(name)
        record = self._records.read(rna_id)
        return Query(
            record.pooled, record.codes, record.rna.sequence, rna_id, record.fvu
        )

    def search(self, query: Query, search: Search) -> Found:
        """Returns the most similar RNAs, best first; equal ones by name.

        RNAs that have nothing in common with the query are no hits.

        Args:
            query: from `query_of` or `query_like`, or a pooled code.
            search: how, and for how much.

        Raises:
            IncompatibleDictionaryError: it is to align, and cannot.
            InvalidRequestError: what is asked for contradicts itself, or a condition
                is about what no RNA has.
            NotReadyError: the index cannot be reached, or is behind the records.
        """
        search.check()
        ref = f"{self.facts.dictionary}@{self.facts.version}"
        can_align = self.indexes.relatives is not None
        sensitivity = choose(query, search, ref, can_align)
        allowed = self._metadata.allowed(search.where) if search.where else None
        n_rnas = self.n_rnas
        n_searched = n_rnas if allowed is None else int(np.count_nonzero(allowed))
        ranked: Mapping[Rank, Callable[[], Hit]]
        if sensitivity == "fast":
            ranked = self._compare(query, search, allowed)
        else:
            ranked = self._align(query, search, allowed, sensitivity == "exhaustive")
        left = search.cut(list(ranked))
        page = left[: search.page_size or None]
        hits = []
        for rank in page:
            search.check()
            hits.append(ranked[rank]())
        last = page[-1] if len(page) < len(left) else None
        return Found(hits, sensitivity, n_rnas, n_searched, last)

    def step(self, scan: FeatureScan) -> bool:
        """Takes a search for features a block further; returns whether it is done."""
        codes, n_features = self.indexes.codes, self.facts.n_features
        return scan.step(Source(self._records, codes, self._metadata, n_features))

    def examples(self, feature: int, limit: int) -> list[Example]:
        """Returns the RNAs in which a feature fires most strongly, strongest first."""
        strongest = self.indexes.codes.strongest(feature, limit)
        return examples_of(feature, strongest, self._records)

    def _step(self, change: Change) -> Put | Removal:
        if isinstance(change, Removal):
            return change
        pool = self.facts.measure.pool
        records = [Record(r, codes, pool(codes), fvu) for r, codes, fvu in change.rnas]
        return Put(records, change.places)

    def _find(self, name: str) -> int:
        rna_id = self._records.find(name)
        if rna_id is None:
            raise RnaNotFoundError(name, self.facts.name)
        return rna_id

    def _compare(
        self, query: Query, search: Search, allowed: Bool[np.ndarray, " id"] | None
    ) -> dict[Rank, Callable[[], Hit]]:
        """Returns how to explain the hits of a fast search, by rank."""
        codes = self.indexes.codes
        vector = codes.weigh(query.pooled)
        scored = codes.nearest(
            vector,
            search.limit + (query.excluded is not None),
            allowed,
            search.where,
            exact=search.exact,
            check=search.check,
        )
        fires = _NOWHERE if query.codes is None else Firing(query.codes)
        return {
            rank: partial(self._explain, vector, fires, rna_id, search.max_shared)
            for rank, rna_id in self._rank(scored, query.excluded, search.limit).items()
        }

    def _align(
        self,
        query: Query,
        search: Search,
        allowed: Bool[np.ndarray, " id"] | None,
        exhaustive: bool,
    ) -> dict[Rank, Callable[[], Hit]]:
        """Returns how to explain the hits of a search that aligns, by rank."""
        relatives, codes = self.indexes.relatives, query.codes
        sequence = query.sequence
        # `choose` has looked.
        assert relatives is not None
        assert codes is not None
        assert sequence is not None
        found = relatives.search(
            Sought.of(sequence, codes, query.excluded),
            limit=search.limit,
            exhaustive=exhaustive,
            allowed=allowed,
            where=search.where,
            max_e_value=math.inf if search.max_e_value is None else search.max_e_value,
            check=search.check,
        )
        names = self._records.names([one.rna_id for one in found])
        ranks = {
            Rank(one.e_value, -one.score, name): one
            for one, name in zip(found, names, strict=True)
        }
        aligned = Aligned(sequence, codes)
        return {
            rank: partial(
                self._explain_aligned, aligned, ranks[rank], search.max_shared
            )
            for rank in sorted(ranks)
        }

    def _explain_aligned(self, query: Aligned, found: Relative, max_shared: int) -> Hit:
        record, model = self._records.read(found.rna_id), self._seen().model
        assert model is not None  # without one nothing is found
        sides = query, Aligned(record.rna.sequence, record.codes)
        return hit_of(
            record.rna, found.trace(), sides, model, found.e_value, max_shared
        )

    def _rank(
        self, scored: Scored, excluded: int | None, limit: int
    ) -> dict[Rank, int]:
        """Returns the ids of all hits by their ranks, in their order."""
        kept = scored.ids != (-1 if excluded is None else excluded)
        ids, scores = scored.ids[kept], scored.scores[kept]
        if limit == 0 or len(ids) == 0:
            return {}
        # Names only of those that a tie with the last hit lets in.
        worst = np.partition(scores, -limit)[-limit] if limit < len(ids) else 0.0
        kept = scores >= worst
        ids, scores = ids[kept], scores[kept]
        names = self._records.names(ids.tolist())
        ranks = {
            Rank(0.0, -float(score), name): int(rna_id)
            for rna_id, score, name in zip(ids, scores, names, strict=True)
        }
        return {rank: ranks[rank] for rank in sorted(ranks)[:limit]}

    def _explain(
        self, vector: WeightedCode, fires: Firing, rna_id: int, max_shared: int
    ) -> Hit:
        features, parts = self.indexes.codes.parts(vector, rna_id)
        record = self._records.read(rna_id)
        listed = features[:max_shared]
        in_query, in_target = fires.of(listed), Firing(record.codes).of(listed)
        shared = [
            SharedFeature(int(feature), float(part), here, there)
            for feature, part, here, there in zip(
                listed, parts[:max_shared], in_query, in_target, strict=True
            )
        ]
        score = min(1.0, float(parts.sum()))
        other = float(parts[max_shared:].sum())
        return Hit(record.rna, score, shared, len(features), other)
