"""Scans of variants: the calls, and their messages to values of ours and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ribolex.client import convert, records
from ribolex.client.ask import Ask, blocking
from ribolex.client.connection import Connection
from ribolex.client.encoder import OnRejection, checked
from ribolex.client.errors import InvalidRequestError, ServerError
from ribolex.client.variants import FeatureChange, VariantEffect, VariantScan
from ribolex.v1 import variants_pb2


def unheard(n_variants: int) -> None:
    """Does nothing with what it is told."""


class ScanCalls(Connection):
    """What of EncoderService is about variants."""

    @blocking
    def scan(
        self,
        sequence: str,
        *,
        variants: Sequence[str] = (),
        alternatives: Sequence[str] = (),
        saturate: bool | tuple[int, int] = False,
        dictionary: str | records.DictionaryRef | None = None,
        k: int | None = None,
        reach: int = 10,
        max_features: int = 8,
        with_position_changes: bool = False,
        on_rejection: OnRejection = "raise",
        on_progress: Callable[[int], object] = unheard,
    ) -> Ask[VariantScan]:
        """Returns what variants of an RNA change: features, and likelihoods.

        Give one of variants, alternatives and saturate. timeout_s is that of the whole
        scan.

        Args:
            sequence: the reference, at most 100,000 nucleotides.
            variants: in notation, positions counted from 1: "12A>G", "12_14del",
                "12_13insGA", "12_14delinsGA", "12A>G;40C>U".
            alternatives: whole sequences, compared with the reference.
            saturate: True for all substitutions of all nucleotides; or of those from
                the first number up to the second, counted from 0.
            dictionary: "name", "name@version", or None for the server's default.
            k: features kept for each nucleotide; None keeps the dictionary's k.
            reach: how far "near" reaches to either side of a change.
            max_features: most features to name for a variant.
            with_position_changes: whether to give the change in each nucleotide.
            on_rejection: "skip" leaves out variants that were refused.
            on_progress: called with the number of variants in each part of the answer
                (by `AsyncClient` once all of them came).

        Raises:
            RejectedError: variants were refused, and were not to be skipped.
            InvalidRequestError: the reference is none; a bad option; or more variants
                than the server reads at once.
            DictionaryNotFoundError: there is no such dictionary.
        """
        if isinstance(variants, str) or isinstance(alternatives, str):
            raise InvalidRequestError("variants: expected a list, not one text")
        if k is not None and k < 1:
            raise InvalidRequestError(f"k: {k} is less than 1")
        if min(reach, max_features) < 0:
            raise InvalidRequestError("reach, max_features: expected 0 or more")
        request = variants_pb2.ScanVariantsRequest(
            sequence=convert.sendable(sequence, "sequence"),
            variants=convert.all_sendable(variants),
            alternative_sequences=convert.all_sendable(alternatives),
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            k=k or 0,
            reach=reach,
            max_features=max_features,
            with_position_changes=with_position_changes,
        )
        if saturate is not False:
            request.saturation.CopyFrom(_saturation(saturate))
        return Ask(
            self._encoder.ScanVariants,
            request,
            lambda answer: checked(
                _scanned(answer, on_progress), on_rejection, "variants"
            ),
            is_streamed=True,
        )


def _saturation(saturate: bool | tuple[int, int]) -> variants_pb2.Saturation:
    if isinstance(saturate, bool):
        return variants_pb2.Saturation()
    start, stop = saturate
    if not 0 <= start < stop < 2**32:
        raise InvalidRequestError(f"saturate: {start} to {stop} is no range")
    return variants_pb2.Saturation(start=start, stop=stop)


def _scanned(
    messages: Iterable[variants_pb2.ScanVariantsResponse],
    on_progress: Callable[[int], object],
) -> VariantScan:
    """Returns what all messages of an answer tell.

    Raises:
        ServerError: some of them are missing.
    """
    header: variants_pb2.ScanHeader | None = None
    effects, rejections = list[VariantEffect](), list[records.Rejection]()
    for message in messages:
        if message.HasField("header"):
            header = message.header
        for result in message.results:
            if result.HasField("rejection"):
                rejections.append(convert.rejection(result.index, result.rejection))
            else:
                effects.append(_effect(result))
        on_progress(len(message.results))
    n_found = len(effects) + len(rejections)
    if header is None or n_found != header.n_variants:
        raise ServerError(f"the answer breaks off after {n_found} variants")
    return VariantScan(
        dictionary=convert.dictionary_ref(header.dictionary),
        sequence=header.sequence,
        reach=header.reach,
        fvu=header.fvu,
        code_sum=header.code_sum,
        log_likelihood=header.log_likelihood,
        variants=tuple(effects),
        rejections=tuple(rejections),
    )


def _effect(result: variants_pb2.VariantResult) -> VariantEffect:
    message = result.effect
    known = message.HasField("masked_marginal")
    packed = message.position_changes
    return VariantEffect(
        index=result.index,
        changes=message.changes,
        positions=tuple(message.positions),
        masked_marginal=message.masked_marginal if known else None,
        log_likelihood_ratio=message.log_likelihood_ratio,
        features=tuple(_feature(one) for one in message.features),
        position_changes=np.frombuffer(packed, "<f4").astype(np.float32)
        if packed
        else None,
        **_gains(message),
    )


def _feature(message: variants_pb2.FeatureChange) -> FeatureChange:
    return FeatureChange(
        feature=message.feature,
        label=message.label,
        positions=tuple(message.positions),
        changes=tuple(message.changes),
        **_gains(message),
    )


def _gains(message: Any) -> dict[str, float]:
    names = ("gained", "lost", "near_gained", "near_lost")
    return {name: getattr(message, name) for name in names}
