"""The line in front of the model: bounded, fair to the living, deaf to the gone."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import NotReadyError, OverloadedError
from ribolex.server.engine.queue import Queue, Ticket, Work

DRAINING = NotReadyError("draining")


def ticket(
    *lengths: int, key: str = "d", deadline_s: float | None = None
) -> Ticket[int]:
    return Ticket([Work(key, n, None) for n in lengths], deadline_s)


def queue(
    max_tokens: int = 1000, max_requests: int = 100, batch_tokens: int = 100
) -> Queue[int]:
    return Queue(
        max_tokens=max_tokens, max_requests=max_requests, batch_tokens=batch_tokens
    )


def serve(line: Queue[int]) -> int:
    """Answers all that waits with its number of tokens; gives the batches it took."""
    n_batches = 0
    while line.n_requests:
        for entry in line.take() or []:
            entry.ticket.settle(entry.place, entry.work.n_tokens)
        n_batches += 1
    return n_batches


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.lists(st.integers(1, 150), max_size=6)),
        max_size=12,
    )
)
def test_every_ticket_gets_its_own_outcomes_in_order(
    calls: list[tuple[str, list[int]]],
) -> None:
    line = queue(max_tokens=100_000)
    tickets = [ticket(*lengths, key=key) for key, lengths in calls]
    for each in tickets:
        line.put(each)
    serve(line)
    answers = [each.future.result(timeout=0) for each in tickets]
    assert answers == [lengths for _, lengths in calls]
    assert line.n_tokens == 0


def test_a_full_queue_says_which_room_is_missing() -> None:
    line = queue(max_tokens=100, max_requests=2)
    line.put(ticket(60))
    with pytest.raises(OverloadedError) as caught:
        line.put(ticket(30, 30))
    assert (caught.value.unit, caught.value.limit, caught.value.got) == (
        "tokens",
        100,
        120,
    )
    line.put(ticket(1))
    with pytest.raises(OverloadedError) as caught:
        line.put(ticket(1))
    assert (caught.value.unit, caught.value.limit, caught.value.got) == (
        "requests",
        2,
        3,
    )


def test_a_refused_ticket_leaves_no_trace() -> None:
    line = queue(max_tokens=100)
    line.put(ticket(60))
    with pytest.raises(OverloadedError):
        line.put(ticket(30, 30))
    assert (line.n_tokens, line.n_requests) == (60, 1)


def test_a_ticket_larger_than_the_queue_gets_in_when_it_is_empty() -> None:
    line = queue(max_tokens=10)
    big = ticket(8, 8)
    line.put(big)
    serve(line)
    assert big.future.result(timeout=0) == [8, 8]


def test_taking_a_batch_makes_room() -> None:
    line = queue(max_tokens=100)
    line.put(ticket(100))
    calls: list[None] = []
    line.watch(lambda: calls.append(None))
    line.take()
    line.put(ticket(100))
    assert calls


def test_the_cancelled_and_the_expired_reach_no_batch() -> None:
    line = queue()
    gone, late, alive = ticket(5), ticket(6, deadline_s=time.monotonic()), ticket(7)
    for each in (gone, late, alive):
        line.put(each)
    gone.future.cancel()
    assert [entry.ticket for entry in line.take() or []] == [alive]
    with pytest.raises(TimeoutError, match="deadline"):
        late.future.result(timeout=0)
    assert line.n_tokens == 0


def test_after_one_failed_batch_the_rest_of_a_ticket_is_dropped() -> None:
    line = queue(batch_tokens=10)
    each = ticket(10, 10)
    line.put(each)
    (first,) = line.take() or []
    first.ticket.fail(RuntimeError("the forward failed"))
    other = ticket(3)
    line.put(other)
    assert [entry.ticket for entry in line.take() or []] == [other]


def test_closing_answers_everybody_and_ends_the_taker() -> None:
    line = queue()
    waiting = ticket(5)
    line.put(waiting)
    line.close(DRAINING)
    with pytest.raises(NotReadyError):
        waiting.future.result(timeout=0)
    assert line.take() is None
    with pytest.raises(NotReadyError):
        line.put(ticket(1))


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
    each.settle(0, 5)
    each.fail(RuntimeError())
    assert each.future.cancelled()
