"""The engine as coroutines see it: bounded, patient on request, never silent.

On a fake model whose tasks give the lengths of their sequences; a letter says what
goes wrong with one.
"""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from ribolex.errors import (
    InvalidRequestError,
    InvalidSequenceError,
    NotReadyError,
    OverloadedError,
    SequenceTooLongError,
)
from ribolex.lm.windows import Window
from ribolex.server.engine import budget
from ribolex.server.engine.front import Answer, Engine, Order
from ribolex.server.engine.plan import Lane
from ribolex.server.engine.queue import Limits

POISON, DEADLY = "N", "W"


class Death(BaseException):
    """What no `except Exception` sees."""


@dataclass
class FakeModel:
    """Gives lengths; knows what it was asked to compute."""

    seconds: float = 0.0
    max_tokens: int = 10**9
    error: type[BaseException] = RuntimeError
    open: threading.Event = field(default_factory=threading.Event)
    batches: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open.set()

    def lay_out(self, windows: Sequence[Any]) -> list[int]:
        return [sum(len(piece.tokens) for piece in windows)]

    def compute(self, n_tokens: int, texts: list[str]) -> None:
        self.batches.append(texts)
        assert self.open.wait(timeout=20)
        time.sleep(self.seconds)
        if n_tokens > self.max_tokens:
            raise self.error
        if any(POISON in text for text in texts):
            raise ValueError("poison")
        if any(DEADLY in text for text in texts):
            raise Death


@dataclass
class FakeTask:
    """Becomes the length of its sequence."""

    text: str
    key: Hashable = "length"
    n_nucleotides: int = 0

    @property
    def identity(self) -> Hashable:
        return self.key, self.text

    def begin(self, lm: Any) -> "FakeTask":
        return FakeTask(self.text)

    def run(self, lm: Any, laid: Sequence[Any], tasks: Sequence["FakeTask"]) -> Any:
        lm.compute(sum(laid), [task.text for task in tasks])
        return [None] * len(tasks)

    def take(self, window: Window, part: None) -> None:
        self.n_nucleotides += window.kept_stop - window.kept_start

    def finish(self) -> int:
        return self.n_nucleotides


@asynccontextmanager
async def running(
    model: FakeModel,
    *,
    max_tokens: int = 10_000,
    batch_tokens: int = 100,
    max_requests: int = 50,
    max_nucleotides: int = 50,
) -> AsyncIterator[Engine]:
    limits = Limits(max_tokens, max_requests, batch_tokens)
    engine = Engine(model, limits, max_nucleotides=max_nucleotides)  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        model.open.set()
        await engine.close()


def order(*sequences: str, **options: Any) -> Order[int]:
    return Order(sequences, FakeTask, **options)


def start(
    engine: Engine, *sequences: str, **options: Any
) -> "asyncio.Task[Answer[int]]":
    return asyncio.create_task(engine.compute(order(*sequences, **options)))


@pytest.fixture
def shut() -> Iterator[FakeModel]:
    """Gives a model that computes nothing until it is opened."""
    model = FakeModel()
    model.open.clear()
    yield model
    model.open.set()


async def until_busy(model: FakeModel) -> None:
    """Returns once the model is at its first batch, and the next has been prepared."""
    for _ in range(2000):
        if model.batches:
            return await asyncio.sleep(0.05)
        await asyncio.sleep(0.001)
    raise TimeoutError


def assert_empty(engine: Engine) -> None:
    queue = engine.queue
    assert set(queue.n_tokens.values()) == {0}
    assert set(queue.n_requests.values()) == {0}
    assert not queue._flights
    assert not any(queue._lines)


async def test_outcomes_come_in_order_across_batches() -> None:
    lengths = [40, 3, 17, 30, 3, 44, 1]
    async with running(FakeModel(seconds=0.002)) as engine:
        answer = await engine.compute(order(*("A" * n for n in lengths)))
    assert answer.outcomes == lengths
    assert len(answer.batches) > 1


async def test_the_time_of_an_answer_is_told() -> None:
    async with running(FakeModel(seconds=0.02), batch_tokens=42) as engine:
        begun_s = time.monotonic()
        first, second = await asyncio.gather(
            engine.compute(order("A" * 40)), engine.compute(order("A" * 39))
        )
        total_s = time.monotonic() - begun_s
    for answer in (first, second):
        (spent,) = answer.batches.values()
        assert spent.compute_s >= 0.02
        assert spent.prepare_s > 0
        assert answer.queue_s + sum(spent) < total_s
    assert second.queue_s > first.queue_s


async def test_a_faulty_sequence_fails_alone() -> None:
    async with running(FakeModel()) as engine:
        answer = await engine.compute(order("acgt", "", "AC GU", "A" * 51))
    good, empty, bad, long = answer.outcomes
    assert good == 4
    assert answer.sequences == ["ACGU", "", "AC GU", "A" * 51]
    assert isinstance(empty, InvalidSequenceError)
    assert isinstance(bad, InvalidSequenceError)
    assert bad.field == "sequences[2]"
    assert isinstance(long, SequenceTooLongError)


async def test_nothing_sound_is_answered_at_once() -> None:
    async with running(FakeModel()) as engine:
        answer = await engine.compute(order("", "?"))
    assert (answer.batches, answer.queue_s) == ({}, 0.0)


async def test_what_can_never_fit_is_refused_at_once(shut: FakeModel) -> None:
    async with running(shut, max_tokens=60, max_nucleotides=1000) as engine:
        answer = await engine.compute(order("A" * 59))
        (error,) = answer.outcomes
        assert isinstance(error, SequenceTooLongError)
        assert (error.limit, error.got) == (58, 59)
        with pytest.raises(InvalidRequestError, match="expected at most 60"):
            await engine.compute(order("A" * 30, "C" * 30, is_patient=True))


@pytest.mark.parametrize("place", [0, 1, 4, 8])
async def test_a_poisonous_sequence_fails_its_own_callers_only(
    place: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With at most 2 log2(n) forwards more, for the 9 of a batch 8."""
    model = FakeModel()
    sequences = ["A" * (n + 1) for n in range(9)]
    sequences[place] = POISON
    model.open.clear()
    async with running(model, batch_tokens=1000) as engine:
        blocker = start(engine, "GGG")
        await until_busy(model)
        calls = [start(engine, sequence) for sequence in sequences]
        twin = start(engine, POISON)
        await asyncio.sleep(0.02)
        model.open.set()
        done = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(ValueError, match="poison"):
            await twin
        await blocker
        assert_empty(engine)
    assert isinstance(done[place], ValueError)
    others = [each for i, each in enumerate(done) if i != place]
    assert all(isinstance(each, Answer) for each in others)
    forwards = [batch for batch in model.batches if batch != ["GGG"]]
    firsts = [batch for batch in forwards if len(batch) == 9] or forwards[:1]
    assert len(forwards) <= len(firsts) + 8
    assert "windows failed" in caplog.text


async def test_when_everything_fails_it_is_not_tried_for_ever() -> None:
    model = FakeModel(max_tokens=0)
    async with running(model, batch_tokens=1000) as engine:
        answers = engine.compute(order(*("A" * (n + 1) for n in range(32))))
        with pytest.raises(RuntimeError):
            await answers
        assert_empty(engine)
    assert len(model.batches) <= 1 + 2 * 5


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
async def test_a_batch_beyond_memory_is_halved_and_batches_stay_small_for_a_while(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_WHILE_S", 1000.0)
    model = FakeModel(max_tokens=30, error=error)
    lengths = list(range(1, 9))
    async with running(model, batch_tokens=60) as engine:
        answer = await engine.compute(order(*("A" * n for n in lengths)))
        assert answer.outcomes == lengths
        model.batches.clear()
        again = await engine.compute(order(*("C" * n for n in lengths)))
        assert again.outcomes == lengths
        assert_empty(engine)
        assert engine.queue.budget.now() <= 30
    n_tokens = [sum(len(text) + 2 for text in batch) for batch in model.batches]
    assert max(n_tokens) <= 30


def test_a_lowered_budget_comes_back_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "_WHILE_S", 0.0)
    tokens = budget.Budget(100)
    tokens.lower(30)
    tokens.lower(0)
    assert [tokens.now() for _ in range(9)] == [2, 4, 8, 16, 32, 64, 100, 100, 100]


async def test_one_window_beyond_memory_is_told_to_come_back() -> None:
    async with running(FakeModel(max_tokens=10, error=MemoryError)) as engine:
        with pytest.raises(NotReadyError, match="out of memory"):
            await engine.compute(order("A" * 40))
        assert (await engine.compute(order("ACGU"))).outcomes == [4]


async def test_equal_sequences_in_flight_are_computed_once(shut: FakeModel) -> None:
    async with running(shut) as engine:
        calls = [start(engine, "ACGU") for _ in range(5)]
        await until_busy(shut)
        calls.append(start(engine, "ACGU", lane=Lane.BULK))
        calls[0].cancel()
        await asyncio.sleep(0.01)
        shut.open.set()
        done = await asyncio.gather(*calls[1:])
        assert_empty(engine)
    assert [answer.outcomes for answer in done] == [[4]] * 5
    assert shut.batches == [["ACGU"]]


async def test_a_full_queue_refuses_the_impatient_and_says_when_to_come_back(
    shut: FakeModel,
) -> None:
    async with running(shut, max_tokens=100) as engine:
        calls = [start(engine, base * 40) for base in "ACGU"]
        await until_busy(shut)
        shut.open.set()
        done = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in done if isinstance(each, OverloadedError)]
    assert [type(each) for each in done].count(Answer) == 2
    assert len(refused) == 2
    assert all(each.retry_s for each in refused)


async def test_the_patient_are_served_in_turn_and_nobody_passes_them() -> None:
    model = FakeModel(seconds=0.005)
    patient = {"lane": Lane.BULK, "is_patient": True}
    async with running(model, max_tokens=100, batch_tokens=60) as engine:
        calls = [start(engine, "A" * (n + 30), **patient) for n in range(8)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await engine.compute(order("C", lane=Lane.BULK))
        await engine.compute(order("G"))  # the other lane has room of its own
        done = await asyncio.gather(*calls)
    assert [answer.outcomes for answer in done] == [[n + 30] for n in range(8)]
    served = [text for batch in model.batches for text in batch if "A" in text]
    assert served == ["A" * (n + 30) for n in range(8)]


async def test_a_lookup_waits_for_two_batches_of_a_bulk_flood_at_most() -> None:
    """The one that is computed, and one that may have been prepared."""
    model = FakeModel(seconds=0.005)
    async with running(model, batch_tokens=42) as engine:
        flood = [
            start(engine, *(letter + "A" * n for n in range(20, 40)), lane=Lane.BULK)
            for letter in "ACGU"
        ]
        await until_busy(model)
        for base in "CGU":
            before = len(model.batches)
            await engine.compute(order(base * 10))
            (at,) = [i for i, batch in enumerate(model.batches) if base * 10 in batch]
            assert at - before <= 2
        assert not all(call.done() for call in flood)
        await asyncio.gather(*flood)


async def test_interactive_floods_do_not_starve_bulk() -> None:
    model = FakeModel(seconds=0.001)
    stop = asyncio.Event()

    async def flood(name: int) -> None:
        i = 0
        while not stop.is_set():
            i += 1
            code = f"{name * 10_000 + i:b}".replace("0", "C").replace("1", "G")
            await engine.compute(order(code.rjust(40, "A")))

    async with running(model, batch_tokens=42) as engine:
        floods = [asyncio.create_task(flood(name)) for name in range(20)]
        await until_busy(model)
        before = len(model.batches)
        await engine.compute(order("U" * 40, lane=Lane.BULK))
        (at,) = [i for i, batch in enumerate(model.batches) if "U" * 40 in batch]
        stop.set()
        await asyncio.gather(*floods)
    assert at - before <= 19 + 2


async def test_a_long_rna_lets_others_pass() -> None:
    model = FakeModel(seconds=0.005)
    big = {"max_tokens": 300_000, "batch_tokens": 2048, "max_nucleotides": 100_000}
    async with running(model, **big) as engine:
        long = start(engine, "A" * 100_000)
        await until_busy(model)
        for n in range(1, 6):
            assert (await engine.compute(order("C" * n))).outcomes == [n]
        assert not long.done()
        answer = await long
        assert answer.outcomes == [100_000]
        assert len(answer.batches) > 50
        assert_empty(engine)


async def test_the_loop_stays_free_while_the_model_works() -> None:
    async with running(FakeModel(seconds=0.05)) as engine:
        call = start(engine, "ACGU")
        turns = 0
        while not call.done():
            await asyncio.sleep(0.001)
            turns += 1
    assert turns > 5


async def test_who_leaves_or_is_late_costs_no_compute(shut: FakeModel) -> None:
    """Even if the batch with it has been prepared."""
    async with running(shut) as engine:
        first = start(engine, "A" * 10)
        await until_busy(shut)
        gone = start(engine, "A" * 7)
        late = start(engine, "A" * 8, deadline_s=time.monotonic() + 0.01)
        kept = start(engine, "A" * 9)
        await asyncio.sleep(0.05)
        gone.cancel()
        with pytest.raises(TimeoutError, match="deadline"):
            await late
        await asyncio.sleep(0)
        shut.open.set()
        await asyncio.gather(first, kept)
        assert_empty(engine)
    assert shut.batches == [["A" * 10], ["A" * 9]]


async def test_a_deadline_ends_the_wait_for_room(shut: FakeModel) -> None:
    async with running(shut, max_tokens=50) as engine:
        first = start(engine, "A" * 40, is_patient=True)
        calls = [
            start(engine, "C" * 40, is_patient=True, deadline_s=time.monotonic() + 0.02)
            for _ in range(3)
        ]
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in done] == [TimeoutError] * 3
        shut.open.set()
        await first
        assert_empty(engine)


async def test_closing_answers_who_waits_and_who_waits_for_room(
    shut: FakeModel,
) -> None:
    async with running(shut, max_tokens=50, batch_tokens=42) as engine:
        calls = [start(engine, "A" * n, is_patient=True) for n in (40, 41, 42, 43)]
        await until_busy(shut)
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        shut.open.set()
        await closing
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in done].count(Answer) == 1
    assert [type(each) for each in done].count(NotReadyError) == 3


async def test_a_dying_worker_leaves_nobody_waiting_and_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    model = FakeModel(seconds=0.01)
    async with running(model, batch_tokens=12) as engine:
        calls = [start(engine, letter * 10) for letter in (DEADLY, "A", "C", "G")]
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(each) for each in done} <= {Answer, NotReadyError}
        assert isinstance(done[0], NotReadyError)
        await asyncio.wait_for(engine.died.wait(), 5)
        with pytest.raises(NotReadyError):
            await engine.compute(order("ACGU"))
        assert_empty(engine)


async def test_a_dying_preparer_leaves_nobody_waiting_and_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: object) -> None:
        raise Death

    monkeypatch.setattr("threading.excepthook", lambda _: None)
    monkeypatch.setattr(FakeModel, "lay_out", die)
    async with running(FakeModel()) as engine:
        with pytest.raises(NotReadyError):
            await engine.compute(order("ACGU"))
        await asyncio.wait_for(engine.died.wait(), 5)
        assert_empty(engine)


async def test_a_batch_that_cannot_be_prepared_fails_its_culprit_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lay_out(_: FakeModel, windows: Sequence[Any]) -> list[int]:
        if any(len(piece.tokens) == 9 for piece in windows):
            raise ValueError("no")
        return [0]

    monkeypatch.setattr(FakeModel, "lay_out", lay_out)
    async with running(FakeModel(seconds=0.005)) as engine:
        calls = [start(engine, "A" * n) for n in range(1, 12)]
        done = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in done].count(Answer) == 10
    assert isinstance(done[6], ValueError)


async def test_a_healthy_engine_closes_without_having_died() -> None:
    async with running(FakeModel()) as engine:
        await engine.compute(order("ACGU"))
    await asyncio.sleep(0)
    assert not engine.died.is_set()


async def test_two_thousand_calls_get_one_answer_each() -> None:
    """With duplicates, poison, deadlines, callers who leave, and too little memory."""
    dice = random.Random(5)
    model = FakeModel(max_tokens=150, error=MemoryError)
    seen: dict[str, int] = {}

    async def call(i: int) -> None:
        await asyncio.sleep(dice.random() * 1.5)
        sequences = ["ACGU"[dice.randrange(4)] * dice.randint(1, 60)]
        sequences += ["".join(dice.choices("ACGU", k=dice.randint(1, 90)))]
        sequences *= dice.randint(1, 2)
        if dice.random() < 0.02:
            sequences.append(POISON * dice.randint(1, 9))
        options: dict[str, Any] = {"lane": dice.choice(list(Lane))}
        if dice.random() < 0.2:
            options["deadline_s"] = time.monotonic() + dice.random() * 0.1
        options["is_patient"] = dice.random() < 0.5
        task = start(engine, *sequences, **options)
        if dice.random() < 0.2:
            asyncio.get_running_loop().call_later(dice.random() * 0.05, task.cancel)
        try:
            answer = await asyncio.wait_for(asyncio.shield(task), 30)
            assert answer.outcomes == [len(one) for one in sequences]
            kind = "answer"
        except asyncio.CancelledError:
            kind = "cancelled"
        except (TimeoutError, OverloadedError, ValueError) as error:
            assert task.done()
            kind = type(error).__name__
        seen[kind] = seen.get(kind, 0) + 1

    async with running(
        model, max_tokens=2000, batch_tokens=200, max_nucleotides=90
    ) as engine:
        await asyncio.gather(*map(call, range(2000)))
        assert_empty(engine)
        assert not engine.died.is_set()
    assert sum(seen.values()) == 2000
    assert {"answer", "cancelled", "ValueError"} <= set(seen)
