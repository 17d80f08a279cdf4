"""How loops are compiled, and spread over threads feature by feature.

Knows nothing of what the loops compute.
"""

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from numba import njit

_FEATURES_A_BLOCK = 32


def compiled(function: Callable[..., Any]) -> Any:
    """Returns the function compiled; it lets go of the interpreter lock.

    Compiled at the first call, some seconds, and kept on disk.
    """
    # Unwrapped: tests wrap every function in checks that cannot be compiled.
    compiler = njit(nogil=True, error_model="numpy", cache=True)
    return compiler(inspect.unwrap(function))


def over_features(kernel: Callable[[int, int], None], n_features: int) -> Iterator[int]:
    """Runs kernel(start, stop) for blocks of features; yields how many are done.

    Blocks run on as many threads as torch uses, and must not share what they write.
    """
    edges = [*range(0, n_features, _FEATURES_A_BLOCK), n_features]
    with ThreadPoolExecutor(torch.get_num_threads(), "features") as pool:
        blocks = [
            pool.submit(kernel, start, stop)
            for start, stop in zip(edges, edges[1:], strict=False)
        ]
        try:
            for block, stop in zip(blocks, edges[1:], strict=True):
                block.result()
                yield stop
        finally:
            for block in blocks:
                block.cancel()
