"""Messages of CompareGroups: two groups of RNAs in, how features differ out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ribolex.dictionary import Dictionary
from ribolex.dictionary.groups import Contrast
from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.server.convert import codes as convert
from ribolex.server.convert.collection import decode_rna
from ribolex.server.convert.search import decode_conditions
from ribolex.server.index.metadata import Condition
from ribolex.v1 import collection_pb2 as pb

Unit = Literal["rna", "family", "clan"]

_UNITS: dict[pb.ComparisonUnit.ValueType, Unit | None] = {
    pb.COMPARISON_UNIT_UNSPECIFIED: None,
    pb.COMPARISON_UNIT_RNA: "rna",
    pb.COMPARISON_UNIT_FAMILY: "family",
    pb.COMPARISON_UNIT_CLAN: "clan",
}
_UNIT_NUMBERS = {unit: number for number, unit in _UNITS.items()}
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Group:
    """RNAs that belong together; one of the three is not empty."""

    where: tuple[Condition, ...]
    names: Sequence[str]
    rnas: Sequence[Rna]

    @property
    def is_stored(self) -> bool:
        """Whether its RNAs are in a collection."""
        return not self.rnas


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is to be compared, and how."""

    first: Group
    second: Group
    unit: Unit | None
    max_rnas: int
    max_features: int
    is_shuffled: bool
    seed: int


class Facts(NamedTuple):
    """What is known of a group that was looked at."""

    n_found: int
    n_rnas: int
    n_units: int
    mean_nucleotides: float


def decode_comparison(request: pb.CompareGroupsRequest) -> Comparison:
    """Returns what is to be compared; of collection and dictionary nothing is known.

    Raises:
        InvalidRequestError: names the field.
    """
    if request.unit not in _UNITS:
        raise InvalidRequestError(
            "unit",
            f"{request.unit} is no unit, expected COMPARISON_UNIT_RNA, "
            "COMPARISON_UNIT_FAMILY or COMPARISON_UNIT_CLAN",
        )
    comparison = Comparison(
        _group(request.first, "first"),
        _group(request.second, "second"),
        _UNITS[request.unit],
        convert.decode_count(request.max_rnas, "max_rnas", default=1000, limit=10_000),
        convert.decode_count(
            request.max_features, "max_features", default=100, limit=100_000
        ),
        not request.without_shuffled,
        request.seed,
    )
    is_stored = comparison.first.is_stored or comparison.second.is_stored
    if is_stored and not request.collection:
        raise InvalidRequestError(
            "collection", "is empty, expected that of the stored RNAs"
        )
    if request.collection and request.HasField("dictionary"):
        raise InvalidRequestError(
            "dictionary", "expected none with a collection, which has its own"
        )
    if comparison.max_rnas < 2:
        raise InvalidRequestError("max_rnas", "1, expected 2 or more")
    return comparison


def _group(message: pb.RnaGroup, field: str) -> Group:
    given = (message.where, message.names, message.rnas)
    if sum(map(bool, given)) != 1:
        raise InvalidRequestError(
            field, "expected exactly one of where, names and rnas"
        )
    try:
        where = decode_conditions(message.where)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{field}.{error.field}", error.message) from error
    names = list(dict.fromkeys(message.names))
    return Group(where, names, [decode_rna(one) for one in message.rnas])


def encode_contrast(
    contrast: Contrast,
    comparison: Comparison,
    facts: tuple[Facts, Facts],
    unit: Unit,
    dictionary: Dictionary,
) -> pb.CompareGroupsResponse:
    """Returns how the groups differ, the surest features first."""
    order = np.lexsort((-np.abs(contrast.effect.value), contrast.q_value))
    is_sure = contrast.q_value <= _SIGNIFICANT
    is_beyond = is_sure
    if contrast.is_composition_only is not None:
        is_beyond = is_sure & ~contrast.is_composition_only
    return pb.CompareGroupsResponse(
        dictionary=convert.encode_ref(dictionary.name, dictionary.version),
        first=pb.GroupFacts(**facts[0]._asdict()),
        second=pb.GroupFacts(**facts[1]._asdict()),
        unit=_UNIT_NUMBERS[unit],
        n_tested=len(order),
        n_significant=int(is_sure.sum()),
        n_beyond_composition=int(is_beyond.sum()),
        features=[
            _contrast(contrast, int(row), dictionary)
            for row in order[: comparison.max_features]
        ],
        smallest_p=contrast.smallest_p,
    )


def _contrast(
    contrast: Contrast, row: int, dictionary: Dictionary
) -> pb.FeatureContrast:
    feature = int(contrast.features[row])
    effect, ratio = contrast.effect, contrast.log_ratio
    message = pb.FeatureContrast(
        feature=feature,
        label=dictionary.features.label[feature],
        effect=effect.value[row],
        effect_low=effect.low[row],
        effect_high=effect.high[row],
        log_ratio=ratio.value[row],
        log_ratio_low=ratio.low[row],
        log_ratio_high=ratio.high[row],
        first_share=contrast.shares[0, row],
        second_share=contrast.shares[1, row],
        p_value=contrast.p_value[row],
        q_value=contrast.q_value[row],
    )
    if contrast.shuffled is not None and contrast.is_composition_only is not None:
        message.shuffled_effect = contrast.shuffled[row]
        message.is_composition_only = bool(contrast.is_composition_only[row])
    return message
