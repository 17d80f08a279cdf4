"""One collection of RNAs: stored, found by likeness, and every hit explained.

Joins the records on disk with the index in memory. Knows nothing of names of other
collections, threads or messages.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt32

from ribolex.dictionary import Codes, Dictionary
from ribolex.errors import IncompatibleDictionaryError, NotReadyError, RnaNotFoundError
from ribolex.rna import Rna
from ribolex.server.index.forward import ForwardStore, WeightedCode
from ribolex.server.index.measure import SearchMeasure
from ribolex.server.index.projection import Projection
from ribolex.server.index.records import PooledCode, Record, Records, Written

RECORDS = "records.sqlite3"
"""The file in a collection's folder."""

_MIN_CANDIDATES = 1024
_CANDIDATES_PER_HIT = 4
_GROUP = 1024
"""Codes that are projected together when a collection is opened."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a collection was made with; never changes."""

    name: str
    dictionary: str
    version: int
    content_id: str
    """Of that dictionary version."""
    n_features: int
    measure: SearchMeasure
    created_at_s: float
    """Seconds since 1970, UTC."""

    @classmethod
    def of(cls, name: str, dictionary: Dictionary, measure: SearchMeasure) -> "Facts":
        """Returns the facts of a collection made now."""
        return cls(
            name,
            dictionary.name,
            dictionary.version,
            dictionary.content_id,
            dictionary.sae.n_features,
            measure,
            time.time(),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Facts":
        """Returns what `to_json` wrote."""
        measure = SearchMeasure.from_json(fields["measure"])
        return cls(**{**fields, "measure": measure})


class Encoded(NamedTuple):
    """An RNA with its codes, ready to be stored."""

    rna: Rna
    codes: Codes
    """One row a nucleotide, all of the dictionary's k."""
    fvu: float


class Query(NamedTuple):
    """What to compare the RNAs of a collection with."""

    pooled: PooledCode
    """As the collection's measure pools."""
    codes: Codes | None
    """The nucleotides behind it, where they are known."""
    excluded: int | None = None
    """Id of the RNA that is no hit, being the query itself."""
    fvu: float | None = None


@dataclass(frozen=True, slots=True)
class SharedFeature:
    """A feature of the query and a hit, and what it adds to the score."""

    feature: int
    contribution: float
    query_positions: Int64[np.ndarray, " position"]
    """Nucleotides from 0, rising; empty if the query's are not known."""
    target_positions: Int64[np.ndarray, " position"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One similar RNA; all contributions sum to the score."""

    rna: Rna
    score: float
    """Cosine, 0 to 1, exact."""
    shared: list[SharedFeature]
    """Largest contribution first; not more than were asked for."""
    n_shared: int
    """All of them."""
    other_contribution: float
    """Of those that are not listed."""


class Example(NamedTuple):
    """An RNA in which a feature fires."""

    rna: Rna
    max_activation: float
    positions: Int64[np.ndarray, " position"]


class Firing:
    """Where each feature fires in one RNA. Read-only."""

    def __init__(self, codes: Codes) -> None:
        order = np.argsort(codes.indices, kind="stable")
        self._features = codes.indices[order]
        self._rows = codes.rows_of_entries()[order]

    def of(
        self, features: Int64[np.ndarray, " feature"] | UInt32[np.ndarray, " feature"]
    ) -> list[Int64[np.ndarray, " position"]]:
        """Returns, for each feature, its nucleotides from 0, rising; maybe none."""
        first = np.searchsorted(self._features, features, "left")
        after = np.searchsorted(self._features, features, "right")
        return [self._rows[i:j] for i, j in zip(first, after, strict=True)]


_NOWHERE = Firing(
    Codes(np.zeros(1, np.int64), np.empty(0, np.uint32), np.empty(0, np.float32), 0)
)


class Collection:
    """One collection. To be used by one thread, the one that opened it.

    `load` must come before everything that needs the dictionary.

    Attributes:
        facts: What it was made with.
    """

    def __init__(self, folder: Path) -> None:
        self._records = Records(folder / RECORDS)
        self.facts = Facts.from_json(self._records.facts)
        self._forward = ForwardStore(self.facts.n_features)
        self._projection = Projection(self.facts.n_features)
        self._idf: Float32[np.ndarray, " n_features"] | None = None

    @staticmethod
    def create(folder: Path, facts: Facts) -> None:
        """Writes an empty collection into a folder, which must exist."""
        Records.create(folder / RECORDS, facts.to_json())

    @property
    def n_rnas(self) -> int:
        """RNAs stored."""
        return self._records.n_rnas

    @property
    def is_loaded(self) -> bool:
        """Whether the index is there."""
        return self._idf is not None

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
        self._idf = dictionary.features.idf
        ids: list[int] = []
        codes: list[PooledCode] = []
        for rna_id, pooled in self._records.scan():
            ids.append(rna_id)
            codes.append(pooled)
            if len(ids) == _GROUP:
                self._put(ids, codes)
                ids, codes = [], []
        self._put(ids, codes)

    def close(self) -> None:
        """Closes the file; everything acknowledged is in it."""
        self._records.close()

    def upsert(self, rnas: Sequence[Encoded]) -> Written:
        """Stores RNAs in one transaction; each replaces the one of its name.

        On return they are on disk and can be found.
        """
        measure = self.facts.measure
        records = [
            Record(rna, codes, measure.pool(codes), fvu) for rna, codes, fvu in rnas
        ]
        written = self._records.upsert(records)
        last = {rna_id: i for i, rna_id in enumerate(written.ids)}
        self._put(list(last), [records[i].pooled for i in last.values()])
        return written

    def get(self, name: str) -> Record:
        """Returns a stored RNA.

        Raises:
            RnaNotFoundError: there is none of that name.
        """
        return self._records.read(self._find(name))

    def query_of(self, codes: Codes, fvu: float) -> Query:
        """Returns the query for an RNA from outside."""
        return Query(self.facts.measure.pool(codes), codes, fvu=fvu)

    def query_like(self, name: str) -> Query:
        """Returns the query for a stored RNA, which will not find itself.

        Raises:
            RnaNotFoundError: there is none of that name.
        """
        rna_id = self._find(name)
        record = self._records.read(rna_id)
        return Query(record.pooled, record.codes, rna_id, record.fvu)

    def search(self, query: Query, *, limit: int, max_shared: int) -> list[Hit]:
        """Returns the most similar RNAs, best first; equal scores by name.

        RNAs that share no feature with the query are no hits.

        Args:
            query: from `query_of` or `query_like`, or a pooled code.
            limit: hits to return at most.
            max_shared: shared features to explain in each at most.
        """
        vector = self._weigh(query.pooled)
        n_candidates = max(_MIN_CANDIDATES, _CANDIDATES_PER_HIT * limit) + 1
        ids = self._projection.candidates(vector, n_candidates)
        if query.excluded is not None:
            ids = ids[ids != query.excluded]
        scores = self._forward.score(vector, ids)
        best = self._best(ids, scores, limit)
        fires = _NOWHERE if query.codes is None else Firing(query.codes)
        return [self._explain(vector, fires, i, max_shared) for i in best]

    def examples(self, feature: int, limit: int) -> list[Example]:
        """Returns the RNAs in which a feature fires most strongly, strongest first."""
        found = []
        for rna_id, peak in self._forward.strongest(feature, limit):
            record = self._records.read(rna_id)
            positions = Firing(record.codes).of(np.array([feature]))[0]
            found.append(Example(record.rna, peak, positions))
        return found

    def _find(self, name: str) -> int:
        rna_id = self._records.find(name)
        if rna_id is None:
            raise RnaNotFoundError(name, self.facts.name)
        return rna_id

    def _weigh(self, pooled: PooledCode) -> WeightedCode:
        if self._idf is None:
            raise NotReadyError(f"collection {self.facts.name!r} has no index yet")
        return self.facts.measure.weigh(pooled, self._idf)

    def _put(self, ids: Sequence[int], pooled: Sequence[PooledCode]) -> None:
        codes = [self._weigh(code) for code in pooled]
        for rna_id, code in zip(ids, codes, strict=True):
            self._forward.put(rna_id, code)
        self._projection.put(ids, codes)

    def _best(
        self,
        ids: Int64[np.ndarray, " rna"],
        scores: Float32[np.ndarray, " rna"],
        limit: int,
    ) -> list[int]:
        """Returns the ids of the hits in their order."""
        kept = scores > 0
        ids, scores = ids[kept], scores[kept]
        if limit == 0 or len(ids) == 0:
            return []
        # Names only of those that a tie with the last hit lets in.
        worst = np.sort(scores)[::-1][:limit][-1]
        kept = scores >= worst
        ids, scores = ids[kept], scores[kept]
        names = self._records.names(ids.tolist())
        order = sorted(range(len(ids)), key=lambda i: (-scores[i], names[i]))
        return [int(ids[i]) for i in order[:limit]]

    def _explain(
        self, vector: WeightedCode, fires: Firing, rna_id: int, max_shared: int
    ) -> Hit:
        target = self._forward.row(rna_id)
        features, here, there = np.intersect1d(
            vector.features, target.features, assume_unique=True, return_indices=True
        )
        parts = vector.weights[here].astype(np.float64) * target.weights[there]
        order = np.lexsort((features, -parts))[:max_shared]
        record = self._records.read(rna_id)
        listed = features[order]
        in_query, in_target = fires.of(listed), Firing(record.codes).of(listed)
        shared = [
            SharedFeature(
                int(features[i]),
                float(parts[i]),
                in_query[rank],
                in_target[rank],
            )
            for rank, i in enumerate(order)
        ]
        other = float(parts.sum() - parts[order].sum())
        score = min(1.0, float(parts.sum()))
        n_shared = len(features)
        others = max(0.0, other) if len(order) < n_shared else 0.0
        return Hit(record.rna, score, shared, n_shared, others)
