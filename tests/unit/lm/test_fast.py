"""The network for inference computes what the network of `model.py` computes."""

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ribolex.lm import LmConfig, RiNALMo, linear
from ribolex.lm.attention import (
    Kernel,
    attend_padded,
    attend_runs,
    choose_kernel,
    flash_attn_kernel,
    varlen_kernel,
)
from ribolex.lm.fast import FastNetwork
from ribolex.lm.packing import Packed, pack
from ribolex.rna import tokenise
from ribolex.rna.alphabet import MASK, PAD

CPU = torch.device("cpu")
# Of an activation's length; four times what these networks show at worst.
BFLOAT16_BOUND = 0.02

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=10)
seeds = st.integers(0, 2**32 - 1)


def spread_network() -> RiNALMo:
    """A random network whose every weight matters: betas, biases and norms too."""
    torch.manual_seed(0)
    network = RiNALMo(LmConfig.of_width(48, 3, 3)).eval().requires_grad_(False)
    for name, weight in network.named_parameters():
        if name.endswith("beta"):
            weight.uniform_(-1.5, 1.5)
        elif weight.ndim == 1:
            weight.add_(torch.randn(weight.shape), alpha=0.3)
    for block in network.blocks:
        block.get_submodule("ffn").clear_padding()  # type: ignore[operator]
    return network


NETWORK = spread_network()


def random_tokens(sizes: list[int], seed: int, masked: float = 0.2) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    tokens = [tokenise("".join(random.choice(list("ACGUN"), n))) for n in sizes]
    for sequence in tokens:
        sequence[1:-1][random.random(len(sequence) - 2) < masked] = MASK
    return tokens


def padded_outputs(network: RiNALMo, tokens: list[np.ndarray]) -> list[Tensor]:
    """The slow twin: rectangles and a mask. Rows without padding, layer by layer."""
    rectangle = torch.full((len(tokens), max(map(len, tokens))), PAD)
    for row, sequence in enumerate(tokens):
        rectangle[row, : len(sequence)] = torch.from_numpy(sequence)
    is_token = rectangle != PAD
    with torch.inference_mode():
        return [raw[is_token] for raw in network.raw_outputs(rectangle, is_token)]


def fast_outputs(network: FastNetwork, tokens: list[np.ndarray]) -> list[Tensor]:
    with torch.inference_mode():
        return [raw.clone() for raw in network.raw_outputs(pack(tokens))]


def prepare(dtype: torch.dtype, kernel: Kernel | None = None) -> FastNetwork:
    return FastNetwork(NETWORK, CPU, dtype, n_tokens=64, kernel=kernel)


FLOAT32, BFLOAT16 = prepare(torch.float32), prepare(torch.bfloat16)


def normed(layer: int, raw: Tensor) -> Tensor:
    return NETWORK.normed(layer, raw[None])[0]


def assert_near(got: list[Tensor], expected: list[Tensor]) -> None:
    for layer, (ours, theirs) in enumerate(zip(got, expected, strict=True), start=1):
        difference = normed(layer, ours) - normed(layer, theirs)
        assert difference.abs().max() <= 1e-5


@settings(max_examples=15, deadline=None)
@given(lengths, seeds)
def test_fast_and_simple_networks_agree(sizes: list[int], seed: int) -> None:
    tokens = random_tokens(sizes, seed)
    expected = padded_outputs(NETWORK, tokens)
    got = fast_outputs(FLOAT32, tokens)
    assert_near(got, expected)
    representation = normed(3, expected[-1])
    with torch.inference_mode():
        logits = FLOAT32.logits(FLOAT32.normed(3, got[-1]))
    np.testing.assert_allclose(logits, NETWORK.head(representation), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(lengths, seeds)
def test_bfloat16_stays_within_its_bound(sizes: list[int], seed: int) -> None:
    tokens = random_tokens(sizes, seed)
    pairs = zip(
        fast_outputs(BFLOAT16, tokens), padded_outputs(NETWORK, tokens), strict=True
    )
    for layer, (ours, theirs) in enumerate(pairs, start=1):
        expected = normed(layer, theirs)
        off = (BFLOAT16.normed(layer, ours) - expected).norm(dim=1)
        assert (off / expected.norm(dim=1)).max() <= BFLOAT16_BOUND


def block_diagonal(query: Tensor, key: Tensor, value: Tensor, packed: Packed) -> Tensor:
    """The simplest kernel: all against all, other sequences' scores struck out."""
    owner = torch.arange(len(packed.lengths)).repeat_interleave(
        packed.boundaries.diff()
    )
    scores = torch.einsum("qhd,khd->hqk", query, key) * query.shape[-1] ** -0.5
    scores = scores.masked_fill(owner[:, None] != owner, -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), value)


def fake_varlen(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> Tensor:
    """Takes what torch's and flash-attn's kernels take; loops over sequences."""
    edges_q, edges_k, longest_q, longest_k = rest
    assert edges_q.dtype == edges_k.dtype == torch.int32
    assert longest_q == longest_k == int(edges_q.diff().max())
    out = torch.empty(query.shape)
    for start, stop in zip(edges_q[:-1], edges_q[1:], strict=True):
        part = slice(int(start), int(stop))
        scores = torch.einsum("qhd,khd->hqk", query[part], key[part])
        weights = (scores * query.shape[-1] ** -0.5).softmax(-1)
        out[part] = torch.einsum("hqk,khd->qhd", weights, value[part])
    return out


def fake_torch_varlen(*args: Any, num_splits: int | None = None) -> Tensor:
    assert num_splits == 1  # else results depend on the batch
    return fake_varlen(*args)


@pytest.mark.parametrize(
    "kernel",
    [
        attend_runs,
        attend_padded,
        varlen_kernel(SimpleNamespace(varlen_attn=fake_torch_varlen)),
        varlen_kernel(SimpleNamespace(varlen_attn=fake_varlen)),
        flash_attn_kernel(SimpleNamespace(flash_attn_varlen_func=fake_varlen)),
    ],
    ids=["runs", "padded", "torch", "old torch", "flash-attn"],
)
def test_every_kernel_keeps_sequences_apart(kernel: Kernel) -> None:
    tokens = random_tokens([7, 7, 30, 1, 7, 12], seed=0)
    expected = fast_outputs(prepare(torch.float32, block_diagonal), tokens)
    assert_near(fast_outputs(prepare(torch.float32, kernel), tokens), expected)


def test_products_without_onednn_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = random_tokens([5, 30, 12], seed=1)
    monkeypatch.setattr(linear, "_has_onednn", lambda weight: False)
    assert_near(
        fast_outputs(prepare(torch.float32), tokens), padded_outputs(NETWORK, tokens)
    )


def test_a_beta_of_nothing_is_a_plain_gate() -> None:
    network = spread_network()
    for name, weight in network.named_parameters():
        if name.endswith("beta"):
            weight.zero_()
    tokens = random_tokens([5, 30], seed=2)
    fast = FastNetwork(network, CPU, torch.float32, n_tokens=64)
    for ours, theirs in zip(
        fast_outputs(fast, tokens), padded_outputs(network, tokens), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_the_network_may_change_afterwards() -> None:
    network = spread_network()
    fast = FastNetwork(network, CPU, torch.float32, n_tokens=64)
    tokens = random_tokens([5], seed=3)
    before = fast_outputs(fast, tokens)
    for weight in network.parameters():
        weight.zero_()
    after = fast_outputs(fast, tokens)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_sequences_beyond_the_trained_context_are_turned_too() -> None:
    tokens = random_tokens([1100], seed=4)
    assert_near(fast_outputs(FLOAT32, tokens), padded_outputs(NETWORK, tokens))


@pytest.mark.parametrize(
    ("capability", "dtype", "expected"),
    [
        ((9, 0), torch.bfloat16, "varlen_kernel"),
        ((9, 0), torch.float32, "attend_padded"),
        ((7, 5), torch.float16, "attend_padded"),
    ],
)
def test_a_gpu_gets_the_kernel_it_can_run(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    dtype: torch.dtype,
    expected: str,
) -> None:
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device=None: capability
    )
    # The real module takes seconds to import.
    module = SimpleNamespace(varlen_attn=fake_varlen)
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", module)
    chosen: Callable[..., Any] = choose_kernel(torch.device("cuda"), dtype)
    assert expected in chosen.__qualname__


_MANY_SIZES = """
import torch
from pathlib import Path
from ribolex.lm.linear import linear

def anonymous_mib():
    told = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(x.split()[1]) >> 10 for x in told if x.startswith("Anonymous"))

torch.set_num_threads(1)
product = linear(torch.randn(256, 256), 256)
product(torch.randn(1, 256))
before = anonymous_mib()
for n_tokens in range(2, 400):
    product(torch.randn(n_tokens, 256))
print(anonymous_mib() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_products_of_many_sizes_keep_little_memory() -> None:
    # 45 MiB; 250 with as many products kept as oneDNN and torch would by themselves.
    command = [sys.executable, "-c", _MANY_SIZES]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(told) < 120
