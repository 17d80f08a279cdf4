"""Aligns every query with every RNA by parasail's fastest routine, in a compiled loop.

Started by bench/searching/programs.py in an environment with numba and parasail; knows
nothing of Ribolex. The loop is compiled, since Python's own calls would cost a third of
the time. Prints processor time; the scores go to a file.
"""

import ctypes
import json
import sys
import time
from typing import Any

import numpy as np
import parasail
from numba import njit, types

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


def main() -> None:
    """Aligns as ordered."""
    order: dict[str, Any] = json.loads(sys.argv[1])
    queries, targets = (_read(order[name]) for name in ("queries", "targets"))
    matrix = parasail.matrix_create("ACGTN", 1, -1)
    for i, row in enumerate(order["letters"]):
        for j, score in enumerate(row):
            matrix.set_value(i, j, score)
    run = _compile(order["routine"])
    text = np.frombuffer("".join(targets).encode(), np.uint8)
    offsets = np.cumsum([0, *map(len, targets)])
    out = np.zeros((len(queries), len(targets)), np.float32)
    gaps = order["gap_open"], order["gap_extend"]
    profiles = [parasail.profile_create_16(query, matrix) for query in queries]
    _run_one(run, profiles[0], text, offsets[:2], gaps, out[0, :1])
    began = time.process_time()
    for row, profile in zip(out, profiles, strict=True):
        _run_one(run, profile, text, offsets, gaps, row)
    seconds = time.process_time() - began
    np.save(order["out"], out)
    print(json.dumps({"seconds": seconds}))


def _run_one(run, profile, text, offsets, gaps, row) -> None:  # type: ignore[no-untyped-def]
    run(_address(profile.pointer), text, offsets, *gaps, row)


def _compile(routine: str) -> Any:
    """Returns the loop over targets; a parasail function's address is a constant."""
    library = ctypes.CDLL(parasail.get_library())
    align = library[routine]
    align.restype, align.argtypes = _POINTER, [_POINTER, _POINTER, _INT, _INT, _INT]
    score = library["parasail_result_get_score"]
    score.restype, score.argtypes = _INT, [_POINTER]
    free = library["parasail_result_free"]
    free.restype, free.argtypes = None, [_POINTER]

    @njit
    def run(profile, text, offsets, gap_open, gap_extend, out):  # type: ignore[no-untyped-def]
        for i in range(len(offsets) - 1):
            start = types.intp(offsets[i])
            length = offsets[i + 1] - start
            result = align(
                profile, text.ctypes.data + start, length, gap_open, gap_extend
            )
            out[i] = score(result)
            free(result)

    return run


def _address(pointer: Any) -> int:
    return int(ctypes.cast(pointer, _POINTER).value or 0)


def _read(path: str) -> list[str]:
    with open(path) as stream:
        return [line.strip() for line in stream if not line.startswith(">")]


if __name__ == "__main__":
    main()
