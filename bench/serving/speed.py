"""How fast: the engine, the same through gRPC, the padded server; and how soon.

Knows who is measured and how; nothing of faults.
"""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator
from itertools import cycle
from statistics import median
from typing import NamedTuple

import grpc
import numpy as np

from serving.caller import Caller, Load, SequenceCode, connected, read, read_streamed
from serving.processes import RawEngine, Server

IN_FLIGHT = 8
"""Requests at work at a time, in calls as in a stream."""
_CALLERS = 3
"""Who make interactive calls at the same time, each one after the other."""


class Pass(NamedTuple):
    """One pass over some requests."""

    n_nucleotides: int
    wall_s: float
    cpu_s: float
    """Of who computes."""
    caller_cpu_s: float = 0.0

    @property
    def per_cpu_s(self) -> float:
        """Gives nucleotides in a second of processor time."""
        return self.n_nucleotides / self.cpu_s

    @property
    def per_s(self) -> float:
        """Gives nucleotides a second."""
        return self.n_nucleotides / self.wall_s


def engine_pass(engine: RawEngine, loads: list[Load]) -> Pass:
    """Measures the engine alone."""
    run = [load.sequences for load in loads]
    found = engine.ask(run=run, in_flight=IN_FLIGHT)
    return Pass(_size(loads), found["wall_s"], found["cpu_s"])


async def stream_pass(server: Server, loads: list[Load]) -> Pass:
    """Measures one stream."""
    async with connected(server.address) as caller:

        async def work() -> int:
            return len([answer async for answer in caller.stream(loads)])

        return await _timed(server, loads, work())


async def calls_pass(server: Server, loads: list[Load]) -> Pass:
    """Measures calls, several at a time."""
    async with connected(server.address) as caller:

        async def work() -> int:
            outcomes = await caller.calls(loads, IN_FLIGHT)
            return sum(each.code is grpc.StatusCode.OK for each in outcomes)

        return await _timed(server, loads, work())


async def _timed(server: Server, loads: list[Load], work: object) -> Pass:
    begun = time.perf_counter(), server.cpu_s(), time.process_time()
    n_answers = await work  # type: ignore[misc]
    ended = time.perf_counter(), server.cpu_s(), time.process_time()
    if n_answers != len(loads):
        raise SystemExit(f"{len(loads)} requests, {n_answers} answers")
    return Pass(_size(loads), *(b - a for a, b in zip(begun, ended, strict=True)))


def best_ratio(numbers: list[Pass], bases: list[Pass]) -> float:
    """Gives the median over rounds of how many times faster, by processor time."""
    pairs = zip(numbers, bases, strict=True)
    return median(one.per_cpu_s / base.per_cpu_s for one, base in pairs)


async def check_answers(
    server: Server, loads: list[Load], engine: RawEngine
) -> tuple[int, int]:
    """Compares a server's answers, streamed and not, with the simple twin's.

    Returns:
        Sequences compared, and how many of them have other codes.
    """
    texts = [text for load in loads for text in load.sequences]
    expected = as_codes(engine.ask(codes=texts)["codes"])
    async with connected(server.address) as caller:
        streamed = [read_streamed(one) async for one in caller.stream(loads)]
        called = [read(one.answer) for one in await caller.calls(loads, IN_FLIGHT)]
    wrong = 0
    for answers in (streamed, called):
        codes = [code for answer in answers for code in answer.codes]
        pairs = zip(codes, expected, strict=True)
        wrong += sum(not got.is_like(wanted) for got, wanted in pairs)
    return 2 * len(texts), wrong


def as_codes(rows: Iterable[tuple[list[int], list[float]]]) -> list[SequenceCode]:
    """Gives codes as raw_engine.py tells them."""
    return [SequenceCode(np.array(i), np.array(v, np.float32)) for i, v in rows]


class Interactive(NamedTuple):
    """What interactive callers saw while a stream kept the server busy."""

    waits_s: list[float]
    batch_s: float
    """Mean time of one batch in the meantime; nan if the server does not tell."""
    bulk_per_s: float
    """Nucleotides a second of the stream."""
    n_failed: int

    def wait_s(self, share: float) -> float:
        """Gives a quantile of the waits."""
        return float(np.quantile(self.waits_s, share))


async def interactive(
    server: Server, bulk: list[Load], lookups: list[Load], seconds: float
) -> Interactive:
    """Makes single calls beside a stream that never ends."""
    async with connected(server.address) as streaming, connected(server.address) as own:
        done: list[float] = []
        is_busy = asyncio.Event()

        async def keep_busy() -> None:
            sizes = cycle(bulk)
            async for _ in streaming.stream(endless(bulk)):
                done.append(next(sizes).n_nucleotides)
                is_busy.set()

        busy = asyncio.create_task(keep_busy())
        await is_busy.wait()
        n_before, before = len(done), _batches(server)
        begun_s = time.perf_counter()
        failed, waits = await _look_up(own, endless(lookups), begun_s + seconds)
        passed_s = time.perf_counter() - begun_s
        after = _batches(server)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
    n_batches = after[0] - before[0]
    batch_s = (after[1] - before[1]) / n_batches if n_batches else float("nan")
    return Interactive(waits, batch_s, sum(done[n_before:]) / passed_s, failed)


async def _look_up(
    caller: Caller, lookups: Iterator[Load], end_s: float
) -> tuple[int, list[float]]:
    """Calls until some time; gives how many failed, and how long the others took."""
    waits: list[float] = []
    n_failed = 0

    async def one_after_the_other(seed: int) -> None:
        nonlocal n_failed
        pauses = random.Random(seed)
        while time.perf_counter() < end_s:
            outcome = await caller.encode(next(lookups))
            if outcome.code is grpc.StatusCode.OK:
                waits.append(outcome.wait_s)
            else:
                n_failed += 1
            # At any time within a batch, not just after one.
            await asyncio.sleep(pauses.uniform(0, 0.3))

    await asyncio.gather(*map(one_after_the_other, range(_CALLERS)))
    return n_failed, waits


def endless(loads: list[Load]) -> Iterator[Load]:
    """Yields requests for ever, no two with the same sequences soon."""
    for turn in range(1_000_000):
        for load in loads:
            yield rotated(load, turn)


def rotated(load: Load, turn: int) -> Load:
    """Gives a request of the same size for other sequences: no cache helps."""
    if not turn:
        return load
    return Load.of([s[turn % len(s) :] + s[: turn % len(s)] for s in load.sequences])


def _batches(server: Server) -> tuple[float, float]:
    """Gives how many batches there were, and their seconds; zeros if it tells not."""
    if "metrics and probes" not in server.log.read_text():
        return 0.0, 0.0
    samples, labels = server.metrics(), 'stage="compute"'
    name = "ribolex_stage_seconds"
    return (
        samples.get((f"{name}_count", labels), 0.0),
        samples.get((f"{name}_sum", labels), 0.0),
    )


def _size(loads: Iterable[Load]) -> int:
    return sum(load.n_nucleotides for load in loads)
