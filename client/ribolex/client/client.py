"""The synchronous client: one method for each thing that a server does.

Knows which message asks for what. What failures mean is told by `status`, what
messages hold by `convert`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Self, TypeVar

import grpc
import numpy as np
import numpy.typing as npt

from ribolex.client import convert, records
from ribolex.client.codes import SparseCodes
from ribolex.client.errors import InvalidRequestError, RejectedError
from ribolex.client.status import translated
from ribolex.client.stream import answers_in_order, in_batches
from ribolex.v1 import collection_pb2, dictionary_pb2, encoder_pb2
from ribolex.v1.collection_pb2_grpc import CollectionServiceStub
from ribolex.v1.dictionary_pb2_grpc import DictionaryServiceStub
from ribolex.v1.encoder_pb2_grpc import EncoderServiceStub

DEFAULT_ADDRESS = "127.0.0.1:50051"
OnRejection = Literal["raise", "skip"]

_PAGE_SIZE = 1000
_MAX_SEQUENCES = 256
# In nucleotides. Codes take about 6 bytes * k for each: at k = 64, 12 MiB in all.
_MAX_SIZE = 32_768
_MAX_STORED_SIZE = 131_072
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_Response = TypeVar("_Response")


class Client:
    """A connection to one server; thread-safe, connects when first used.

    Every method blocks, and beside the errors named with it may raise NotReadyError,
    TimedOutError, OverloadedError and ServerError.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = 60.0
    ) -> None:
        """Prepares the connection.

        Args:
            address: host and port of the server.
            timeout_s: longest wait for an answer, and for each one of a stream.
        """
        self.address = address
        self.timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._encoder = EncoderServiceStub(self._channel)
        self._collections = CollectionServiceStub(self._channel)
        self._dictionaries = DictionaryServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        self._channel.close()

    def encode(
        self,
        sequences: Sequence[str],
        *,
        level: records.Level = "sequence",
        pooling: records.Pooling = "max",
        k: int | None = None,
        dictionary: str | records.DictionaryRef | None = None,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
    ) -> records.Encoded:
        """Returns the codes of one batch of sequences.

        Args:
            sequences: at most 256, RNA letters in either case, T read as U.
            level: which codes to give.
            pooling: how nucleotides make the code of their sequence.
            k: features kept for each nucleotide; None keeps the dictionary's k.
            dictionary: "name", "name@version", or None for the server's default.
            degap: whether gaps are taken out first; else they are refused.
            on_rejection: "skip" leaves the row of a refused sequence empty.

        Raises:
            RejectedError: sequences were refused, and were not to be skipped.
            InvalidRequestError: too many sequences, or none; or a bad option.
            DictionaryNotFoundError: there is no such dictionary.
        """
        options = convert.encode_options(level, pooling, k, dictionary, degap)
        request = encoder_pb2.EncodeRequest(sequences=sequences, options=options)
        answer = self._call(self._encoder.Encode, request)
        return _checked(convert.encoded(answer, level), on_rejection)

    def encode_stream(
        self,
        sequences: Iterable[str],
        *,
        level: records.Level = "sequence",
        pooling: records.Pooling = "max",
        k: int | None = None,
        dictionary: str | records.DictionaryRef | None = None,
        degap: bool = False,
        on_rejection: OnRejection = "raise",
        batch: int = _MAX_SEQUENCES,
        n_ahead: int = 4,
    ) -> Iterator[records.Encoded]:
        """Yields the codes of any number of sequences, batch by batch, in order.

        Sequences are drawn in the caller's thread, and only as answers are taken.
        Leaving the loop early ends the call.

        Args:
            sequences: drawn as needed; the index of a rejection counts within its
                batch.
            level: which codes to give.
            pooling: how nucleotides make the code of their sequence.
            k: features kept for each nucleotide.
            dictionary: "name" or "name@version".
            degap: whether gaps are taken out first.
            on_rejection: whether a refused sequence is an error.
            batch: most sequences in a batch.
            n_ahead: batches under way at once, at least 1.

        Raises:
            RejectedError: and others, as in `encode`.
        """
        options = convert.encode_options(level, pooling, k, dictionary, degap)
        requests = (
            encoder_pb2.EncodeStreamRequest(
                request=encoder_pb2.EncodeRequest(sequences=part, options=options)
            )
            for part in in_batches(sequences, len, batch, _MAX_SIZE)
        )
        answers = answers_in_order(
            self._encoder.EncodeStream, requests, n_ahead, self.timeout_s
        )
        with translated(self.address):
            for answer in answers:
                yield _checked(convert.encoded(answer.response, level), on_rejection)

    def create_collection(
        self,
        name: str,
        *,
        dictionary: str | records.DictionaryRef | None = None,
        pooling: records.Pooling | None = None,
    ) -> records.Collection:
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
        answer = self._call(self._collections.CreateCollection, request)
        return convert.collection(answer.collection)

    def get_collection(self, name: str) -> records.Collection:
        """Returns the facts about one collection.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        request = collection_pb2.GetCollectionRequest(name=name)
        answer = self._call(self._collections.GetCollection, request)
        return convert.collection(answer.collection)

    def list_collections(self) -> Iterator[records.Collection]:
        """Yields all collections by name, fetching page after page."""
        request = collection_pb2.ListCollectionsRequest(page_size=_PAGE_SIZE)
        while True:
            answer = self._call(self._collections.ListCollections, request)
            yield from map(convert.collection, answer.collections)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    def delete_collection(self, name: str) -> int:
        """Deletes a collection for good; returns how many RNAs went with it.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        request = collection_pb2.DeleteCollectionRequest(name=name)
        return self._call(self._collections.DeleteCollection, request).n_rnas

    def upsert(
        self,
        collection: str,
        rnas: Iterable[records.Rna],
        *,
        batch: int = 512,
        on_progress: Callable[[int], object] = lambda n_rnas: None,
    ) -> records.UpsertReport:
        """Stores RNAs, replacing those whose names are there already.

        Each batch is on disk before the next is sent, and sending RNAs again changes
        nothing, so a call that failed half-way can be repeated.

        Args:
            collection: its name.
            rnas: drawn batch by batch.
            batch: most RNAs to send at once.
            on_progress: called after each batch with the number of its RNAs.

        Raises:
            CollectionNotFoundError: there is none of that name.
        """
        report = records.UpsertReport(0, 0, 0, ())
        n_sent = 0
        for part in in_batches(rnas, _size, batch, _MAX_STORED_SIZE):
            request = collection_pb2.UpsertRnasRequest(
                collection=collection, rnas=map(convert.rna_to_pb, part)
            )
            answer = self._call(self._collections.UpsertRnas, iter([request]))
            rejections = [
                convert.rejection(n_sent + one.index, one.rejection, one.name)
                for one in answer.rejections
            ]
            report = records.UpsertReport(
                report.n_inserted + answer.n_inserted,
                report.n_updated + answer.n_updated,
                report.n_rejected + answer.n_rejected,
                (*report.rejections, *rejections),
            )
            n_sent += len(part)
            on_progress(len(part))
        return report

    def get_rna(
        self, collection: str, name: str, *, level: records.Level | None = None
    ) -> records.StoredRna:
        """Returns one stored RNA, with codes if a level is given.

        Raises:
            CollectionNotFoundError: there is no such collection.
            RnaNotFoundError: the collection has no RNA of that name.
        """
        levels = () if level is None else convert.choose(convert.LEVELS, level, "level")
        request = collection_pb2.GetRnaRequest(
            collection=collection, name=name, levels=levels
        )
        return convert.stored_rna(self._call(self._collections.GetRna, request))

    def search(
        self,
        collection: str,
        *,
        sequence: str | None = None,
        rna: str | None = None,
        code: SparseCodes | None = None,
        top_k: int = 10,
        max_shared_features: int = 5,
    ) -> records.Hits:
        """Returns the RNAs most like a query, best first, each explained.

        Args:
            collection: its name.
            sequence: compare with these letters; or
            rna: with this RNA of the collection, which is not its own hit; or
            code: with this sequence code [1, feature], pooled as the collection's.
            top_k: most hits, 1 to 1000.
            max_shared_features: most shared features to explain for each hit.

        Raises:
            CollectionNotFoundError: there is no such collection.
            RnaNotFoundError: the collection has no RNA of that name.
            InvalidRequestError: not exactly one query, or a bad one.
            IncompatibleDictionaryError: the code is of another width.
        """
        if sum(query is not None for query in (sequence, rna, code)) != 1:
            raise InvalidRequestError("query: give one of sequence, rna and code")
        if top_k < 1:
            raise InvalidRequestError(f"top_k: {top_k} is not in 1 to 1000")
        request = collection_pb2.SearchSimilarRequest(
            collection=collection, top_k=top_k, max_shared_features=max_shared_features
        )
        if sequence is not None:
            request.sequence = sequence
        elif rna is not None:
            request.rna = rna
        elif code is not None:
            request.code.CopyFrom(convert.codes_to_pb(code))
        return convert.hits(self._call(self._collections.SearchSimilar, request))

    def feature(
        self,
        feature: int,
        *,
        dictionary: str | records.DictionaryRef | None = None,
        collection: str | None = None,
        max_examples: int = 5,
        max_nearest: int = 5,
    ) -> records.FeatureCard:
        """Returns what is known about one feature.

        Args:
            feature: its id.
            dictionary: "name", "name@version", or None for the server's default.
            collection: where to take examples from; None takes those published
                with the dictionary.
            max_examples: most RNAs in which it fires.
            max_nearest: most features near to it.

        Raises:
            FeatureNotFoundError: there is no feature of that id.
            DictionaryNotFoundError: there is no such dictionary.
            CollectionNotFoundError: there is no such collection.
            IncompatibleDictionaryError: the collection has another dictionary.
        """
        request = dictionary_pb2.GetFeatureRequest(
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            feature=feature,
            collection=collection or "",
            max_examples=max_examples,
            max_nearest=max_nearest,
        )
        return convert.feature_card(self._call(self._dictionaries.GetFeature, request))

    def nearest_features(
        self,
        *,
        feature: int | None = None,
        activation: npt.NDArray[np.float32] | None = None,
        dictionary: str | records.DictionaryRef | None = None,
        top_k: int = 10,
    ) -> tuple[records.NearestFeature, ...]:
        """Returns the features whose decoder directions are nearest, nearest first.

        Args:
            feature: compare with this feature, which is not its own neighbour; or
            activation: with this activation, [d_in], all finite.
            dictionary: "name", "name@version", or None for the server's default.
            top_k: most features, 1 to 1000.

        Raises:
            FeatureNotFoundError: there is no feature of that id.
            DictionaryNotFoundError: there is no such dictionary.
            InvalidRequestError: not exactly one query, or a bad one.
            IncompatibleDictionaryError: the activation is of another length.
        """
        if (feature is None) == (activation is None):
            raise InvalidRequestError("query: give one of feature and activation")
        request = dictionary_pb2.NearestFeaturesRequest(
            dictionary=convert.dictionary_ref_to_pb(dictionary), top_k=top_k
        )
        if feature is not None:
            request.feature = feature
        else:
            request.activation = np.asarray(activation, "<f4").tobytes()
        answer = self._call(self._dictionaries.NearestFeatures, request)
        return convert.nearest_features(answer.features)

    def dictionaries(self) -> Iterator[records.Dictionary]:
        """Yields all versions of all dictionaries, fetching page after page."""
        request = dictionary_pb2.ListDictionariesRequest(page_size=_PAGE_SIZE)
        while True:
            answer = self._call(self._dictionaries.ListDictionaries, request)
            yield from map(convert.dictionary, answer.dictionaries)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    def _call(self, method: Callable[..., _Response], request: object) -> _Response:
        with translated(self.address):
            return method(request, timeout=self.timeout_s)


def _size(rna: records.Rna) -> int:
    return len(rna.sequence)


def _checked(encoded: records.Encoded, on_rejection: OnRejection) -> records.Encoded:
    """Returns what came, unless sequences were refused and that is an error."""
    if encoded.rejections and on_rejection == "raise":
        raise RejectedError(encoded.rejections)
    return encoded
