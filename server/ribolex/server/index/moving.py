"""A collection on its way to another dictionary: the old index and the new one.

The new one follows the old one by what was changed last in each: it lacks those RNAs
whose id and change it does not have. So what was cut off goes on, and whatever is
written meanwhile is followed, too. Knows nothing of how RNAs are encoded, or of when.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ribolex.rna import Rna
from ribolex.server.index.collection import Collection
from ribolex.server.index.generations import Plan
from ribolex.server.index.intake import Encoded, Storing
from ribolex.server.index.owner import Owner
from ribolex.server.index.records import Place, Removal
from ribolex.server.index.schema import RECORDS, read_changes
from ribolex.server.index.search import Search

_N_NEIGHBOURS = 10
_N_COMPARED = 64


class Lag(NamedTuple):
    """How far the new index is behind."""

    missing: list[int]
    """Ids that it has to be given, anew or for the first time."""
    extra: list[int]
    """Ids that it has to forget."""
    n_rnas: int
    """In the old one."""


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
        old, new = await asyncio.gather(
            asyncio.to_thread(read_changes, self.old.folder / RECORDS),
            asyncio.to_thread(read_changes, self.new.folder / RECORDS),
        )
        missing = [i for i, change in old.items() if new.get(i) != change]
        extra = [i for i in new if i not in old]
        return Lag(missing, extra, len(old))

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
        ids = [*await asyncio.to_thread(read_changes, self.new.folder / RECORDS)]
        chosen = np.random.default_rng(0).permutation(ids)[:_N_COMPARED].tolist()
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
