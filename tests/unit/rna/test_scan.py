"""The scan's compiled loop against a simple one, on every kind of processor."""

import llvmlite.binding
import numpy as np
import pytest
from numba import config, njit

from ribolex.rna import scan_kernels
from ribolex.rna.byte_strips import LANES, N_STATES
from ribolex.rna.scan_kernels import judge_lanes, scan_lanes

pytestmark = pytest.mark.timeout(300)  # the first calls compile


def own_features() -> set[str]:
    """What loops are compiled for, each as "+name"."""
    chosen = config.CPU_FEATURES  # type: ignore[attr-defined]
    if chosen is not None:
        return set(chosen.split(","))
    known = llvmlite.binding.get_host_cpu_features()
    return {f"+{name}" for name, is_there in known.items() if is_there}


def align(pairs: np.ndarray, gap: int) -> int:
    """The best local score, 255 at most at any cell."""
    cells = np.zeros((pairs.shape[0] + 1, pairs.shape[1] + 1), int)
    for i, row in enumerate(pairs.tolist(), 1):
        for j, pair in enumerate(row, 1):
            diagonal = min(cells[i - 1, j - 1] + pair, 255)
            beside = max(cells[i - 1, j], cells[i, j - 1]) - gap
            cells[i, j] = max(0, diagonal, beside)
    return int(cells.max())


@pytest.mark.parametrize(
    "features", [None, "+avx512bw,+avx512vl", "+avx2,+ssse3", "+sse2"]
)
def test_levels_are_those_of_the_simple_twin(
    features: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = scan_lanes
    if features is not None:
        if lacking := set(features.split(",")) - own_features():
            pytest.skip(f"what is compiled for here lacks {lacking}")
        monkeypatch.setattr(config, "CPU_FEATURES", features)
        scan = njit(error_model="numpy")(scan_kernels.scan_lanes.py_func)
    random = np.random.default_rng(3)
    tables = random.integers(-6, 10, (36, N_STATES)).astype(np.int8)
    sizes = np.array([3, 40])
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    states = random.integers(0, N_STATES, (43, LANES)).astype(np.uint8)
    # One of the targets matches so well that 8 bits are full.
    states[3:39, LANES - 1] = tables.argmax(axis=1)
    chosen = random.random(2 * LANES) < 0.5
    chosen[-1] = True
    levels = np.full(2 * LANES, 9, np.uint8)
    scan(tables, np.int8(4), states, bounds, chosen, levels)
    assert levels[-1] == 255
    for lane in range(2 * LANES):
        group, column = divmod(lane, LANES)
        own = states[bounds[group] : bounds[group + 1], column]
        pairs = tables[:, own].astype(int)
        assert levels[lane] == (align(pairs, 4) if chosen[lane] else 0)


def test_long_rnas_are_judged_as_the_longest_known() -> None:
    zero = np.array([9, 1, 2, 3], np.float32)
    slope = np.array([9, 0.1, 0.2, 0.3], np.float32)
    levels, pieces = np.array([5, 0, 10], np.uint8), np.array([0, 1, 2], np.int32)
    found = np.empty(3, np.float32)
    judge_lanes(levels, pieces, np.array([1, 2, 77], np.int32), zero, slope, found)
    assert found.tolist() == pytest.approx([1.5, -np.inf, 6.0])
