"""Calls without a pause while versions change: what failed, and what was wrong.

Used by tests and by benchmarks. Knows nothing of how a version is made current.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import grpc

from ribolex.v1 import encoder_pb2
from ribolex.v1.encoder_pb2_grpc import EncoderServiceStub

IsRight = Callable[[int, str, encoder_pb2.EncodedSequence], bool]
"""Whether an answer is that of a version to a sequence."""


@dataclass
class Swapped:
    """What callers saw."""

    n_calls: int = 0
    n_swaps: int = 0
    failed: list[str] = field(default_factory=list)
    """How calls failed."""
    n_wrong: int = 0
    """Sequences whose codes are not those of the version that the answer names."""
    versions: list[int] = field(default_factory=list)
    """As answers name them, in the order in which they came, each once in a row."""
    slowest_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def swap_under_load(
    channel: grpc.Channel,
    batches: Sequence[Sequence[str]],
    is_right: IsRight,
    swaps: Iterable[Callable[[], object]],
    *,
    n_callers: int = 4,
    pause_s: float = 0.0,
) -> Swapped:
    """Makes one swap after the other while callers encode without a pause.

    Args:
        channel: to the server; it serves one dictionary by default.
        batches: what callers ask for, in turn.
        is_right: called for every sequence of every answer.
        swaps: each makes another version current, and returns when it is in use.
        n_callers: threads that call.
        pause_s: between two swaps.
    """
    stub, found, done = EncoderServiceStub(channel), Swapped(), threading.Event()

    def keep_calling(first: int) -> None:
        place = first
        while not done.is_set():
            batch = batches[place % len(batches)]
            place += 1
            begun_s = time.monotonic()
            try:
                request = encoder_pb2.EncodeRequest(sequences=batch)
                answer = stub.Encode(request, timeout=60)
            except grpc.RpcError as error:
                with found.lock:
                    found.failed.append(str(error))
                continue
            took_s = time.monotonic() - begun_s
            version = answer.dictionary.version
            n_wrong = sum(
                not is_right(version, sequence, result.encoded)
                for sequence, result in zip(batch, answer.results, strict=True)
            )
            with found.lock:
                found.n_calls += 1
                found.n_wrong += n_wrong
                found.slowest_s = max(found.slowest_s, took_s)
                if found.versions[-1:] != [version]:
                    found.versions.append(version)

    callers = [
        threading.Thread(target=keep_calling, args=(n,)) for n in range(n_callers)
    ]
    for caller in callers:
        caller.start()
    try:
        for swap in swaps:
            swap()
            found.n_swaps += 1
            time.sleep(pause_s)
    finally:
        done.set()
        for caller in callers:
            caller.join()
    return found
