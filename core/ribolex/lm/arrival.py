"""Results on their way from the device to the host, while the next are computed.

Knows tensors only.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Arrive = Callable[[], np.ndarray]
_T = TypeVar("_T")


def send_home(states: Float[Tensor, "token width"]) -> Arrive:
    """Begins the copy to the host; what it returns waits for it and gives it."""
    if states.device.type != "cuda":
        return states.cpu().numpy
    host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
    host.copy_(states, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def arrive() -> Float[np.ndarray, "token width"]:
        arrived.synchronize()
        return host.numpy()

    return arrive


def one_ahead(source: Iterator[_T]) -> Iterator[_T]:
    """Yields everything, each when the next is under way.

    So a GPU computes the next batch while the host puts this one in its place.
    """
    waiting: list[_T] = []
    for latest in source:
        waiting.append(latest)
        if len(waiting) > 1:
            yield waiting.pop(0)
    yield from waiting
