"""What a batch spends its time on, noted for who wants to trace it.

Off, a stage costs one look at whether it is on. Knows nothing of spans, nor of what
the stages do.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

_HERE = threading.local()


class Stage(NamedTuple):
    """A part of the work on a batch, on `time.monotonic`'s clock."""

    name: str
    begun_s: float
    end_s: float


@contextmanager
def noted() -> Iterator[list[Stage]]:
    """Gives the stages of all that this thread does within the block."""
    _HERE.stages = found = list[Stage]()
    try:
        yield found
    finally:
        _HERE.stages = None


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Has the block noted as one stage, if stages are."""
    found: list[Stage] | None = getattr(_HERE, "stages", None)
    if found is None:
        yield
        return
    begun_s = time.monotonic()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # else it would have been begun only
    found.append(Stage(name, begun_s, time.monotonic()))
