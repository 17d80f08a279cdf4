"""Calls of CollectionService: collections, and RNAs stored in them.

Knows which message asks for what; what messages hold is told by `convert`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ribolex.client import convert, hits, records, snapshots
from ribolex.client.ask import Ask, Pages, blocking, paged
from ribolex.client.connection import PAGE_SIZE, Connection
from ribolex.client.errors import InvalidRequestError
from ribolex.client.status import translated
from ribolex.client.stream import in_batches
from ribolex.v1 import collection_pb2

MAX_SIZE = 131_072
"""In nucleotides; of one batch of RNAs to store."""


def unheard(n_done: int) -> None:
    """Does nothing with what it is told."""


def reindex_request(
    collection: str,
    dictionary: str | records.DictionaryRef | None,
    max_share: float,
    min_overlap: float,
) -> collection_pb2.ReindexRequest:
    """Returns the message that moves a collection."""
    return collection_pb2.ReindexRequest(
        collection=collection,
        dictionary=convert.dictionary_ref_to_pb(dictionary),
        max_share=max_share,
        min_overlap=min_overlap,
    )


def restore_requests(path: Path, name: str) -> Iterator[collection_pb2.RestoreRequest]:
    """Returns the messages that carry a snapshot; the file is opened at once."""
    parts = snapshots.chunks(path)
    first = collection_pb2.RestoreRequest(name=name, chunk=next(parts))
    others = (collection_pb2.RestoreRequest(chunk=part) for part in parts)
    return itertools.chain([first], others)


class CollectionCalls(Connection):
    """What of CollectionService stores."""

    @blocking
    def create_collection(
        self,
        name: str,
        *,
        dictionary: str | records.DictionaryRef | None = None,
        pooling: records.Pooling | None = None,
    ) -> Ask[records.Collection]:
        """Makes an empty collection, indexed under one dictionary version.

        Args:
            name: 1 to 64 of a-z, A-Z, 0-9, "-", "_", "."; letter or digit first.
            dictionary: "name", "name@version", or None for the server's default.
            pooling: how its codes are pooled; None for the server's default.

        Raises:
            CollectionExistsError: the name is taken.
            DictionaryNotFoundError: there is no such dictionary.
            IncompatibleDictionaryError: the dictionary does not fit the model.
            InvalidRequestError: the name is none.
        """
        request = collection_pb2.CreateCollectionRequest(
            name=name, dictionary=convert.dictionary_ref_to_pb(dictionary)
        )
        if pooling is not None:
            request.pooling = convert.choose(convert.POOLINGS, pooling, "pooling")
        return Ask(
            self._collections.CreateCollection,
            request,
            lambda answer: convert.collection(answer.collection),
        )

    @blocking
    def get_collection(self, name: str) -> Ask[records.Collection]:
        """Returns the facts about one collection, and how much it holds.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        request = collection_pb2.GetCollectionRequest(name=name)
        return Ask(self._collections.GetCollection, request, convert.collection_details)

    @paged
    def list_collections(self) -> Pages[records.Collection]:
        """Yields all collections by name, fetching page after page."""
        request = collection_pb2.ListCollectionsRequest(page_size=PAGE_SIZE)
        return Pages(
            self._collections.ListCollections,
            request,
            lambda answer: map(convert.collection, answer.collections),
        )

    @blocking
    def delete_collection(self, name: str) -> Ask[int]:
        """Deletes a collection for good; returns how many RNAs went with it.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        request = collection_pb2.DeleteCollectionRequest(name=name)
        return Ask(
            self._collections.DeleteCollection, request, lambda answer: answer.n_rnas
        )

    def snapshot(
        self,
        collection: str,
        path: Path | str,
        *,
        on_progress: Callable[[int], object] = unheard,
    ) -> records.Snapshot:
        """Writes a collection to one file, as it is now; returns what is in it.

        Everything acknowledged before is in it; the collection is read and written
        meanwhile. The file appears once it is whole and its digest was checked.
        `timeout_s` is for all of it.

        Args:
            collection: its name.
            path: of the file; one that is there is replaced.
            on_progress: called after each chunk with the number of its bytes.

        Raises:
            CollectionNotFoundError: there is none of that name.
            CorruptArtefactError: it is damaged on the server.
            CorruptInputError: the file is not what the server said of it.
            OSError: it cannot be written.
        """
        request = collection_pb2.SnapshotRequest(collection=collection)
        with snapshots.arriving(Path(path)) as file, translated(self.address):
            for answer in self._collections.Snapshot(
                request, timeout=self.timeout_s, metadata=self._metadata
            ):
                on_progress(file.write(answer.chunk))
        return snapshots.describe_snapshot(Path(path))

    def reindex(
        self,
        collection: str,
        dictionary: str | records.DictionaryRef | None = None,
        *,
        max_share: float = 0.5,
        min_overlap: float = 0.0,
    ) -> Iterator[records.ReindexProgress]:
        """Indexes a collection under another dictionary; yields how far it is.

        It is read and written meanwhile, and moves once the new index is whole. The
        server goes on without the caller; asking again joins it. Asking for the
        dictionary before leads back, until `end_reindex`.

        Args:
            collection: its name.
            dictionary: "name", "name@version", or None for the server's default.
            max_share: of the time that the work may take, 0.01 to 1.
            min_overlap: of the ten nearest neighbours before and after, 0 to 1; below
                it the collection stays, and the last state is "held".

        Raises:
            CollectionNotFoundError: there is none of that name.
            DictionaryNotFoundError: there is no such dictionary.
            IncompatibleDictionaryError: it does not fit the model.
            InvalidRequestError: the collection is under it, or on its way to another,
                or a number is out of range.
        """
        request = reindex_request(collection, dictionary, max_share, min_overlap)
        with translated(self.address):
            call = self._collections.Reindex(request, metadata=self._metadata)
            try:
                for answer in call:
                    yield convert.reindex_progress(answer)
            finally:
                call.cancel()

    @blocking
    def end_reindex(self, collection: str) -> Ask[records.Collection]:
        """Deletes what of a collection is not searched: begun, or kept from before.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        return Ask(
            self._collections.EndReindex,
            collection_pb2.EndReindexRequest(collection=collection),
            lambda answer: convert.collection(answer.collection),
        )

    @blocking
    def restore(self, path: Path | str, *, name: str = "") -> Ask[records.Collection]:
        """Makes a collection of a snapshot; returns its facts.

        It is there, whole and on disk, when this returns; after an error none of it
        is. `timeout_s` is for all of it.

        Args:
            path: of the file.
            name: of the new collection; empty for what it was.

        Raises:
            CollectionExistsError: the name is taken.
            IncompatibleDictionaryError: its dictionary is unknown to the server, or
                another one there.
            CorruptArtefactError: the file was changed.
            InvalidRequestError: it is no snapshot or cut short, or the name is none.
            OSError: it cannot be read.
        """
        return Ask(
            self._collections.Restore,
            restore_requests(Path(path), name),
            lambda answer: convert.collection(answer.collection),
        )

    def upsert(
        self,
        collection: str,
        rnas: Iterable[records.Rna],
        *,
        degap: bool = False,
        batch: int = 512,
        on_progress: Callable[[int], object] = unheard,
    ) -> records.UpsertReport:
        """Stores RNAs, replacing those whose names are there already.

        Each batch is on disk before the next is sent, and sending RNAs again changes
        nothing, so a call that failed half-way can be repeated.

        Args:
            collection: its name.
            rnas: drawn batch by batch.
            degap: whether gaps are taken out first, of structures, too; else they
                are refused.
            batch: most RNAs to send at once.
            on_progress: called after each batch with the number of its RNAs.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        tally = UpsertTally(collection, degap)
        for part in in_batches(rnas, size_of, batch, MAX_SIZE):
            request = tally.request(part)
            self._ask(Ask(self._collections.UpsertRnas, iter([request]), tally.add))
            on_progress(len(part))
        return tally.report

    @blocking
    def get_rna(
        self, collection: str, name: str, *, level: records.Level | None = None
    ) -> Ask[records.StoredRna]:
        """Returns one stored RNA, with codes if a level is given.

        Raises:
            CollectionNotFoundError: there is no such collection.
            RnaNotFoundError: the collection has no RNA of that name.
        """
        levels = () if level is None else convert.choose(convert.LEVELS, level, "level")
        request = collection_pb2.GetRnaRequest(
            collection=collection, name=name, levels=levels
        )
        return Ask(self._collections.GetRna, request, convert.stored_rna)

    @paged
    def list_rnas(
        self, collection: str, *, where: hits.Where = ()
    ) -> Pages[records.Rna]:
        """Yields stored RNAs by name, without codes, fetching page after page.

        Args:
            collection: its name.
            where: which of them, as of `search`; all if there are no conditions.

        Raises:
            CollectionNotFoundError: there is no such collection.
            InvalidRequestError: a condition is none.
        """
        request = collection_pb2.ListRnasRequest(
            collection=collection,
            where=convert.conditions(where),
            page_size=PAGE_SIZE,
        )
        return Pages(
            self._collections.ListRnas,
            request,
            lambda answer: map(convert.rna, answer.rnas),
        )

    @blocking
    def delete_rnas(
        self, collection: str, names: Sequence[str] = (), *, where: hits.Where = ()
    ) -> Ask[int]:
        """Deletes stored RNAs for good; returns how many there were.

        They are gone from the server's disk, and from what searches find. Give either
        names or conditions.

        Args:
            collection: its name.
            names: of at most 10,000 RNAs; those that are not there are passed over.
            where: deletes the RNAs for which these conditions hold, as of `search`.

        Raises:
            CollectionNotFoundError: there is no such collection.
            InvalidRequestError: there are neither names nor conditions, or both, or a
                condition is none.
        """
        if isinstance(names, str):
            raise InvalidRequestError(f"names: {names!r} is one, expected a list")
        request = collection_pb2.DeleteRnasRequest(
            collection=collection, names=names, where=convert.conditions(where)
        )
        return Ask(
            self._collections.DeleteRnas, request, lambda answer: answer.n_deleted
        )


class UpsertTally:
    """The batches of one upsert, and what became of them so far.

    Attributes:
        report: Of all of them; the indices of its rejections count through.
    """

    def __init__(self, collection: str, degap: bool) -> None:
        self._collection = collection
        self._degap = degap
        self._n_sent = self._n_latest = 0
        self.report = records.UpsertReport(0, 0, 0, ())

    def request(self, rnas: Sequence[records.Rna]) -> collection_pb2.UpsertRnasRequest:
        """Returns the message that stores the next batch."""
        self._n_latest = len(rnas)
        return collection_pb2.UpsertRnasRequest(
            collection=self._collection,
            rnas=map(convert.rna_to_pb, rnas),
            degap=self._degap,
        )

    def add(self, answer: collection_pb2.UpsertRnasResponse) -> None:
        """Adds the answer to the latest batch."""
        done = self.report
        rejections = [
            convert.rejection(self._n_sent + one.index, one.rejection, one.name)
            for one in answer.rejections
        ]
        self.report = records.UpsertReport(
            done.n_inserted + answer.n_inserted,
            done.n_updated + answer.n_updated,
            done.n_rejected + answer.n_rejected,
            (*done.rejections, *rejections),
        )
        self._n_sent += self._n_latest


def size_of(rna: records.Rna) -> int:
    """Returns what an RNA counts in a batch."""
    return len(rna.sequence)
