"""Calls of DictionaryService: dictionaries and their features.

Knows which message asks for what; what messages hold is told by `convert`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ribolex.client import convert, records
from ribolex.client.ask import Ask, Pages, blocking, paged
from ribolex.client.connection import PAGE_SIZE, Connection
from ribolex.client.errors import InvalidRequestError
from ribolex.client.mapping import MappedFeatures
from ribolex.client.nearest import NearestFeatures
from ribolex.client.status import translated
from ribolex.v1 import dictionary_pb2


class DictionaryCalls(Connection):
    """What DictionaryService does."""

    @blocking
    def feature(
        self,
        feature: int,
        *,
        dictionary: str | records.DictionaryRef | None = None,
        collection: str | None = None,
        max_examples: int = 5,
        max_nearest: int = 5,
    ) -> Ask[records.FeatureCard]:
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
            feature=_id(feature),
            collection=collection or "",
            max_examples=max_examples,
            max_nearest=max_nearest,
        )
        return Ask(self._dictionaries.GetFeature, request, convert.feature_card)

    @paged
    def features(
        self,
        *,
        dictionary: str | records.DictionaryRef | None = None,
        label: str = "",
        measure: str = "enrichment",
        min_effect: float | None = None,
        max_q_value: float | None = None,
        text: str = "",
        shape: str = "",
        without_composition_only: bool = False,
        order: str = "id",
    ) -> Pages[records.ListedFeature]:
        """Yields features, all or those that were asked for, page after page.

        Args:
            dictionary: "name", "name@version", or None for the server's default.
            label: only those with evidence for it: "structure:hairpin", or "family:"
                for any family.
            measure: what the next two are about: "enrichment", "precision", "recall",
                "auroc", "average_precision", "mcc", "f1_gain".
            min_effect: only those with at least this effect.
            max_q_value: only those with at most this false-discovery rate.
            text: only those whose own label contains it.
            shape: only those of this shape: "point", "motif", "stretch", "periodic",
                "scattered", "whole", "rare", "dead".
            without_composition_only: leave out those that fire in shuffled RNAs, too.
            order: "id", "effect", "q_value", "density" or "confidence".

        Raises:
            DictionaryNotFoundError: there is no such dictionary.
            InvalidRequestError: an order, a shape, a measure or a kind of label that
                there is not.
        """
        request = dictionary_pb2.ListFeaturesRequest(
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            page_size=PAGE_SIZE,
            label=label,
            measure=measure,
            min_effect=min_effect,
            max_q_value=max_q_value,
            text=text,
            shape=shape,
            without_composition_only=without_composition_only,
            order=convert.choose(convert.ORDERS, order, "order"),
        )
        return Pages(
            self._dictionaries.ListFeatures,
            request,
            lambda answer: map(convert.listed_feature, answer.features),
        )

    @blocking
    def nearest_features(
        self,
        *,
        feature: int | None = None,
        activation: npt.NDArray[np.float32] | None = None,
        sequence: str | None = None,
        start: int = 0,
        stop: int | None = None,
        degap: bool = False,
        dictionary: str | records.DictionaryRef | None = None,
        among: Sequence[str | records.DictionaryRef] = (),
        everywhere: bool = False,
        top_k: int = 10,
    ) -> Ask[NearestFeatures]:
        """Returns the features whose decoder directions are nearest, nearest first.

        Args:
            feature: compare with this feature, which is not its own neighbour; or
            activation: with this activation, [d_in], all finite; or
            sequence: with the mean activation of a stretch of this RNA, and tell what
                fires there.
            start: of the stretch, counted from 0.
            stop: one past its last nucleotide; None for the RNA's end.
            degap: whether gaps are taken out of the letters first.
            dictionary: that the query is of: "name", "name@version", or None for the
                server's default.
            among: dictionary versions to search; none: that one.
            everywhere: whether to search all current ones of the language model.
            top_k: most features, 1 to 1000.

        Raises:
            FeatureNotFoundError: there is no feature of that id.
            DictionaryNotFoundError: there is no such dictionary.
            InvalidRequestError: not exactly one query, or a bad one.
            IncompatibleDictionaryError: the activation is of another length, or a
                dictionary of another language model.
        """
        if sum(one is not None for one in (feature, activation, sequence)) != 1:
            message = "query: give one of feature, activation and sequence"
            raise InvalidRequestError(message)
        if start < 0 or (stop is not None and stop <= start):
            raise InvalidRequestError(f"stretch: {start} to {stop} is none")
        refs = map(convert.dictionary_ref_to_pb, among)
        request = dictionary_pb2.NearestFeaturesRequest(
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            top_k=top_k,
            everywhere=everywhere,
            among=[one for one in refs if one is not None],
        )
        if feature is not None:
            request.feature = _id(feature)
        elif activation is not None:
            request.activation = np.asarray(activation, "<f4").tobytes()
        else:
            stretch = request.stretch
            stretch.sequence = convert.sendable(sequence or "", "sequence")
            stretch.start, stretch.stop = start, stop or 0
            stretch.degap = degap
        return Ask(self._dictionaries.NearestFeatures, request, convert.nearest)

    @blocking
    def map_features(
        self,
        features: Sequence[int] = (),
        *,
        source: str | records.DictionaryRef | None = None,
        target: str | records.DictionaryRef | None = None,
    ) -> Ask[MappedFeatures]:
        """Returns what features of one version of a dictionary are in another.

        By the lineage that versions store when they are published, backwards and
        forwards, over any number of versions.

        Args:
            features: their ids, answered in this order; none: all of the version.
            source: that the ids are of: "name", "name@version", or None for the
                server's default.
            target: to find them in; "name" or None for the current version.

        Raises:
            FeatureNotFoundError: the source has no feature of that id.
            DictionaryNotFoundError: there is no such version, or it is retired.
            IncompatibleDictionaryError: they are of different language models, a
                version on the way is retired or purged, or they share no ancestor.
            InvalidRequestError: they are of different names.
        """
        request = dictionary_pb2.MapFeaturesRequest(
            source=convert.dictionary_ref_to_pb(source),
            target=convert.dictionary_ref_to_pb(target),
            features=map(_id, features),
        )
        return Ask(self._dictionaries.MapFeatures, request, convert.mapped)

    @paged
    def dictionaries(self) -> Pages[records.Dictionary]:
        """Yields all versions of all dictionaries, fetching page after page."""
        request = dictionary_pb2.ListDictionariesRequest(page_size=PAGE_SIZE)
        return Pages(
            self._dictionaries.ListDictionaries,
            request,
            lambda answer: map(convert.dictionary, answer.dictionaries),
        )

    def watch(self, name: str | None = None) -> Iterator[records.DictionaryChange]:
        """Yields what the server uses, then every change, for as long as it is drawn.

        Leaving early ends the call. There is no longest wait: changes are rare.

        Args:
            name: of the dictionary; None for all.

        Raises:
            OverloadedError: changes came faster than they were drawn; watch again.
            NotReadyError: the server drains, or is gone.
        """
        with translated(self.address):
            call = self._dictionaries.Watch(
                watch_request(name), metadata=self._metadata
            )
            try:
                for message in call:
                    yield convert.dictionary_change(message)
            finally:
                call.cancel()

    @blocking
    def activate(
        self,
        dictionary: str | records.DictionaryRef,
        *,
        expected: int | None = None,
    ) -> Ask[records.Moved]:
        """Makes a version current; the server uses it when this returns.

        Args:
            dictionary: "name@version".
            expected: the version that must be current, 0 for none; None for any.

        Raises:
            StaleWriteError: another version is current.
            IncompatibleDictionaryError: it does not fit the server's model, or fails
                its panel.
            DictionaryNotFoundError: there is no such version, or it is retired.
            CorruptArtefactError: its files are not what was published.
        """
        request = dictionary_pb2.ActivateRequest(
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            expected_version=expected,
        )
        return Ask(self._dictionaries.Activate, request, convert.moved)

    @blocking
    def roll_back(self, name: str | None = None) -> Ask[records.Moved]:
        """Activates the version that was current before; twice leads back.

        Args:
            name: of the dictionary; None for the server's default.

        Raises:
            DictionaryNotFoundError: none was.
            StaleWriteError: the current version changed meanwhile.
        """
        request = dictionary_pb2.RollbackRequest(name=name or "")
        return Ask(self._dictionaries.Rollback, request, convert.moved)

    @blocking
    def retire(
        self, dictionary: str | records.DictionaryRef
    ) -> Ask[records.DictionaryRef]:
        """Withdraws a version for good, and returns which it was.

        Args:
            dictionary: "name@version".

        Raises:
            DictionaryInUseError: it is current, or a collection needs it.
            DictionaryNotFoundError: there is no such version.
        """
        request = dictionary_pb2.RetireRequest(
            dictionary=convert.dictionary_ref_to_pb(dictionary)
        )
        return Ask(
            self._dictionaries.Retire,
            request,
            lambda answer: convert.dictionary_ref(answer.dictionary),
        )


def _id(feature: int) -> int:
    """Returns the id of a feature, if it can be one."""
    if not 0 <= feature < 2**32:
        raise InvalidRequestError(f"feature: {feature} is no id of a feature")
    return feature


def watch_request(name: str | None) -> dictionary_pb2.WatchRequest:
    """Returns the message that asks for the changes of a dictionary, or of all."""
    return dictionary_pb2.WatchRequest(name=name or "")
