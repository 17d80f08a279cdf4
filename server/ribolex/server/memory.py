"""Gives memory back to the system that nobody uses.

glibc keeps for each thread what that thread has freed, piece by piece; after an upload
that comes to hundreds of megabytes. Knows nothing of what the memory was for.
"""

import ctypes
import sys


def give_back() -> None:
    """Has the C library give back what was freed; does nothing where it cannot.

    Blocks, some 50 ms for each 100 MiB on a busy machine; thread-safe, without the GIL.
    """
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
