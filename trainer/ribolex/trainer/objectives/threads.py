"""Spreads a compiled loop over as many threads as torch uses."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

_LEAST_A_THREAD = 64


def share(
    kernel: Callable[..., None],
    n: int,
    read: Sequence[Tensor | int],
    written: Sequence[Tensor],
) -> None:
    """Runs kernel(*read, start, stop, *written) for parts that make up range(n).

    Tensors are passed as arrays and must be contiguous and on the CPU.
    """
    first, last = [_bare(a) for a in read], [_bare(a) for a in written]
    n_threads = min(torch.get_num_threads(), max(1, n // _LEAST_A_THREAD))
    if n_threads == 1:
        kernel(*first, 0, n, *last)
        return
    edges = [n * i // n_threads for i in range(n_threads + 1)]
    parts = [
        _pool(n_threads).submit(kernel, *first, *edge, *last)
        for edge in zip(edges, edges[1:], strict=False)
    ]
    for part in parts:
        part.result()


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, "kernels")


def _bare(argument: Tensor | int) -> np.ndarray | int:
    return argument if isinstance(argument, int) else argument.detach().numpy()
