"""Steps of lineage put together, compared with following each feature by itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ribolex.dictionary import FeatureTable
from ribolex.dictionary.lineage import FeatureMap

Step = list[tuple[int, float]]
N_FEATURES = 6

STEPS = st.lists(
    st.tuples(st.integers(-1, N_FEATURES), st.sampled_from([0.5, 0.625, 0.75, 1.0])),
    min_size=N_FEATURES,
    max_size=N_FEATURES,
)
LINES = st.lists(STEPS, max_size=3)


def table(step: Step) -> FeatureTable:
    return replace(
        FeatureTable.blank(len(step)),
        ancestor=np.array([one[0] for one in step], np.int32),
        ancestor_confidence=np.array([one[1] for one in step], np.float32),
    )


def follow(feature: int, line: list[Step]) -> tuple[int, float] | None:
    """Gives where one feature comes from, step by step."""
    sure = 1.0
    for step in line:
        if not 0 <= feature < len(step):
            return None
        feature, confidence = step[feature]
        sure *= confidence
    return (feature, sure) if feature >= 0 else None


@settings(max_examples=40, deadline=None)
@given(LINES, LINES)
def test_maps_are_what_each_feature_leads_to(
    back: list[Step], forth: list[Step]
) -> None:
    mine = FeatureMap.back(N_FEATURES, map(table, back))
    theirs = FeatureMap.back(N_FEATURES, map(table, forth))
    found = mine.meet(theirs)
    for feature in range(N_FEATURES):
        start = follow(feature, back)
        ends = [
            (-end[1], other, end[1])
            for other in range(N_FEATURES)
            if (end := follow(other, forth)) and start and end[0] == start[0]
        ]
        expected = (-1, 0.0)
        if start and ends:
            _, other, sure = min(ends)
            expected = other, start[1] * sure
        got = found.counterpart[feature], found.confidence[feature]
        assert got == pytest.approx(expected)


def test_widths_may_differ_from_version_to_version() -> None:
    step = [(3, 0.5), (-1, 0.0)]
    found = FeatureMap.back(4, ()).meet(FeatureMap.back(2, [table(step)]))
    assert found.counterpart.tolist() == [-1, -1, -1, 0]
    assert found.confidence.tolist() == [0, 0, 0, 0.5]
