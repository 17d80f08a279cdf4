"""Calls of CollectionService that search and align.

Knows which message asks for what; what messages hold is told by `convert`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ribolex.client import convert, hits, records
from ribolex.client.ask import Ask, Pages, blocking, paged
from ribolex.client.codes import SparseCodes
from ribolex.client.connection import PAGE_SIZE, Connection
from ribolex.client.encoder import OnRejection
from ribolex.client.errors import FieldViolation, InvalidRequestError, RejectedError
from ribolex.client.matches import FeatureMatch, FeatureMatches
from ribolex.client.status import translated
from ribolex.client.stream import answers_in_order
from ribolex.v1 import collection_pb2

N_AHEAD = 16
"""Queries of a stream that are under way at once."""
_PAGE_SIZE = 50
"""Hits that are fetched at once: as many as are soon explained."""


@dataclass(frozen=True, slots=True)
class How:
    """How to search, the same for all queries of a stream."""

    top_k: int
    max_shared_features: int
    degap: bool
    sensitivity: hits.Sensitivity | None
    max_e_value: float | None
    where: hits.Where
    exact: bool = False

    def request(self, collection: str) -> collection_pb2.SearchSimilarRequest:
        """Returns the message, without a query.

        Raises:
            InvalidRequestError: it cannot be asked.
        """
        if self.top_k < 1:
            raise InvalidRequestError(f"top_k: {self.top_k} is not in 1 to 1000")
        request = collection_pb2.SearchSimilarRequest(
            collection=collection,
            top_k=self.top_k,
            max_shared_features=self.max_shared_features,
            degap=self.degap,
            max_e_value=self.max_e_value,
            where=convert.conditions(self.where),
            exact=self.exact,
        )
        if self.sensitivity is not None:
            known = convert.SENSITIVITIES
            request.sensitivity = convert.choose(known, self.sensitivity, "sensitivity")
        return request


class SearchCalls(Connection):
    """What of CollectionService searches."""

    @blocking
    def search(
        self,
        collection: str,
        *,
        sequence: str | None = None,
        rna: str | None = None,
        code: SparseCodes | None = None,
        top_k: int = 10,
        max_shared_features: int = 5,
        degap: bool = False,
        sensitivity: hits.Sensitivity | None = None,
        max_e_value: float | None = None,
        where: hits.Where = (),
        exact: bool = False,
    ) -> Ask[hits.Hits]:
        """Returns the RNAs most like a query, best first, each explained.

        Args:
            collection: its name.
            sequence: compare with these letters; or
            rna: with this RNA of the collection, which is not its own hit; or
            code: with this sequence code [1, feature], pooled as the collection's
                (`encode` pools by max if not told: pooling="count" for most).
            top_k: most hits, 1 to 1000.
            max_shared_features: most features to list for each hit.
            degap: whether gaps are taken out of the letters first.
            sensitivity: "fast" compares which features there are, "sensitive" aligns
                what has them in the same order, "exhaustive" aligns every RNA. None:
                sensitive if the dictionary has an alignment model, else fast.
            max_e_value: leaves out hits with a larger one; never with "fast".
            where: which RNAs to search among: {"type": "tRNA", "family": ["RF00005",
                "RF00023"], "length": Between(50, 200), "organism": NoneOf(["..."])}.
            exact: whether "fast" compares every RNA rather than candidates; only with
                it.

        Raises:
            CollectionNotFoundError: there is no such collection.
            RnaNotFoundError: the collection has no RNA of that name.
            InvalidRequestError: not exactly one query, or a bad one.
            IncompatibleDictionaryError: the code is of another width, or the
                dictionary has no alignment model and one is needed.
        """
        how = How(
            top_k, max_shared_features, degap, sensitivity, max_e_value, where, exact
        )  # fmt: skip
        request = _request(collection, how, sequence, rna, code)
        return Ask(self._collections.SearchSimilar, request, convert.hits)

    @paged
    def search_pages(
        self,
        collection: str,
        *,
        sequence: str | None = None,
        rna: str | None = None,
        code: SparseCodes | None = None,
        top_k: int = 1000,
        max_shared_features: int = 5,
        degap: bool = False,
        sensitivity: hits.Sensitivity | None = None,
        max_e_value: float | None = None,
        where: hits.Where = (),
        exact: bool = False,
    ) -> Pages[hits.Hit]:
        """Yields the hits of a search, fetching page after page as they are taken.

        Each page is a search of its own, in which only the hits of the page are
        explained. Parameters and errors are those of `search`.
        """
        how = How(
            top_k, max_shared_features, degap, sensitivity, max_e_value, where, exact
        )  # fmt: skip
        request = _request(collection, how, sequence, rna, code)
        request.page_size = _PAGE_SIZE
        return Pages(self._collections.SearchSimilar, request, convert.hits)

    def search_stream(
        self,
        collection: str,
        sequences: Iterable[str],
        *,
        top_k: int = 10,
        max_shared_features: int = 5,
        degap: bool = False,
        sensitivity: hits.Sensitivity | None = None,
        max_e_value: float | None = None,
        where: hits.Where = (),
        exact: bool = False,
        on_rejection: OnRejection = "raise",
        n_ahead: int = N_AHEAD,
    ) -> Iterator[hits.Hits]:
        """Yields the hits of any number of queries, in their order.

        Sequences are drawn in the caller's thread, and only as answers are taken.
        Leaving the loop early ends the call.

        Args:
            collection: its name.
            sequences: drawn as needed.
            top_k: and what follows, as of `search`.
            max_shared_features: of each hit.
            degap: of the sequences.
            sensitivity: of the search.
            max_e_value: of the hits.
            where: of the RNAs.
            exact: of the search.
            on_rejection: whether a refused query is an error; if not, it has no hits,
                and `Hits.rejection` says why.
            n_ahead: queries under way at once, at least 1.

        Raises:
            RejectedError: a query was refused, and was not to be skipped.
            RibolexError: and others, as in `search`.
        """
        how = How(
            top_k, max_shared_features, degap, sensitivity, max_e_value, where, exact
        )  # fmt: skip
        request = how.request(collection)
        answers = answers_in_order(
            self._collections.SearchSimilarStream,
            (query_request(request, one, i) for i, one in enumerate(sequences)),
            n_ahead,
            self.timeout_s,
            self._metadata,
        )
        with translated(self.address):
            for (message,) in answers:
                yield accepted(convert.streamed_hits(message), on_rejection)

    @blocking
    def search_features(
        self,
        collection: str,
        query: str,
        *,
        dictionary: str | records.DictionaryRef | None = None,
        where: hits.Where = (),
        page_size: int = 100,
        page_token: str = "",
        count: bool = False,
    ) -> Ask[FeatureMatches]:
        """Returns RNAs in which features fire as a query asks, and where, by name.

        Args:
            collection: its name.
            query: "812 within 30 before 77, not 5"; `ribolex feature find --help`
                explains it.
            dictionary: that the ids in the query are of, "name@version"; None:
                whichever the collection is indexed under.
            where: which RNAs to search among, as of `search`.
            page_size: most RNAs, 1 to 1000; long ones come fewer at a time.
            page_token: `next_page_token` of the page before; empty for the first.
            count: whether to count all RNAs that match, on whatever page.

        Raises:
            CollectionNotFoundError: there is no such collection.
            FeatureNotFoundError: its dictionary has no such feature.
            IncompatibleDictionaryError: it has another dictionary.
            InvalidRequestError: the query cannot be read; `violations` name the
                character at fault, counted from 0: "query[12]".
        """
        if page_size < 1:
            raise InvalidRequestError(f"page_size: {page_size} is not in 1 to 1000")
        request = collection_pb2.SearchFeaturesRequest(
            collection=collection,
            query=_text(query),
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            where=convert.conditions(where),
            page_size=page_size,
            page_token=page_token,
            count=count,
        )
        return Ask(self._collections.SearchFeatures, request, convert.feature_matches)

    @paged
    def search_features_pages(
        self,
        collection: str,
        query: str,
        *,
        dictionary: str | records.DictionaryRef | None = None,
        where: hits.Where = (),
    ) -> Pages[FeatureMatch]:
        """Yields all RNAs of a feature query, fetching page after page.

        Parameters and errors are those of `search_features`.
        """
        request = collection_pb2.SearchFeaturesRequest(
            collection=collection,
            query=_text(query),
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            where=convert.conditions(where),
            page_size=PAGE_SIZE,
        )
        return Pages(self._collections.SearchFeatures, request, convert.feature_matches)

    @blocking
    def align(
        self,
        query: str | None = None,
        target: str | None = None,
        *,
        query_rna: str | None = None,
        target_rna: str | None = None,
        collection: str = "",
        dictionary: str | records.DictionaryRef | None = None,
        max_shared_features: int = 5,
        degap: bool = False,
    ) -> Ask[hits.Aligned]:
        """Returns the best local alignment of two RNAs, explained.

        Args:
            query: letters of one RNA; or
            target: letters of the other; or
            query_rna: the name of one of the collection; or
            target_rna: the name of the other.
            collection: that names are of; its dictionary is used.
            dictionary: without a collection: "name", "name@version", or None for the
                server's default.
            max_shared_features: most features to list.
            degap: whether gaps are taken out of the letters first.

        Raises:
            CollectionNotFoundError: there is no such collection.
            RnaNotFoundError: the collection has no RNA of that name.
            DictionaryNotFoundError: there is no such dictionary.
            IncompatibleDictionaryError: it has no alignment model.
            InvalidRequestError: not exactly one query and one target, or a bad one.
        """
        for side, given in (
            ("query", (query, query_rna)),
            ("target", (target, target_rna)),
        ):
            if given.count(None) != 1:
                message = f"{side}: give letters or the name of an RNA"
                raise InvalidRequestError(message)
        request = collection_pb2.AlignRequest(
            collection=collection,
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            max_shared_features=max_shared_features,
            degap=degap,
        )
        if query is not None:
            request.query_sequence = convert.sendable(query, "query")
        if query_rna is not None:
            request.query_rna = query_rna
        if target is not None:
            request.target_sequence = convert.sendable(target, "target")
        if target_rna is not None:
            request.target_rna = target_rna
        return Ask(self._collections.Align, request, convert.aligned)


def _request(
    collection: str,
    how: How,
    sequence: str | None,
    rna: str | None,
    code: SparseCodes | None,
) -> collection_pb2.SearchSimilarRequest:
    if (sequence, rna, code).count(None) != 2:
        raise InvalidRequestError("query: give one of sequence, rna and code")
    request = how.request(collection)
    if sequence is not None:
        request.sequence = convert.sendable(sequence, "sequence")
    elif rna is not None:
        request.rna = rna
    elif code is not None:
        request.code.CopyFrom(convert.codes_to_pb(code))
    return request


def _text(query: str) -> str:
    """Returns a feature query, if a message can hold it."""
    try:
        query.encode()
    except UnicodeEncodeError as error:
        fault = f"{query[error.start]!r} found, expected text"
        field = f"query[{error.start}]"
        violation = FieldViolation(field, fault)
        message = f"{field}: {fault}"
        raise InvalidRequestError(message, violations=(violation,)) from error
    return query


def query_request(
    request: collection_pb2.SearchSimilarRequest, sequence: str, index: int
) -> collection_pb2.SearchSimilarStreamRequest:
    """Returns the message for one query of a stream."""
    message = collection_pb2.SearchSimilarStreamRequest(request=request)
    message.request.sequence = convert.sendable(sequence, f"sequences[{index}]")
    return message


def accepted(found: hits.Hits, on_rejection: OnRejection) -> hits.Hits:
    """Returns what came, unless the query was refused and that is an error.

    Raises:
        RejectedError: it is.
    """
    if found.rejection is not None and on_rejection == "raise":
        raise RejectedError((found.rejection,))
    return found
