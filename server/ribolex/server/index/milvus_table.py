"""One Milvus collection: made, filled, asked, and given its alias.

The one place that knows what pymilvus is told. Reads see every write before them
(consistency level Strong). Knows rows; nothing of records, or of what a score is.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ribolex.server.index.forward import WeightedCode
from ribolex.server.index.milvus import TIMEOUT_S, Milvus, drop_collection
from ribolex.server.index.milvus_rows import (
    CHANGE,
    CODE,
    ID,
    LENGTH_FIELD,
    TAGS,
    Row,
    fields_of,
    size_of,
)
from ribolex.server.portions import portions

_LOG = logging.getLogger(__name__)

MOST = 16_384
"""Rows that a Milvus gives at once."""

_MESSAGE_BYTES = 4 << 20
"""Of rows that go there together; one alone may be larger."""
_LOADING_S = 1.0
"""That is waited at once until it is loaded; of many RNAs that takes minutes."""
_INDEXES = (
    (CODE, {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP"}),
    (TAGS, {"index_type": "INVERTED"}),
    (LENGTH_FIELD, {"index_type": "INVERTED"}),
)
_STRONG = {"consistency_level": "Strong", "timeout": TIMEOUT_S}


class Opened(NamedTuple):
    """What became of a Milvus collection that was opened."""

    is_new: bool
    """Whether it was made."""
    is_loaded: bool
    """Whether it can be asked; if not, it is being loaded."""


class MilvusTable:
    """For one thread. Whatever it is asked raises NotReadyError if that cannot be.

    Attributes:
        name: Of the Milvus collection.
    """

    def __init__(self, milvus: Milvus, name: str, stem: str) -> None:
        """Asks for nothing yet.

        Args:
            milvus: where it is.
            name: of the Milvus collection.
            stem: others whose names begin with it are in the way, and dropped.
        """
        self._milvus, self.name, self._stem = milvus, name, stem

    def open(self) -> Opened:
        """Has it loaded, and made if need be."""
        return self._milvus.ask(self._open)

    def put(self, rows: Iterable[Row]) -> None:
        """Stores rows in place of what their ids had."""
        for part in portions(rows, size_of, _MESSAGE_BYTES):
            self._milvus.ask(partial(self._upsert, part))

    def remove(self, ids: Sequence[int]) -> None:
        """Forgets rows; ids that are not there are passed over."""
        if ids:
            self._delete(f"{ID} in {list(ids)}")

    def remove_from(self, start: int) -> None:
        """Forgets all rows from an id on."""
        self._delete(f"{ID} >= {start}")

    def count(self) -> int:
        """Returns how many rows there are."""
        (row,) = self._query(f"{ID} >= 0", ["count(*)"])
        return int(row["count(*)"])

    def changes(self, start: int) -> dict[int, int]:
        """Returns the changes of rows by id: of MOST ids from `start` on."""
        rows = self._query(f"{ID} >= {start} and {ID} < {start + MOST}", [ID, CHANGE])
        return {row[ID]: row[CHANGE] for row in rows}

    def nearest(
        self, query: WeightedCode, n: int, expression: str
    ) -> list[tuple[float, int]]:
        """Returns the ids of at most `n` rows with the largest dot products, and those.

        Args:
            query: with a feature at least.
            n: at most MOST.
            expression: of which rows; empty for all.
        """
        code = dict(zip(query.features.tolist(), query.weights.tolist(), strict=True))
        (hits,) = self._milvus.ask(
            lambda client: client.search(
                self.name,
                [code],
                filter=expression,
                limit=n,
                output_fields=[ID],
                search_params={"metric_type": "IP"},
                anns_field=CODE,
                **_STRONG,
            )
        )
        return [(hit["distance"], hit[ID]) for hit in hits]

    def take_alias(self, alias: str) -> None:
        """Makes an alias mean this one, whatever it meant before."""
        self._milvus.ask(lambda client: _take_alias(client, self.name, alias))

    def _open(self, client: Any) -> Opened:
        from pymilvus import DataType
        from pymilvus.client.types import LoadState

        is_new = not client.has_collection(self.name, timeout=TIMEOUT_S)
        if is_new:
            for name in client.list_collections(timeout=TIMEOUT_S):
                if name.startswith(self._stem):
                    drop_collection(client, name)
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            fields_of(schema, DataType)
            client.create_collection(self.name, schema=schema, **_STRONG)
        # A kill may have come in between, and after a start nothing is loaded.
        _make_indexes(client, self.name)
        client.load_collection(self.name, timeout=TIMEOUT_S, _async=True)
        end_s = time.monotonic() + _LOADING_S
        while True:
            told = client.get_load_state(self.name, timeout=TIMEOUT_S)
            is_loaded = told["state"] == LoadState.Loaded
            if is_loaded or time.monotonic() > end_s:
                return Opened(is_new, is_loaded)
            time.sleep(_LOADING_S / 10)

    def _upsert(self, rows: list[Row], client: Any) -> None:
        client.upsert(self.name, rows, timeout=TIMEOUT_S)

    def _delete(self, expression: str) -> None:
        self._milvus.ask(
            lambda client: client.delete(
                self.name, filter=expression, timeout=TIMEOUT_S
            )
        )

    def _query(self, expression: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        limits = {} if fields == ["count(*)"] else {"limit": MOST}
        return self._milvus.ask(
            lambda client: list(
                client.query(
                    self.name,
                    filter=expression,
                    output_fields=list(fields),
                    **limits,
                    **_STRONG,
                )
            )
        )


def _make_indexes(client: Any, collection: str) -> None:
    """Makes those that are missing."""
    from pymilvus import MilvusException

    there = client.list_indexes(collection, timeout=TIMEOUT_S)
    for field, kind in _INDEXES:
        if field in there:
            continue
        params = client.prepare_index_params()
        params.add_index(field, index_name=field, **kind)
        try:
            client.create_index(collection, params, timeout=TIMEOUT_S)
        except MilvusException as error:
            if field == CODE:
                raise
            # Milvus Lite has none for arrays; a condition then looks at every row.
            _LOG.debug("no index of %s in Milvus: %s", field, error)


def _take_alias(client: Any, collection: str, alias: str) -> None:
    from pymilvus import MilvusException

    try:
        client.alter_alias(collection, alias, timeout=TIMEOUT_S)
    except MilvusException:
        client.create_alias(collection, alias, timeout=TIMEOUT_S)
