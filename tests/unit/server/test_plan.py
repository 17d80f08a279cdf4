"""The plan of batches: within budget, of one key, every line in its turn."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.server.engine.plan import (
    LOOK,
    PRICES,
    Lane,
    Waiting,
    line_of,
    longest_wait,
    plan,
)

N_LINES = len(PRICES)
START = (0,) * N_LINES
WINDOWS = st.builds(Waiting, key=st.sampled_from("ab"), n_tokens=st.integers(3, 50))
LINES = st.lists(
    st.lists(WINDOWS, max_size=15), min_size=N_LINES, max_size=N_LINES
).filter(any)
BUDGETS = st.integers(1, 200)


class Marked(NamedTuple):
    """A window that can be told from its equals."""

    key: str
    n_tokens: int
    origin: tuple[int, int]


def marked(lines: Sequence[Sequence[Waiting]]) -> list[list[Marked]]:
    return [
        [Marked(str(w.key), w.n_tokens, (i, j)) for j, w in enumerate(line)]
        for i, line in enumerate(lines)
    ]


def serve(
    left: list[list[Marked]], paid: tuple[int, ...], budget: int
) -> tuple[list[Marked], tuple[int, ...]]:
    """Takes a batch out of the lines."""
    made = plan([[Waiting(*w[:2]) for w in line] for line in left], paid, budget)
    batch = [left[pick.line][pick.place] for pick in made.picks]
    for line in left:
        line[:] = [window for window in line if window not in batch]
    return batch, made.paid


@given(LINES, BUDGETS)
def test_nothing_is_lost_or_doubled_and_each_batch_has_one_key_within_budget(
    lines: list[list[Waiting]], budget: int
) -> None:
    left, paid, served = marked(lines), START, list[Marked]()
    while any(left):
        batch, paid = serve(left, paid, budget)
        assert batch
        assert len({window.key for window in batch}) == 1
        assert len(batch) == 1 or sum(w.n_tokens for w in batch) <= budget
        served += batch
    assert sorted(served) == sorted(window for line in marked(lines) for window in line)


@given(LINES, BUDGETS)
def test_nobody_overtakes_whom_he_could_have_gone_with(
    lines: list[list[Waiting]], budget: int
) -> None:
    """Within a line a window is passed only if it has another key or does not fit."""
    (picks, _) = plan(lines, START, budget)
    key, taken = lines[picks[0].line][picks[0].place].key, 0
    for index in dict.fromkeys(pick.line for pick in picks):
        own = {pick.place for pick in picks if pick.line == index}
        for place, window in enumerate(lines[index][: max(own)]):
            if place in own:
                taken += window.n_tokens
            else:
                assert window.key != key or taken + window.n_tokens > budget
        taken += lines[index][max(own)].n_tokens


@given(LINES, BUDGETS, st.integers(0, N_LINES - 1), st.data())
def test_the_first_of_a_line_waits_no_longer_than_it_says(
    lines: list[list[Waiting]], budget: int, mine: int, data: st.DataObject
) -> None:
    """Whatever the others bring, and however they stood before."""
    paid = START
    for _ in range(data.draw(st.integers(0, 12))):
        paid = plan(lines, paid, budget).paid
    flood = [[Waiting("b", data.draw(st.integers(3, 300)))] * 50 for _ in PRICES]
    flood[mine] = [Waiting("a", 10)]
    for _ in range(longest_wait(mine) + 1):
        made = plan(flood, paid, budget)
        if any(pick.line == mine for pick in made.picks):
            return
        paid = made.paid
    pytest.fail("still waiting")


def test_the_bounds_are_those_that_are_promised() -> None:
    interactive, bulk = line_of(Lane.INTERACTIVE, 10, 100), line_of(Lane.BULK, 10, 100)
    assert (longest_wait(interactive), longest_wait(bulk)) == (7, 19)


def test_a_lookup_leads_the_next_batch_however_long_bulk_had_all() -> None:
    lookup, bulk = line_of(Lane.INTERACTIVE, 10, 100), line_of(Lane.BULK, 9999, 100)
    lines: list[list[Waiting]] = [[] for _ in PRICES]
    lines[bulk] = [Waiting("a", 100)] * 50
    paid = START
    for _ in range(1000):
        paid = plan(lines, paid, 100).paid
    lines[lookup] = [Waiting("b", 10)]
    assert [pick.line for pick in plan(lines, paid, 100).picks] == [lookup]


def test_lanes_share_four_to_one() -> None:
    lines: list[list[Waiting]] = [[] for _ in PRICES]
    for lane in Lane:
        lines[line_of(lane, 10, 100)] = [Waiting("a", 100)] * 9
    led, paid = [], START
    for _ in range(100):
        ((pick,), paid) = plan(lines, paid, 100)
        led.append(pick.line)
    assert led.count(line_of(Lane.INTERACTIVE, 10, 100)) == 80


def test_larger_orders_have_lines_of_their_own() -> None:
    sizes = (1, 100, 101, 1600, 1601, 10**9)
    assert [line_of(Lane.INTERACTIVE, n, 100) for n in sizes] == [0, 0, 1, 1, 2, 2]
    assert [line_of(Lane.BULK, n, 100) for n in sizes] == [3, 3, 4, 4, 5, 5]


def test_what_is_left_of_a_batch_goes_to_the_other_lines() -> None:
    lines = [[Waiting("a", 30)], [], [Waiting("b", 10), Waiting("a", 50)], [], [], []]
    lines[5] = [Waiting("a", 20), Waiting("a", 20)]
    assert plan(lines, START, 100).picks == [(0, 0), (2, 1), (5, 0)]


def test_nobody_waiting_makes_no_batch() -> None:
    assert plan([[] for _ in PRICES], (3,) * N_LINES, 100) == ([], (3,) * N_LINES)


def test_a_plan_looks_at_the_heads_of_the_lines_only() -> None:
    """So that it costs the same however much waits."""
    n_seen = 0

    def endless(key: str) -> Iterator[Waiting]:
        nonlocal n_seen
        while True:
            n_seen += 1
            yield Waiting(key, 100)

    lines = [endless(str(i)) for i in range(N_LINES)]
    assert plan(lines, START, 10**6).picks[0] == (0, 0)
    assert n_seen <= N_LINES * LOOK
