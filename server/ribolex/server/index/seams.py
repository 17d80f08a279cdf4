"""What a collection asks of its indexes, wherever these keep what they know.

There are two kinds: in the memory and the files of this process (`pooled`,
`relatives`), and codes in a Milvus (`milvus_index`, `stored_relatives`). Whichever it
is, the records are the truth, and every score and hit is the same.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float32

from ribolex.dictionary import Codes
from ribolex.server.index.forward import Parts, Strongest, WeightedCode
from ribolex.server.index.metadata import Condition
from ribolex.server.index.pooled import Scored
from ribolex.server.index.records import PooledCode
from ribolex.server.index.relatives import Relative, Sought
from ribolex.server.index.search import Check


class CodeIndex(Protocol):
    """The sequence codes of a collection, by id. For one thread."""

    @property
    def has_all_features(self) -> bool:
        """Whether what has no peak of a feature has no nucleotide with it."""

    def put(
        self,
        ids: Sequence[int],
        changes: int | Sequence[int],
        pooled: Sequence[PooledCode],
    ) -> None:
        """Stores codes, which are in the records, in place of what their ids had.

        Args:
            ids: of the RNAs; they differ.
            changes: another number for each state of one; a single one for all.
            pooled: their codes.
        """

    def remove(self, ids: Iterable[int]) -> None:
        """Forgets codes; ids that are not there are passed over."""

    def catch_up(self, within_s: float) -> bool:
        """Goes on to do what could not be done at once; returns whether all is done.

        Args:
            within_s: the time after which to stop for now.
        """

    def lead(self) -> None:
        """Is told that this is what is searched, not an index being built."""

    def close(self) -> None:
        """Keeps what is only in memory, where that makes the next start faster."""

    def weigh(self, pooled: PooledCode) -> WeightedCode:
        """Returns the search vector of a pooled code."""

    def nearest(
        self,
        query: WeightedCode,
        limit: int,
        allowed: Bool[np.ndarray, " id"] | None = None,
        where: Sequence[Condition] = (),
        *,
        exact: bool = False,
        check: Check = ...,
    ) -> Scored:
        """Returns RNAs with a score above 0, among them the `limit` best.

        Args:
            query: from `weigh`.
            limit: hits that are wanted.
            allowed: by id, whether to look at an RNA; None for all.
            where: the conditions that `allowed` comes of.
            exact: whether to compare all of them, not only candidates.
            check: called between blocks.

        Raises:
            NotReadyError: the index cannot be reached, or is behind the records.
        """

    def parts(self, query: WeightedCode, rna_id: int) -> Parts:
        """Returns what makes the score of a query and one RNA; they sum to it."""

    def peaks(self, feature: int, n_ids: int) -> Float32[np.ndarray, " id"]:
        """Returns the largest value of a feature by id, 0 where none is known."""

    def strongest(self, feature: int, limit: int) -> list[Strongest]:
        """Returns the RNAs in which a feature has its largest peaks, largest first.

        Equal peaks come in the order of ids.
        """


class Aligner(Protocol):
    """Finds the RNAs of a collection that align with a query. For one thread."""

    def put(self, rna_id: int, change: int, sequence: str, codes: Codes) -> None:
        """Stores an RNA, which is in the records, in place of what its id had."""

    def remove(self, ids: Iterable[int]) -> None:
        """Forgets RNAs; ids that are not there are passed over."""

    def close(self) -> None:
        """Ends its threads."""

    def search(
        self,
        sought: Sought,
        *,
        limit: int,
        exhaustive: bool = False,
        allowed: Bool[np.ndarray, " id"] | None = None,
        where: Sequence[Condition] = (),
        max_e_value: float = np.inf,
        check: Check = ...,
    ) -> list[Relative]:
        """Returns the best hit in each RNA, smallest E-value first, then by id.

        Args:
            sought: the query, of one nucleotide or more.
            limit: hits at most.
            exhaustive: whether to align every RNA rather than candidates.
            allowed: by id, whether to look at an RNA; None for all.
            where: the conditions that `allowed` comes of.
            max_e_value: of a hit.
            check: of whether to go on; what it raises ends the search.

        Raises:
            NotReadyError: the index cannot be reached, or is behind the records.
        """


class Indexes(NamedTuple):
    """Those of one collection."""

    codes: CodeIndex
    relatives: Aligner | None
    """None if the dictionary has no alignment model."""
