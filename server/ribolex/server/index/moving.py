"""A collection on its way to another dictionary: the old index and the new one.

The new one follows the old one by what was changed last in each: it lacks those RNAs
whose id and change it does not have. So what was cut off goes on, and whatever is
written meanwhile is followed, too. Knows nothing of how RNAs are encoded, or of when.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import numpy as np

from ribolex.rna import Rna
from ribolex.server.index.collection import Collection
from ribolex.server.index.generations import Plan
from ribolex.server.index.intake import Encoded, Storing
from ribolex.server.index.lag import Lag, read_lag, some_ids
from ribolex.server.index.owner import Owner
from ribolex.server.index.records import Place, Removal
from ribolex.server.index.schema import RECORDS
from ribolex.server.index.search import Search

_N_NEIGHBOURS = 10
_N_COMPARED = 64


class Move:
    """The two indexes of a collection. For one event loop.

    Attributes:
        name: Of the collection.
        plan: Where it is to go.
        old: What is searched.
        new: What is built.
    """

    def __init__(self, name: str, plan: Plan, old: Owner, new: Owner) -> None:
        self.name, self.plan, self.old, self.new = name, plan, old, new

    async def lag(self) -> Lag:
        """Returns how far the new index is behind the old one now."""
        old, new = self.old.folder / RECORDS, self.new.folder / RECORDS
        return await asyncio.to_thread(read_lag, old, new)

    async def read(self, ids: Sequence[int]) -> list[tuple[Place, Rna]]:
        """Returns RNAs of the old index; passes over those that are gone."""
        return await self.old.run(lambda collection: collection.copies(ids))

    async def put(self, places: Sequence[Place], rnas: Sequence[Encoded]) -> None:
        """Stores RNAs in the new index, under the ids that they have in the old."""
        await self.new.write(Storing(rnas, places))

    async def forget(self, ids: Sequence[int]) -> None:
        """Deletes RNAs of the new index."""
        if ids:
            there = await self.new.run(lambda collection: collection.copies(ids))
            await self.new.write(Removal([rna.name for _, rna in there]))

    async def overlap(self) -> float:
        """Returns the mean part of neighbours that some RNAs have in both.

        Of each of a sample the ten nearest by sequence codes, as a fast search finds
        them. 1.0 if no RNA has any.
        """
        path = self.new.folder / RECORDS
        chosen = await asyncio.to_thread(some_ids, path, _N_COMPARED)
        there = await self.new.run(lambda collection: collection.copies(chosen))
        parts = []
        for _, rna in there:
            before, after = [
                await owner.run(partial(_neighbours, name=rna.name))
                for owner in (self.old, self.new)
            ]
            if before or after:
                larger = max(len(before), len(after))
                parts.append(len(before & after) / larger)
        return float(np.mean(parts)) if parts else 1.0


def _neighbours(collection: Collection, name: str) -> set[str]:
    if not collection.has(name):
        return set()
    search = Search(_N_NEIGHBOURS, 0, "fast")
    hits = collection.search(collection.query_like(name), search).hits
    return {hit.rna.name for hit in hits}
