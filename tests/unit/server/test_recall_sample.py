"""The estimate of recall: of live searches, in the background."""

import logging
import math
import os
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from ribolex.server.index.recall_sample import RecallSample


@pytest.fixture
def sample() -> Iterator[RecallSample]:
    with closing(RecallSample(1.0)) as sample:
        yield sample


def settle(sample: RecallSample) -> None:
    """Waits until nothing is measured."""
    sample._thread.submit(int).result(10)


def measure(sample: RecallSample, *recalls: float | None) -> None:
    """Has searches measured, one after another."""
    for recall in recalls:
        sample.offer(lambda recall=recall: recall)  # type: ignore[misc]
        settle(sample)


def test_it_is_the_mean_of_what_was_measured(sample: RecallSample) -> None:
    measure(sample, *[1.0, 0.5, None, 0.0] * 7)
    assert sample.recall == 0.5


def test_a_few_searches_give_no_estimate(sample: RecallSample) -> None:
    measure(sample, *[0.0] * 10, *[None] * 10, *[1.0] * 9)
    assert math.isnan(sample.recall)
    measure(sample, 1.0)
    assert sample.recall == 0.5


def test_searches_go_on_while_one_is_measured(sample: RecallSample) -> None:
    begun, go_on, late = threading.Event(), threading.Event(), []

    def slow() -> float:
        begun.set()
        go_on.wait(10)
        return 0.25

    sample.offer(slow)
    begun.wait(10)
    sample.offer(lambda: late.append(1))
    go_on.set()
    settle(sample)
    measure(sample, *[0.25] * 19)
    assert (sample.recall, late) == (0.25, [])


def test_a_fault_is_logged_and_the_next_is_measured(
    sample: RecallSample, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> float:
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        sample.offer(fail)
        settle(sample)
    assert "broken" in caplog.text
    measure(sample, *[1.0] * 20)
    assert sample.recall == 1.0


def test_a_fraction_of_searches_is_measured() -> None:
    n = 0

    def count() -> None:
        nonlocal n
        n += 1

    with closing(RecallSample(0.1, seed=1)) as sample:
        for _ in range(1000):
            sample.offer(count)
            settle(sample)
    assert 60 < n < 150


def test_only_the_measuring_thread_steps_back(sample: RecallSample) -> None:
    before, found = os.getpriority(os.PRIO_PROCESS, 0), []
    sample.offer(
        lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    )
    settle(sample)
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_nothing_is_measured_after_the_end(sample: RecallSample) -> None:
    sample.close()
    sample.offer(lambda: 1.0)
    assert math.isnan(sample.recall)
