"""Several processes that fit one dictionary, each on its own part of the rows.

Started by `torchrun`, which says so in the environment. Alone, every function here
gives back what it got. Knows nothing of what is summed.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from ribolex.errors import NotReadyError
from ribolex.trainer.stopping import Stopped

_TIMEOUT = timedelta(days=30)
"""Longer than the first rank may work alone, or wait for something to do."""

T = TypeVar("T")

_DONE, _FAILED, _STOPPED = range(3)


@contextmanager
def joined_ranks(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started, if any, until the block ends.

    Args:
        device: "cpu", or "cuda" for the GPU of this process.

    Yields:
        The device that this process is to use.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, timeout=_TIMEOUT)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Returns which process this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def n_ranks() -> int:
    """Returns how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_ranks(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Returns the tensor, now with the sum of all processes' in it."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def any_over_ranks(claims: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Returns where any process' booleans are true."""
    return sum_over_ranks(claims.int()) > 0 if dist.is_initialized() else claims


def gather_ranks(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "rank ..."]:
    """Returns all processes' tensors, which must be of one shape, in their order."""
    if not dist.is_initialized():
        return tensor[None]
    out = [torch.empty_like(tensor) for _ in range(n_ranks())]
    dist.all_gather(out, tensor.contiguous())
    return torch.stack(out)


def wait_for_ranks() -> None:
    """Returns once every process has come so far."""
    if dist.is_initialized():
        dist.barrier()


def on_first(work: Callable[[], T]) -> T | None:
    """Returns what work gives on the first rank, and None on others once it is done.

    Raises:
        Stopped: on all ranks, where the work does.
        NotReadyError: on the other ranks, if the work fails on the first, where its
            own error is raised.
    """
    if not dist.is_initialized():
        return work()
    outcome = torch.tensor(_FAILED)
    found: T | None = None
    try:
        if rank() == 0:
            found = work()
            outcome.fill_(_DONE)
    except Stopped:
        outcome.fill_(_STOPPED)
        raise
    finally:
        dist.broadcast(outcome, 0)
    if outcome == _STOPPED:
        raise Stopped
    if outcome == _FAILED:
        raise NotReadyError("the first process failed, and said why")
    return found


def first_says(claim: bool) -> bool:
    """Returns what the first rank claims."""
    said = torch.tensor(claim)
    if dist.is_initialized():
        dist.broadcast(said, 0)
    return bool(said)
