"""What the engine tells of its work, to whoever wants to count it.

Knows nothing of who that is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

Reason = Literal["cancelled", "expired"]


class BatchDone(NamedTuple):
    """A batch that was computed, at least in part."""

    n_windows: int
    n_tokens: int
    prepare_s: float
    """In the other thread, while the batch before was computed."""
    compute_s: float


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
