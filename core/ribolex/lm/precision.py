"""What precision to compute in, given the device.

Knows nothing of models.
"""

from collections.abc import Mapping
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""Of matrix products. "auto": bfloat16 where the device has units for it."""

_BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "amx_tile")
_AMPERE = (8, 0)


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Returns the dtype of matrix products.

    Args:
        precision: as asked for.
        device: where they run.
    """
    if precision == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _AMPERE
    return device.type == "cpu" and any(map(_cpu().get, _BFLOAT16_UNITS))


def _cpu() -> Mapping[str, object]:
    # Named so since torch 2.11 or so; without it we do not know, and take float32.
    ask = getattr(torch.cpu, "get_capabilities", dict)
    found: Mapping[str, object] = ask()
    return found
