"""What the engine tells of its work, to whoever wants to count it.

Knows nothing of who that is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from ribolex.server.engine.stages import Stage

Reason = Literal["cancelled", "expired"]


class BatchDone(NamedTuple):
    """A batch that was computed, at least in part."""

    n_windows: int
    n_tokens: int
    prepare_s: float
    """In the other thread, while the batch before was computed."""
    compute_s: float


class Waiter(NamedTuple):
    """Who waited for a batch, and since when."""

    trace: Any
    """As `Tracer.here` gave it."""
    arrived_s: float


class TracedBatch(NamedTuple):
    """A batch that was worked on for somebody who is traced.

    Times are on `time.monotonic`'s clock.
    """

    begun: list[Waiter]
    """Those whose first batch it is."""
    traces: list[Any]
    """Of all whom it is for, at least one; a stream may be there many times."""
    stages: list[Stage]
    n_windows: int
    n_tokens: int
    prepare_s: float
    begun_s: float
    end_s: float


class Tracer(Protocol):
    """What is told of batches for those who are traced. Thread-safe."""

    def here(self) -> Any | None:
        """Returns what the caller in this task is known by; None if not traced."""

    def tell(self, batch: TracedBatch) -> None:
        """Takes note of a batch; must neither block nor raise."""


def _ignore(*_: object) -> None:
    """Does nothing with what it is told."""


@dataclass(frozen=True, slots=True)
class Observer:
    """Called from any thread of the engine's; must neither block nor raise."""

    on_batch: Callable[[BatchDone], None] = _ignore
    on_drop: Callable[[Reason], None] = _ignore
    """A caller left, or was late, before the answer; what nobody waits for any more
    is not computed."""
    on_failure: Callable[[], None] = _ignore
    """Windows failed by a fault of ours, or of the device."""
    tracer: Tracer | None = None
    """None: nobody is traced."""
