"""The matrix products of a block, in the fastest form that the device has.

On x86 CPUs oneDNN takes the weights in its own order and computes what follows a
product (bias, swish, gate) while its result is in registers. Knows nothing of what
the products are for.
"""

import os
import platform
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Product = Callable[[Tensor], Tensor]
"""From [token, width_in] to [token, width_out], both in the weights' dtype."""

# As the published FFN's beta may be learned to nothing, and we divide by it.
_LEAST_BETA = 1e-6

# What torch and oneDNN keep of products that were made, each for one number of tokens.
# Nearly every batch has another: a thousand of either, the default, come to 700 MiB
# and save no time that can be measured.
_KEPT = {"LRU_CACHE_CAPACITY": "16", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}


def linear(weight: Float[Tensor, "width_out width_in"], n_tokens: int) -> Product:
    """Returns x W^T as a function.

    Args:
        weight: on its device, in the dtype to compute in.
        n_tokens: about how many there will be at a time.
    """
    if not _has_onednn(weight):
        return lambda x: F.linear(x, weight)
    pointwise, packed = _pointwise(), _reorder(weight, n_tokens)
    return lambda x: pointwise(x, packed, None, "none", [], "")


def gated(
    up_gate: tuple[Float[Tensor, "hidden2 d_model"], Float[Tensor, " hidden2"]],
    down: tuple[Float[Tensor, "d_model hidden"], Float[Tensor, " d_model"]],
    beta: float,
    dtype: torch.dtype,
    n_tokens: int,
) -> Product:
    """Returns the gated feed-forward as a function.

    W3 (u sigmoid(beta u) g) + b3, with u and g the halves of W12 x + b12. As beta u
    sigmoid(beta u) is the swish of beta u, beta goes into W1, b1 and W3.

    Args:
        up_gate: W12 and b12, float32, on their device.
        down: W3 and b3.
        beta: as learned.
        dtype: to compute in.
        n_tokens: as in `linear`.
    """
    if abs(beta) < _LEAST_BETA:
        beta = _LEAST_BETA
    hidden = down[0].shape[1]
    both = [part.double().clone() for part in up_gate]
    for part in both:
        part[:hidden] *= beta
    weight, bias = (part.to(dtype) for part in both)
    last, last_bias = (down[0].double() / beta).to(dtype), down[1].to(dtype)
    if _has_onednn(weight):
        halves = [weight[:hidden], weight[hidden:], last]
        return _onednn_gated(
            [_reorder(part, n_tokens) for part in halves],
            [bias[:hidden].clone(), bias[hidden:].clone(), last_bias],
        )

    def forward(x: Tensor) -> Tensor:
        up, gate = F.linear(x, weight, bias).chunk(2, dim=-1)
        return F.linear(F.silu(up).mul_(gate), last, last_bias)

    return forward


def _onednn_gated(weights: list[Tensor], biases: list[Tensor]) -> Product:
    pointwise = _pointwise()
    (up, gate, down), (up_bias, gate_bias, down_bias) = weights, biases

    def forward(x: Tensor) -> Tensor:
        swished = pointwise(x, up, up_bias, "swish", [], "")
        hidden = pointwise.binary(x, swished, gate, gate_bias, "mul")
        out: Tensor = pointwise(hidden, down, down_bias, "none", [], "")
        return out

    return forward


def _has_onednn(weight: Tensor) -> bool:
    """Returns whether oneDNN computes with such weights on this processor."""
    return (
        weight.device.type == "cpu"
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and (
            weight.dtype != torch.bfloat16
            or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )
    )


def _pointwise() -> Any:
    return torch.ops.mkldnn._linear_pointwise


def _reorder(weight: Tensor, n_tokens: int) -> Tensor:
    # Looked at once in a process, at the first product.
    for name, capacity in _KEPT.items():
        os.environ.setdefault(name, capacity)
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(
        weight.contiguous(), n_tokens
    )
    return packed
