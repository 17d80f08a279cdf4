"""A clan is in one part, whatever else the corpus holds."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.trainer.corpus import PARTS, Shares, group_of, part_of

SHARES = st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)).map(lambda s: Shares(*s))


def test_clan_goes_before_family_before_name() -> None:
    assert group_of("x", {"clan": "CL1", "family_acc": "RF1"}) == "clan:CL1"
    assert group_of("x", {"clan": "", "family_acc": "RF1"}) == "family:RF1"
    assert group_of("x", {}) == "name:x"


def test_split_is_that_of_every_release() -> None:
    """Other parts for these would put tomorrow's training RNAs into today's test."""
    found: dict[str, list[int]] = {part: [] for part in PARTS}
    for i in range(30):
        found[part_of(f"clan:CL{i:05d}", Shares(), "ribolex")].append(i)
    assert (found["validation"], found["test"]) == ([21], [2, 9, 15, 20])


def test_shares_are_met() -> None:
    counts = Counter(part_of(f"family:{i}", Shares(), "") for i in range(20_000))
    assert counts["validation"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


@given(group=st.text(), salt=st.text(), one=SHARES, other=SHARES)
def test_other_shares_never_swap_validation_and_test(
    group: str, salt: str, one: Shares, other: Shares
) -> None:
    parts = {part_of(group, shares, salt) for shares in (one, other)}
    assert parts <= set(PARTS)
    assert parts != {"validation", "test"}


@given(group=st.text(), salt=st.text())
def test_extreme_shares_take_all_or_nothing(group: str, salt: str) -> None:
    assert part_of(group, Shares(0.0, 0.0), salt) == "train"
    assert part_of(group, Shares(1.0, 0.0), salt) == "validation"
    assert part_of(group, Shares(0.0, 1.0), salt) == "test"


@pytest.mark.parametrize(
    "shares", [(-0.1, 0.0), (0.0, 1.1), (0.6, 0.6), (float("nan"), 0.0)]
)
def test_shares_that_cannot_be_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(InvalidRequestError, match="shares"):
        Shares(*shares)
