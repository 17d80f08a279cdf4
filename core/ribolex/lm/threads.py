"""How many threads a CPU's worth of matrix products should have.

Knows nothing of models.
"""

import math
from pathlib import Path

import torch

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def sensible_threads(quota: Path = _QUOTA) -> int:
    """Returns torch's own choice, but no more than the container may use.

    torch counts cores, or takes OMP_NUM_THREADS; of a container's CPU quota it knows
    nothing, and threads beyond it only wait for each other.

    Args:
        quota: cgroup v2's file of quota and period in microseconds; may be missing.
    """
    return max(1, min(torch.get_num_threads(), _allowed(quota)))


def _allowed(quota: Path) -> int:
    unlimited = torch.get_num_threads()
    try:
        share, period = quota.read_text().split()
        return unlimited if share == "max" else math.ceil(int(share) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return unlimited
