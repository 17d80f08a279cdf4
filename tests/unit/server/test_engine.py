"""The engine as coroutines see it: bounded, patient on request, never silent."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ribolex.dictionary import Dictionary
from ribolex.errors import InvalidSequenceError, NotReadyError, OverloadedError
from ribolex.lm import LanguageModel
from ribolex.server.engine import encoding
from ribolex.server.engine.encoding import (
    EncodeTask,
    Encoding,
    Job,
    Recipe,
    encode_batch,
)
from ribolex.server.engine.front import Answer, Engine, Order
from ribolex.server.engine.queue import Queue
from ribolex.server.engine.worker import Computed

Encode = Callable[[LanguageModel, Dictionary, list[Job]], list[Encoding]]


@asynccontextmanager
async def running(
    lm: LanguageModel, *, max_tokens: int = 10_000, batch_tokens: int = 100
) -> AsyncIterator[Engine]:
    queue: Queue[Computed] = Queue(
        max_tokens=max_tokens, max_requests=50, batch_tokens=batch_tokens
    )
    engine = Engine(lm, queue, max_nucleotides=50)
    try:
        yield engine
    finally:
        await engine.close()


def order(
    dictionary: Dictionary, *sequences: str, **options: object
) -> Order[Encoding]:
    def task(text: str) -> EncodeTask:
        return EncodeTask.of(text, dictionary, Recipe(6, None))

    return Order(sequences, task, **options)  # type: ignore[arg-type]


async def until(batches: list[list[int]]) -> None:
    """Returns once the worker is at its first batch."""
    for _ in range(2000):
        if batches:
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Makes batches take 50 ms; gives the lengths of each as it is computed."""
    batches: list[list[int]] = []

    def encode(lm: LanguageModel, d: Dictionary, jobs: list[Job]) -> list[Encoding]:
        batches.append([len(job.tokens) - 2 for job in jobs])
        time.sleep(0.05)
        return encode_batch(lm, d, jobs)

    monkeypatch.setattr(encoding, "encode_batch", encode)
    return batches


async def test_outcomes_come_in_order_across_batches(
    lm: LanguageModel, dictionary: Dictionary
) -> None:
    sequences = ["A" * n for n in (40, 3, 17, 30, 3, 44, 1)]
    async with running(lm) as engine:
        answer = await engine.compute(order(dictionary, *sequences))
    lengths = [len(o.codes) for o in answer.outcomes if isinstance(o, Encoding)]
    assert lengths == [40, 3, 17, 30, 3, 44, 1]
    assert len(answer.batches) > 1
    assert answer.queue_s >= 0
    assert min(answer.batches.values()) > 0


async def test_a_faulty_sequence_fails_alone(
    lm: LanguageModel, dictionary: Dictionary
) -> None:
    async with running(lm) as engine:
        answer = await engine.compute(order(dictionary, "acgt", "", "AC GU"))
    good, empty, bad = answer.outcomes
    assert isinstance(good, Encoding)
    assert answer.sequences[0] == "ACGU"
    assert isinstance(empty, InvalidSequenceError)
    assert isinstance(bad, InvalidSequenceError)
    assert bad.field == "sequences[2]"


async def test_nothing_sound_is_answered_at_once(
    lm: LanguageModel, dictionary: Dictionary
) -> None:
    async with running(lm) as engine:
        answer = await engine.compute(order(dictionary, "", "?"))
    assert answer.batches == {}


async def test_a_failed_batch_fails_its_callers_only(
    lm: LanguageModel,
    dictionary: Dictionary,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def encode(lm: LanguageModel, d: Dictionary, jobs: list[Job]) -> list[Encoding]:
        if any(len(job.tokens) == 15 for job in jobs):
            raise RuntimeError("out of memory")
        return encode_batch(lm, d, jobs)

    monkeypatch.setattr(encoding, "encode_batch", encode)
    async with running(lm, batch_tokens=15) as engine:
        calls = [engine.compute(order(dictionary, "A" * n)) for n in (5, 13, 7)]
        first, failed, third = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, Answer)
        assert isinstance(third, Answer)
        assert isinstance(failed, RuntimeError)
        assert isinstance(await engine.compute(order(dictionary, "ACGU")), Answer)
    assert "a batch failed" in caplog.text


async def test_a_full_queue_refuses_the_impatient(
    lm: LanguageModel, dictionary: Dictionary, slow: list[list[int]]
) -> None:
    async with running(lm, max_tokens=100, batch_tokens=42) as engine:
        calls = [engine.compute(order(dictionary, "A" * 40)) for _ in range(8)]
        done = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(each, OverloadedError) for each in done)
    assert all(isinstance(each, OverloadedError | Answer) for each in done)


async def test_the_patient_wait_for_room_and_all_are_served(
    lm: LanguageModel, dictionary: Dictionary, slow: list[list[int]]
) -> None:
    async with running(lm, max_tokens=100, batch_tokens=42) as engine:
        calls = [
            engine.compute(order(dictionary, "A" * 40, is_patient=True))
            for _ in range(8)
        ]
        done = await asyncio.gather(*calls)
    assert len(done) == 8
    assert slow == [[40]] * 8


async def test_the_loop_stays_free_while_the_model_works(
    lm: LanguageModel, dictionary: Dictionary, slow: list[list[int]]
) -> None:
    async with running(lm) as engine:
        call = asyncio.ensure_future(engine.compute(order(dictionary, "ACGU")))
        turns = 0
        while not call.done():
            await asyncio.sleep(0.001)
            turns += 1
    assert turns > 5


async def test_who_leaves_or_is_late_costs_no_compute(
    lm: LanguageModel, dictionary: Dictionary, slow: list[list[int]]
) -> None:
    async with running(lm, batch_tokens=12) as engine:
        first = asyncio.ensure_future(engine.compute(order(dictionary, "A" * 10)))
        await until(slow)
        gone = asyncio.ensure_future(engine.compute(order(dictionary, "A" * 7)))
        late = asyncio.ensure_future(
            engine.compute(
                order(dictionary, "A" * 8, deadline_s=time.monotonic() + 0.01)
            )
        )
        await asyncio.sleep(0.02)
        gone.cancel()
        await first
        with pytest.raises(TimeoutError):
            await late
    assert slow == [[10]]


async def test_closing_answers_who_waits_and_who_waits_for_room(
    lm: LanguageModel, dictionary: Dictionary, slow: list[list[int]]
) -> None:
    async with running(lm, max_tokens=50, batch_tokens=42) as engine:
        calls = [
            asyncio.ensure_future(
                engine.compute(order(dictionary, "A" * 40, is_patient=True))
            )
            for _ in range(4)
        ]
        await until(slow)
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in done].count(Answer) == 1
    assert [type(each) for each in done].count(NotReadyError) == 3


async def test_a_dying_worker_leaves_nobody_waiting(
    lm: LanguageModel, dictionary: Dictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        """What no `except Exception` sees."""

    def die(*_: object) -> None:
        raise Death

    monkeypatch.setattr(encoding, "encode_batch", die)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    async with running(lm) as engine:
        with pytest.raises(NotReadyError):
            await engine.compute(order(dictionary, "ACGU"))
        with pytest.raises(NotReadyError):
            await engine.compute(order(dictionary, "ACGU"))
