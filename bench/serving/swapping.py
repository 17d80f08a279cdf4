"""Swaps of the dictionary under load, and the end of the Redis that says them.

Knows versions and callers; nothing of speed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

import grpc
import numpy as np

from serving.caller import Caller, Load, SequenceCode, connected, read, read_streamed
from serving.faults import OK, Result
from serving.processes import Server
from serving.versions import N_VERSIONS, Valkey, shift_of

_CALLERS = 4


@dataclass(slots=True)
class Traffic:
    """Callers and a stream that go on until they are told to end."""

    loads: Sequence[Load]
    """Each one's sequences have codes that are known."""
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[tuple[Load, str, list[SequenceCode]]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    async def run(self, address: str) -> None:
        """Calls until it is over."""
        async with connected(address) as calling, connected(address) as streaming:
            callers = (self._call(calling, n) for n in range(_CALLERS))
            await asyncio.gather(self._stream(streaming), *callers)

    async def _call(self, caller: Caller, number: int) -> None:
        for load in cycle(self.loads[number::_CALLERS]):
            if self.is_over.is_set():
                return
            outcome = await caller.encode(load)
            if outcome.code is OK:
                self.answers.append((load, *read(outcome.answer)))
            else:
                self.failures[outcome.code.name] += 1

    async def _stream(self, caller: Caller) -> None:
        """Streams all of the requests, again and again."""
        while not self.is_over.is_set():
            sent = iter(self.loads)
            try:
                async for answer in caller.stream(self.loads):
                    self.answers.append((next(sent), *read_streamed(answer)))
            except grpc.aio.AioRpcError as error:
                self.failures[error.code().name] += 1
                await asyncio.sleep(0.1)


class Oracle:
    """What each version must answer."""

    def __init__(self, codes: dict[str, SequenceCode], n_features: int) -> None:
        self._codes = codes
        self._n_features = n_features

    def is_right(self, sequence: str, dictionary: str, got: SequenceCode) -> bool:
        """Tells whether a code is that of the version that the answer names."""
        base = self._codes[sequence]
        shift = shift_of(int(dictionary.rpartition("@")[2]))
        features = (base.features + shift) % self._n_features
        order = np.argsort(features)
        wanted = SequenceCode(features[order], base.values[order])
        return got.is_like(wanted)

    def count_wrong(self, traffic: Traffic) -> int:
        """Gives the number of answered sequences with another version's codes."""
        return sum(
            not self.is_right(sequence, dictionary, code)
            for load, dictionary, codes in traffic.answers
            for sequence, code in zip(load.sequences, codes, strict=True)
        )


async def swap(
    server: Server, name: str, traffic: Traffic, oracle: Oracle, n_swaps: int
) -> Result:
    """Activates one version after the other while callers go on."""
    seconds: list[float] = []
    wrongs: list[str] = []
    running = asyncio.create_task(traffic.run(server.address))
    async with connected(server.address) as caller:
        for number in range(1, n_swaps + 1):
            begun_s = time.perf_counter()
            version = number % N_VERSIONS + 1
            code = await caller.activate(name, version)
            seconds.append(time.perf_counter() - begun_s)
            if code is not OK:
                wrongs.append(f"swap {number} ended with {code.name}")
    traffic.is_over.set()
    await running
    n_wrong = oracle.count_wrong(traffic)
    wrongs += [f"{n} calls: {code}" for code, n in traffic.failures.items()]
    if n_wrong:
        wrongs.append(f"{n_wrong} codes are not of the version that is named")
    seen = Counter(dictionary for _, dictionary, _ in traffic.answers)
    if len(seen) < N_VERSIONS:
        wrongs.append(f"answers are of {sorted(seen)} only")
    figures = {
        "swaps": n_swaps - sum("swap" in one for one in wrongs),
        "swap_p50_s": float(np.median(seconds)),
        "swap_answers": len(traffic.answers),
        "swap_answers_failed": traffic.failures.total(),
        "swap_codes_wrong": n_wrong,
    }
    return Result(figures, wrongs)


async def lose_redis(
    server: Server,
    name: str,
    redis: Valkey,
    traffic: Traffic,
    oracle: Oracle,
    seconds: float,
) -> Result:
    """Kills Redis under load, starts it again later, and swaps once more."""
    running = asyncio.create_task(traffic.run(server.address))
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.kill)
    n_before = len(traffic.answers)
    await asyncio.sleep(seconds)
    n_without = len(traffic.answers) - n_before
    await asyncio.to_thread(redis.start)
    wrongs: list[str] = []
    async with connected(server.address) as caller:
        for _ in range(30):
            code = await caller.activate(name, 1)
            if code is OK:
                break
            await asyncio.sleep(1)
        else:
            wrongs.append(f"no swap once Redis is back: {code.name}")
    traffic.is_over.set()
    await running
    n_wrong = oracle.count_wrong(traffic)
    wrongs += [f"{n} calls without Redis: {c}" for c, n in traffic.failures.items()]
    if n_wrong or not n_without:
        wrongs.append(f"without Redis {n_without} answers, {n_wrong} codes wrong")
    figures = {
        "redis_killed_answers_without": n_without,
        "redis_killed_answers_failed": traffic.failures.total(),
        "redis_killed_codes_wrong": n_wrong,
    }
    return Result(figures, wrongs)
