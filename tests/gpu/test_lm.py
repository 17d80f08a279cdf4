"""On a GPU: packed attention and bfloat16 give what the CPU gives in float32."""

import numpy as np
import pytest
import torch

from ribolex.lm import LanguageModel, LmConfig, RiNALMo
from ribolex.lm.attention import attend_padded, choose_kernel
from ribolex.lm.fast import FastNetwork
from ribolex.lm.packing import pack
from ribolex.lm.precision import choose_dtype
from ribolex.rna import tokenise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

CONFIG = LmConfig.of_width(320, 3, 20)
SIZES = [1022, 17, 300, 300, 1, 64, 65, 511]
BFLOAT16_BOUND = 0.02


def random_rnas() -> list[str]:
    random = np.random.default_rng(0)
    return ["".join(random.choice(list("ACGU"), n)) for n in SIZES]


def network() -> RiNALMo:
    torch.manual_seed(0)
    return RiNALMo(CONFIG).eval()


def off(got: np.ndarray, expected: np.ndarray) -> float:
    size = np.linalg.norm(expected, axis=1)
    return float((np.linalg.norm(got - expected, axis=1) / size).max())


def test_float32_agrees_with_the_cpu() -> None:
    gpu, cpu = (LanguageModel(network(), "x", device) for device in ("cuda", "cpu"))
    pairs = zip(
        gpu.activations(random_rnas(), [1, 3]),
        cpu.activations(random_rnas(), [1, 3]),
        strict=True,
    )
    for got, expected in pairs:
        for layer in (1, 3):
            # The order of sums differs between the devices' products.
            np.testing.assert_allclose(got[layer], expected[layer], atol=1e-4)


def test_auto_stays_within_the_bound_alone_and_in_any_batch() -> None:
    gpu = LanguageModel(network(), "x", "cuda", "auto")
    cpu = LanguageModel(network(), "x")
    rnas = random_rnas()
    together, exact = gpu.activations(rnas, [3]), cpu.activations(rnas, [3])
    for rna, got, expected in zip(rnas, together, exact, strict=True):
        assert off(got[3], expected[3]) <= BFLOAT16_BOUND
        alone = gpu.activations([rna], [3])[0][3]
        assert off(alone, expected[3]) <= BFLOAT16_BOUND


def test_packed_and_padded_attention_agree() -> None:
    device = torch.device("cuda")
    dtype = choose_dtype("auto", device)
    packed = pack([tokenise(rna) for rna in random_rnas()]).to(device)
    outputs = []
    for kernel in (choose_kernel(device, dtype), attend_padded):
        fast = FastNetwork(network(), device, dtype, n_tokens=1024, kernel=kernel)
        with torch.inference_mode():
            *_, raw = fast.raw_outputs(packed)
            outputs.append(fast.normed(3, raw).cpu().numpy())
    assert off(*outputs) <= BFLOAT16_BOUND


def test_hidden_stays_on_the_device_and_keeps_order() -> None:
    gpu = LanguageModel(network(), "x", "cuda", "auto")
    rnas = random_rnas()
    rows = gpu.hidden(gpu.prepare(rnas), 2, "normed")
    assert rows.device.type == "cuda"
    expected = np.concatenate([x[2] for x in gpu.activations(rnas, [2])])
    assert off(rows.cpu().numpy(), expected) <= BFLOAT16_BOUND
