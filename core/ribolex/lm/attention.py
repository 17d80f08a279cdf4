"""Attention within each sequence of a packed row, by the kernel that fits the device.

Every kernel takes [token, head, d_head] and gives the same, so that one can stand in
for another; `choose_kernel` is the only place that knows which runs where. Knows
nothing of weights.
"""

import importlib
import inspect
from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ribolex.lm.packing import Packed

Kernel = Callable[[Tensor, Tensor, Tensor, Packed], Tensor]
"""From query, key and value, each [token, head, d_head], to the mixed values."""

_FLASH_DTYPES = (torch.bfloat16, torch.float16)
_AMPERE = (8, 0)
_TORCH_VARLEN = "torch.nn.attention.varlen"
_FLASH_ATTN = "flash_attn"


def choose_kernel(device: torch.device, dtype: torch.dtype) -> Kernel:
    """Returns the kernel for a device, given in what precision it will attend.

    On a GPU from Ampere on, in half precision: torch's variable-length kernel, else
    that of flash-attn where it is installed. On other GPUs: padded. On a CPU: runs
    of equal length, which need neither padding nor mask.
    """
    if device.type == "cpu":
        return attend_runs
    is_recent = (
        device.type == "cuda" and torch.cuda.get_device_capability(device) >= _AMPERE
    )
    if is_recent and dtype in _FLASH_DTYPES:
        for make, module in (
            (varlen_kernel, _TORCH_VARLEN),
            (flash_attn_kernel, _FLASH_ATTN),
        ):
            try:
                return make(importlib.import_module(module))
            except ImportError:
                continue
    return attend_padded


def attend_runs(
    query: Float[Tensor, "token head d_head"],
    key: Float[Tensor, "token head d_head"],
    value: Float[Tensor, "token head d_head"],
    packed: Packed,
) -> Float[Tensor, "token head d_head"]:
    """Attends run by run of neighbouring sequences of one length."""
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    start = 0
    for length, run in groupby(packed.lengths):
        rows = len(list(run))
        stop = start + rows * length
        shape = (rows, length, *query.shape[1:])
        q, k, v = (
            x[start:stop].view(shape).transpose(1, 2) for x in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        out[start:stop].view(shape).copy_(mixed.transpose(1, 2))
        start = stop
    return out


def attend_padded(
    query: Float[Tensor, "token head d_head"],
    key: Float[Tensor, "token head d_head"],
    value: Float[Tensor, "token head d_head"],
    packed: Packed,
) -> Float[Tensor, "token head d_head"]:
    """Attends in one rectangle as wide as the longest sequence."""
    lengths = packed.boundaries.diff()
    rows = torch.arange(len(packed.lengths), device=query.device)
    row = rows.repeat_interleave(lengths, output_size=len(query))
    shape = (len(packed.lengths), max(packed.lengths))
    is_token = packed.places.new_zeros(shape, dtype=torch.bool)
    is_token[row, packed.places] = True

    def pad(x: Tensor) -> Tensor:
        rectangle = x.new_zeros((*shape, *x.shape[1:]))
        rectangle[row, packed.places] = x
        return rectangle.transpose(1, 2)

    mixed = F.scaled_dot_product_attention(
        pad(query), pad(key), pad(value), attn_mask=is_token[:, None, None, :]
    )
    return mixed.transpose(1, 2)[row, packed.places]


def varlen_kernel(module: Any) -> Kernel:
    """Returns torch's variable-length attention (torch >= 2.10) as a kernel."""
    attend = module.varlen_attn
    # One split of the keys: else it depends on the longest sequence of the batch,
    # and with it the last bits of everybody's result.
    fixed = {"num_splits": 1} if _takes(attend, "num_splits") else {}

    def kernel(query: Tensor, key: Tensor, value: Tensor, packed: Packed) -> Tensor:
        edges, longest = packed.boundaries, max(packed.lengths)
        mixed: Tensor = attend(
            query, key, value, edges, edges, longest, longest, **fixed
        )
        return mixed

    return kernel


def flash_attn_kernel(module: Any) -> Kernel:
    """Returns flash-attn's variable-length attention as a kernel."""
    attend = module.flash_attn_varlen_func

    def kernel(query: Tensor, key: Tensor, value: Tensor, packed: Packed) -> Tensor:
        edges, longest = packed.boundaries, max(packed.lengths)
        mixed: Tensor = attend(query, key, value, edges, edges, longest, longest)
        return mixed

    return kernel


def _takes(function: Callable[..., Any], parameter: str) -> bool:
    return parameter in inspect.signature(function).parameters
