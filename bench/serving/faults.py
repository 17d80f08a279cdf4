"""What is not to lose a call: too many of them, an end, a cache that dies, a swap.

Each gives counts, and what was wrong in words; an empty list is what is hoped for.
Knows what a server promises; nothing of how fast it is.
"""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import grpc

from serving.caller import Caller, Load, Outcome, connected
from serving.processes import Server
from serving.speed import endless

_OPEN = ("ribolex_queue_tokens", "ribolex_queue_requests", "ribolex_open_requests")
_GROWTH_MIB = 256
"""What overload may add to a server's memory: a queue's worth of messages and tensors
is a tenth of it, and the allocator's slack the rest."""
OK = grpc.StatusCode.OK
REFUSED = grpc.StatusCode.RESOURCE_EXHAUSTED
AWAY = grpc.StatusCode.UNAVAILABLE
CANCELLED = grpc.StatusCode.CANCELLED


class Result(NamedTuple):
    """What one trial gave."""

    figures: Mapping[str, float]
    wrongs: list[str]


async def overload(
    server: Server, loads: list[Load], calls_per_s: float, seconds: float
) -> Result:
    """Sends many times more calls than can be answered, whatever becomes of them."""
    before_mib, peaks = server.rss_mib(), [0.0]
    begun_s = time.perf_counter()
    async with connected(server.address) as caller:
        watch = asyncio.create_task(_watch_memory(server, peaks))
        tasks, source = list[asyncio.Task[Outcome]](), endless(loads)
        while (passed_s := time.perf_counter() - begun_s) < seconds:
            while len(tasks) < passed_s * calls_per_s:
                tasks.append(asyncio.create_task(caller.encode(next(source))))
            await asyncio.sleep(0.005)
        outcomes = await asyncio.gather(*tasks)
        watch.cancel()
        open_left = await _settled(server)
    after_mib = server.rss_mib()
    codes = Counter(each.code for each in outcomes)
    no_retry = sum(each.code is REFUSED and not each.retry_s for each in outcomes)
    wrongs = [
        f"{n} calls ended with {code.name}"
        for code, n in codes.items()
        if code not in (OK, REFUSED)
    ]
    if no_retry:
        wrongs.append(f"{no_retry} refusals without RetryInfo")
    if open_left:
        wrongs.append(f"not back to 0: {open_left}")
    if max(peaks) > before_mib + _GROWTH_MIB:
        wrongs.append(f"memory from {before_mib:.0f} to {max(peaks):.0f} MiB")
    figures = {
        "overload_seconds": seconds,
        "overload_calls": len(outcomes),
        "overload_answered": codes[OK],
        "overload_refused": codes[REFUSED],
        "overload_rss_before_mib": before_mib,
        "overload_rss_peak_mib": max(peaks),
        "overload_rss_after_mib": after_mib,
    }
    return Result(figures, wrongs)


async def _watch_memory(server: Server, peaks: list[float]) -> None:
    while True:
        peaks.append(server.rss_mib())
        await asyncio.sleep(0.1)


async def _settled(server: Server) -> dict[str, float]:
    """Gives the counters of open work that are not 0, once they had time to be."""
    left: dict[str, float] = {}
    for _ in range(50):
        left = {
            f"{name}{{{labels}}}": number
            for (name, labels), number in server.metrics().items()
            if name in _OPEN and number
        }
        if not left:
            break
        await asyncio.sleep(0.1)
    return left


async def terminate(server: Server, loads: list[Load], callers: int) -> Result:
    """Sends SIGTERM while calls and a stream are at work; nothing accepted is lost.

    Accepted is what the server's log tells of: a call that it read and that got no
    answer was dropped, and so was a request of the stream. Calls that reach gRPC while
    it shuts down, and no handler, get CANCELLED (grpc/grpc#41785).
    """
    source, outcomes, streamed = endless(loads), list[Outcome](), list[bytes]()
    all_at_work = asyncio.Event()
    async with connected(server.address) as caller, connected(server.address) as other:

        async def call(number: int) -> None:
            for turn in range(1_000_000):
                outcome = await caller.encode(next(source), f"end-{number}-{turn}")
                outcomes.append(outcome)
                if len(outcomes) >= 2 * callers:
                    all_at_work.set()
                if outcome.code is not OK:
                    return

        calls = asyncio.gather(*map(call, range(callers)))
        end = asyncio.create_task(_stream_to_end(other, source, streamed))
        await all_at_work.wait()
        n_before = len(outcomes)
        server.popen.send_signal(signal.SIGTERM)
        code = await end
        await calls
        exit_code = await asyncio.to_thread(server.popen.wait, 60)
    told = dict(_told(server))
    wrongs = [] if exit_code == 0 else [f"the server's exit code is {exit_code}"]
    for outcome in outcomes:
        name, n_read = told.get(outcome.call_id, ("", 0))
        refused = outcome.code in (AWAY, CANCELLED) and not n_read
        if not refused and outcome.code.name != name:
            wrongs.append(f"{outcome.call_id}: {outcome.code.name}, log {name}")
    n_read = told["end-stream"][1] if "end-stream" in told else -1
    if n_read != len(streamed) or code is not AWAY:
        wrongs.append(
            f"stream: {n_read} read, {len(streamed)} answered, {code and code.name}"
        )
    figures = {
        "sigterm_calls_at_work": callers,
        "sigterm_answered_before": n_before,
        "sigterm_answered_after": sum(each.code is OK for each in outcomes) - n_before,
        "sigterm_cancelled_unread": sum(e.code is CANCELLED for e in outcomes),
        "sigterm_stream_answered": len(streamed),
    }
    return Result(figures, wrongs)


async def _stream_to_end(
    caller: Caller, source: Iterator[Load], answers: list[bytes]
) -> grpc.StatusCode | None:
    """Collects a stream's answers until it fails; gives how."""
    try:
        async for answer in caller.stream(source, "end-stream"):
            answers.append(answer)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


def _told(server: Server) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yields, for each call in the log, its id, its code, and the messages read."""
    for line in server.log.read_text().splitlines():
        event = json.loads(line)
        if event.get("event") == "call" or event.get("message") == "call":
            yield event["request_id"], (event["code"], event["n_messages"])
