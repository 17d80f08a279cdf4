"""Comparisons of groups: the call, and its messages to values of ours and back."""

from __future__ import annotations

from collections.abc import Mapping

from ribolex.client import convert, records
from ribolex.client.ask import Ask, blocking
from ribolex.client.connection import Connection
from ribolex.client.errors import InvalidRequestError, ServerError
from ribolex.client.groups import (
    FeatureContrast,
    Group,
    GroupComparison,
    GroupFacts,
    Unit,
)
from ribolex.v1 import collection_pb2 as pb

_UNITS: Mapping[Unit, pb.ComparisonUnit.ValueType] = {
    "rna": pb.COMPARISON_UNIT_RNA,
    "family": pb.COMPARISON_UNIT_FAMILY,
    "clan": pb.COMPARISON_UNIT_CLAN,
}
_UNIT_NAMES = {number: unit for unit, number in _UNITS.items()}


class CompareCalls(Connection):
    """What of CollectionService compares groups."""

    @blocking
    def compare(
        self,
        first: Group,
        second: Group,
        *,
        collection: str = "",
        dictionary: str | records.DictionaryRef | None = None,
        unit: Unit | None = None,
        max_rnas: int = 1000,
        max_features: int = 100,
        with_shuffled: bool = True,
        seed: int = 0,
    ) -> Ask[GroupComparison]:
        """Returns in which features two groups of RNAs differ, the surest first.

        Args:
            first: two RNAs or more.
            second: likewise; none of them, by name and sequence, in the first, too.
            collection: of the stored RNAs.
            dictionary: "name", "name@version" or None for the server's default, where
                no collection is named.
            unit: what is taken for one observation; None for clans, if the RNAs tell
                them and each group has ten, else RNAs.
            max_rnas: of larger groups so many RNAs are drawn; at most 10,000.
            max_features: most features to give.
            with_shuffled: whether to read the RNAs shuffled, too: what composition
                explains. Takes as long as the RNAs.
            seed: of all draws.

        Raises:
            CollectionNotFoundError: there is no such collection.
            RnaNotFoundError: a name leads to no stored RNA.
            InvalidRequestError: a group is none; a sequence is no RNA; or there is more
                to read than the server does at once.
        """
        if unit is not None and unit not in _UNITS:
            expected = ", ".join(_UNITS)
            raise InvalidRequestError(f"unit: {unit!r} is not one of {expected}")
        if min(max_rnas, max_features) < 1 or seed < 0:
            raise InvalidRequestError(
                "max_rnas, max_features, seed: expected 1 or more, the seed 0"
            )
        request = pb.CompareGroupsRequest(
            collection=collection,
            dictionary=convert.dictionary_ref_to_pb(dictionary),
            first=_group(first, "first"),
            second=_group(second, "second"),
            unit=pb.COMPARISON_UNIT_UNSPECIFIED if unit is None else _UNITS[unit],
            max_rnas=max_rnas,
            max_features=max_features,
            without_shuffled=not with_shuffled,
            seed=seed,
        )
        return Ask(self._collections.CompareGroups, request, _comparison)


def _group(group: Group, field: str) -> pb.RnaGroup:
    if isinstance(group.names, str):
        raise InvalidRequestError(f"{field}: {group.names!r} is one, expected a list")
    return pb.RnaGroup(
        where=convert.conditions(group.where),
        names=convert.all_sendable(group.names),
        rnas=[convert.rna_to_pb(one) for one in group.rnas],
    )


def _comparison(message: pb.CompareGroupsResponse) -> GroupComparison:
    if message.unit not in _UNIT_NAMES:
        raise ServerError("the answer has a unit that this client is too old for")
    return GroupComparison(
        dictionary=convert.dictionary_ref(message.dictionary),
        first=_facts(message.first),
        second=_facts(message.second),
        unit=_UNIT_NAMES[message.unit],
        n_tested=message.n_tested,
        n_significant=message.n_significant,
        n_beyond_composition=message.n_beyond_composition,
        features=tuple(_contrast(one) for one in message.features),
        timing=convert.timing(message.timing),
        smallest_p=message.smallest_p,
    )


def _facts(message: pb.GroupFacts) -> GroupFacts:
    return GroupFacts(
        message.n_found, message.n_rnas, message.n_units, message.mean_nucleotides
    )


def _contrast(message: pb.FeatureContrast) -> FeatureContrast:
    is_known = message.HasField("shuffled_effect")
    return FeatureContrast(
        feature=message.feature,
        label=message.label,
        effect=message.effect,
        effect_low=message.effect_low,
        effect_high=message.effect_high,
        log_ratio=message.log_ratio,
        log_ratio_low=message.log_ratio_low,
        log_ratio_high=message.log_ratio_high,
        first_share=message.first_share,
        second_share=message.second_share,
        p_value=message.p_value,
        q_value=message.q_value,
        shuffled_effect=message.shuffled_effect if is_known else None,
        is_composition_only=message.is_composition_only,
    )
