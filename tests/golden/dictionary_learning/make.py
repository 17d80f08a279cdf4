"""Writes what lies here with dictionary_learning; see README.md.

Run in an environment with dictionary-learning and without Ribolex.
"""

import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save

# Its buffer of activations wants nnsight, and its trainers wandb's friends; neither
# is used here.
nnsight = types.ModuleType("nnsight")
nnsight.LanguageModel = object  # type: ignore[attr-defined]
sys.modules["nnsight"] = nnsight

from dictionary_learning.dictionary import (  # noqa: E402
    AutoEncoder,
    AutoEncoderNew,
    GatedAutoEncoder,
    JumpReluAutoEncoder,
)
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE  # noqa: E402
from dictionary_learning.trainers.matryoshka_batch_top_k import (  # noqa: E402
    MatryoshkaBatchTopKSAE,
)
from dictionary_learning.trainers.top_k import AutoEncoderTopK  # noqa: E402

HERE = Path(__file__).parent
D_IN, N_FEATURES, K, N_TOKENS = 16, 40, 5, 64
BUFFERS = ("k", "group_sizes")


def main() -> None:
    """Makes one of each class, with random weights, and runs it."""
    torch.manual_seed(12)
    x = torch.randn(N_TOKENS, D_IN) * 2 + 1
    (HERE / "activations.safetensors").write_bytes(save({"x": x}))
    for made in (
        AutoEncoder(D_IN, N_FEATURES),
        AutoEncoderNew(D_IN, N_FEATURES),
        GatedAutoEncoder(D_IN, N_FEATURES),
        JumpReluAutoEncoder(D_IN, N_FEATURES),
        AutoEncoderTopK(D_IN, N_FEATURES, K),
        BatchTopKSAE(D_IN, N_FEATURES, K),
        MatryoshkaBatchTopKSAE(D_IN, N_FEATURES, K, [10, 30]),
    ):
        name = type(made).__name__
        state = made.state_dict()
        for key, tensor in state.items():
            if key == "threshold":
                tensor.copy_(torch.rand_like(tensor) * 2 + 0.5)
            elif key not in BUFFERS:
                tensor.add_(torch.randn_like(tensor) * 0.3)
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        torch.save(made.state_dict(), folder / "ae.pt")
        config = {"trainer": {"dict_class": name}}
        (folder / "config.json").write_text(json.dumps(config) + "\n")
        with torch.no_grad():
            codes = made.encode(x)
            expected = {"codes": codes.contiguous(), "rebuilt": made.decode(codes)}
        (folder / "expected.safetensors").write_bytes(save(expected))


if __name__ == "__main__":
    main()
