"""The plan of a batch: within budget, of one key, the oldest always first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.server.engine.plan import Waiting, plan

LINES = st.lists(
    st.builds(Waiting, key=st.sampled_from("ab"), n_tokens=st.integers(1, 50)),
    min_size=1,
    max_size=40,
)
BUDGETS = st.integers(1, 200)


@given(LINES, BUDGETS)
def test_a_batch_holds_the_oldest_and_one_key(line: list[Waiting], budget: int) -> None:
    batch = plan(line, budget)
    assert batch[0] == 0
    assert {line[place].key for place in batch} == {line[0].key}
    assert batch == sorted(set(batch))


@given(LINES, BUDGETS)
def test_the_budget_is_kept_unless_one_alone_exceeds_it(
    line: list[Waiting], budget: int
) -> None:
    batch = plan(line, budget)
    longest = max(line[place].n_tokens for place in batch)
    assert longest * len(batch) <= budget or batch == [0]


@given(LINES, BUDGETS)
def test_every_sequence_is_served_once_and_none_overtaken_for_long(
    line: list[Waiting], budget: int
) -> None:
    left = list(enumerate(line))
    served: list[int] = []
    n_batches = 0
    while left:
        places = plan([waiting for _, waiting in left], budget)
        for place in places:
            origin, _ = left[place]
            assert n_batches <= origin
            served.append(origin)
        left = [entry for i, entry in enumerate(left) if i not in set(places)]
        n_batches += 1
    assert sorted(served) == list(range(len(line)))


@given(LINES)
def test_a_batch_is_as_full_as_it_can_be(line: list[Waiting]) -> None:
    """No waiting sequence of the key would still fit."""
    batch = plan(line, 200)
    longest = max(line[place].n_tokens for place in batch)
    for place, waiting in enumerate(line):
        if place not in batch and waiting.key == line[0].key:
            assert max(longest, waiting.n_tokens) * (len(batch) + 1) > 200


def test_companions_are_of_like_length() -> None:
    line = [Waiting("a", n) for n in (100, 10, 90, 20, 105)]
    assert plan(line, 320) == [0, 2, 4]


@pytest.mark.parametrize("budget", [1, 1000])
def test_nobody_waiting_makes_no_batch(budget: int) -> None:
    assert plan([], budget) == []
