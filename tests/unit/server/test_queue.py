"""The lines in front of the model: bounded, fair to the living, deaf to the gone."""

import random
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError, NotReadyError, OverloadedError
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.queue import Limits, Queue
from ribolex.server.engine.rate import Rate
from ribolex.server.engine.task import cost
from ribolex.server.engine.ticket import Computed, Entry, Ticket

DRAINING = NotReadyError("draining")
EMPTY = dict.fromkeys(Lane, 0)


def ticket(
    *lengths: int,
    key: str = "d",
    lane: Lane = Lane.INTERACTIVE,
    deadline_s: float | None = None,
    name: object = None,
) -> Ticket[Any]:
    """Gives a ticket of tasks that cost so many tokens, equal if they have a name."""
    tasks: list[Any] = [
        SimpleNamespace(text="A" * (n - 2), key=key, identity=name or object())
        for n in lengths
    ]
    return Ticket(tasks, lane, deadline_s)


def queue(
    max_tokens: int = 1000, max_requests: int = 100, batch_tokens: int = 100
) -> Queue:
    return Queue(Limits(max_tokens, max_requests, batch_tokens), Rate())


def land(line: Queue, batch: list[Entry] | None) -> None:
    """Answers the tasks of a batch with their numbers of tokens."""
    for entry in batch or []:
        entry.flight.n_left -= 1
        if not entry.flight.n_left:
            line.finish(entry.flight, Computed(entry.flight.n_tokens, {}, 0.0))


def serve(line: Queue) -> int:
    """Answers all that waits; gives the batches that it took."""
    n_batches = 0
    while any(line.n_requests.values()):
        land(line, line.take())
        n_batches += 1
    return n_batches


def outcomes(each: Ticket[Any]) -> list[int]:
    return [done.outcome for done in each.future.result(timeout=0)]


CALLS = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(Lane),
        st.lists(st.integers(3, 150), max_size=6),
    ),
    max_size=12,
)


@given(CALLS)
def test_every_ticket_gets_its_own_outcomes_in_order(
    calls: list[tuple[str, Lane, list[int]]],
) -> None:
    line = queue(max_tokens=100_000)
    tickets = [ticket(*lengths, key=key, lane=lane) for key, lane, lengths in calls]
    for each in tickets:
        line.put(each)
    serve(line)
    assert list(map(outcomes, tickets)) == [lengths for _, _, lengths in calls]
    assert (line.n_tokens, line.n_requests) == (EMPTY, EMPTY)


def test_a_full_queue_says_which_room_is_missing() -> None:
    line = queue(max_tokens=100, max_requests=2)
    line.put(ticket(60))
    with pytest.raises(OverloadedError) as caught:
        line.put(ticket(30, 30))
    error = caught.value
    assert (error.unit, error.limit, error.got) == ("tokens", 100, 120)
    line.put(ticket(3))
    with pytest.raises(OverloadedError) as caught:
        line.put(ticket(3))
    error = caught.value
    assert (error.unit, error.limit, error.got) == ("requests", 2, 3)


def test_who_is_refused_learns_how_long_the_rest_will_take() -> None:
    line = queue(max_tokens=100)
    line.rate.note(50, 10.0)
    line.put(ticket(100))
    with pytest.raises(OverloadedError) as caught:
        line.put(ticket(40))
    assert caught.value.retry_s is not None
    assert 6 <= caught.value.retry_s <= 10  # 40 tokens at 5 a second, jittered
    line.put(ticket(100, lane=Lane.BULK))
    with pytest.raises(OverloadedError) as caught:
        line.put(ticket(10, lane=Lane.BULK))
    assert caught.value.retry_s is not None
    assert 7.5 <= caught.value.retry_s <= 12.5  # 10 tokens at a fifth of that


@given(st.integers(1, 10**9), st.floats(1e-6, 1e6), st.integers(0))
def test_a_delay_is_bounded(n_tokens: int, seconds: float, seed: int) -> None:
    rate = Rate(random.Random(seed))
    assert 0.075 <= rate.delay_s(n_tokens) <= 37.5
    rate.note(1000, seconds)
    assert 0.075 <= rate.delay_s(n_tokens) <= 37.5


def test_a_flood_of_one_lane_takes_no_room_of_the_other() -> None:
    line = queue(max_tokens=100, max_requests=3)
    for _ in range(3):
        line.put(ticket(30, lane=Lane.BULK))
    with pytest.raises(OverloadedError):
        line.put(ticket(30, lane=Lane.BULK))
    line.put(ticket(100))
    assert line.n_tokens == {Lane.INTERACTIVE: 100, Lane.BULK: 90}


def test_a_refused_ticket_leaves_no_trace() -> None:
    line = queue(max_tokens=100)
    line.put(ticket(60))
    with pytest.raises(OverloadedError):
        line.put(ticket(30, 30))
    assert line.n_tokens[Lane.INTERACTIVE] == 60
    assert line.n_requests[Lane.INTERACTIVE] == 1
    assert serve(line) == 1


def test_what_can_never_fit_is_refused_for_good() -> None:
    line = queue(max_tokens=10)
    with pytest.raises(InvalidRequestError, match="16 tokens, expected at most 10"):
        line.put(ticket(8, 8))


def test_room_is_given_back_when_it_is_answered() -> None:
    """Not before: what is computed is in memory, too."""
    line, calls = queue(max_tokens=100), list[None]()
    line.put(ticket(100))
    line.watch(lambda: calls.append(None))
    batch = line.take()
    with pytest.raises(OverloadedError):
        line.put(ticket(100))
    land(line, batch)
    assert calls
    line.put(ticket(100))


def test_a_long_rna_shares_the_model_with_who_came_after_it() -> None:
    line = queue(max_tokens=300_000, batch_tokens=2048)
    long, short, shorter = ticket(100_002), ticket(50), ticket(40)
    line.put(long)
    assert len(long.flights[0].windows) > 100
    land(line, line.take())
    line.put(short)
    land(line, line.take())
    assert short.future.done()
    line.put(shorter)
    for _ in range(2):
        land(line, line.take())
    assert shorter.future.done()
    assert not long.future.done()
    serve(line)
    assert outcomes(long) == [cost(100_000)]


def test_equal_tasks_are_computed_once() -> None:
    line = queue(max_tokens=10)
    tickets = [ticket(10, 10, name="x"), ticket(10, name="x"), ticket(10, name="x")]
    for each in tickets:
        line.put(each)
    assert line.n_tokens[Lane.INTERACTIVE] == 10
    batch = line.take()
    assert batch is not None
    assert len(batch) == 1
    late = ticket(10, name="x")
    line.put(late)  # while it is computed
    land(line, batch)
    assert [outcomes(each) for each in (*tickets, late)] == [[10, 10], [10], [10], [10]]
    assert (line.n_tokens, line.n_requests) == (EMPTY, EMPTY)


def test_one_who_leaves_takes_nothing_from_those_who_wait_for_the_same() -> None:
    line = queue()
    first, second = ticket(10, name="x"), ticket(10, name="x")
    for each in (first, second):
        line.put(each)
    first.future.cancel()
    land(line, line.take())
    assert outcomes(second) == [10]


def test_when_all_have_left_nothing_is_computed_and_the_next_begins_anew() -> None:
    line = queue()
    gone = [ticket(10, name="x") for _ in range(2)]
    for each in gone:
        line.put(each)
        each.future.cancel()
    assert line.n_tokens == EMPTY
    again = ticket(10, name="x")
    line.put(again)
    land(line, line.take())
    assert outcomes(again) == [10]


def test_a_lookup_makes_the_bulk_task_urgent_that_it_waits_for() -> None:
    line = queue(batch_tokens=50)
    line.put(ticket(50, 50, lane=Lane.BULK))
    line.put(ticket(30, lane=Lane.BULK, name="x"))
    lookup = ticket(30, name="x")
    line.put(lookup)
    assert line.n_tokens == {Lane.INTERACTIVE: 30, Lane.BULK: 100}
    land(line, line.take())
    assert lookup.future.done()
    serve(line)
    assert line.n_tokens == EMPTY


def test_the_cancelled_and_the_expired_reach_no_batch() -> None:
    line = queue()
    gone, late, alive = ticket(5), ticket(6, deadline_s=time.monotonic()), ticket(7)
    for each in (gone, late, alive):
        line.put(each)
    gone.future.cancel()
    batch = line.take()
    assert batch is not None
    assert [list(entry.flight.waiters) for entry in batch] == [[alive]]
    with pytest.raises(TimeoutError, match="deadline"):
        late.future.result(timeout=0)
    land(line, batch)
    assert line.n_tokens == EMPTY


def test_after_one_failed_task_the_rest_of_a_ticket_is_dropped() -> None:
    line = queue(batch_tokens=10)
    each = ticket(10, 10)
    line.put(each)
    (first,) = line.take() or []
    line.fail(first.flight, RuntimeError("the forward failed"))
    with pytest.raises(RuntimeError):
        each.future.result(timeout=0)
    assert (line.n_tokens, line.n_requests) == (EMPTY, EMPTY)


def test_closing_answers_everybody_and_ends_the_taker() -> None:
    line = queue()
    waiting = ticket(5)
    line.put(waiting)
    line.close(DRAINING)
    with pytest.raises(NotReadyError):
        waiting.future.result(timeout=0)
    assert line.take() is None
    with pytest.raises(NotReadyError):
        line.put(ticket(3))


def test_closing_lets_a_batch_in_progress_finish() -> None:
    line = queue(batch_tokens=10)
    taken, waiting = ticket(10), ticket(10)
    line.put(taken)
    line.put(waiting)
    batch = line.take()
    line.close(DRAINING)
    land(line, batch)
    assert outcomes(taken) == [10]
    assert isinstance(waiting.future.exception(timeout=0), NotReadyError)
    assert line.n_requests == EMPTY


def test_closing_wakes_a_waiting_taker() -> None:
    line = queue()
    taken: list[object] = []
    taker = threading.Thread(target=lambda: taken.append(line.take()))
    taker.start()
    line.close(DRAINING)
    taker.join(timeout=5)
    assert taken == [None]


def test_settling_a_ticket_whose_caller_left_is_harmless() -> None:
    each = ticket(5)
    each.future.cancel()
    each.settle(0, Computed(5, {}, 0.0))
    each.fail(RuntimeError())
    assert each.future.cancelled()
