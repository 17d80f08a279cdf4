"""Writes what lies here with sparsify; see README.md.

Run in an environment with eai-sparsify and without Ribolex.
"""

from pathlib import Path

import torch
from safetensors.torch import save
from sparsify import SparseCoder, SparseCoderConfig

HERE = Path(__file__).parent
D_IN, N_FEATURES, K, N_TOKENS = 16, 40, 5, 64


def main() -> None:
    """Makes an autoencoder and a transcoder of random weights and runs them."""
    torch.manual_seed(11)
    x = torch.randn(N_TOKENS, D_IN) * 2 + 1
    (HERE / "activations.safetensors").write_bytes(save({"x": x}))
    for name, transcode in (("layers.3", False), ("transcoder", True)):
        config = SparseCoderConfig(num_latents=N_FEATURES, k=K, transcode=transcode)
        coder = SparseCoder(D_IN, config)
        with torch.no_grad():
            coder.W_dec.add_(torch.randn(N_FEATURES, D_IN) * 0.3)
            coder.encoder.bias.add_(torch.randn(N_FEATURES) * 0.2)
            coder.b_dec.add_(torch.randn(D_IN))
            coder.save_to_disk(HERE / name)
            found = coder.encode(x)
            codes = torch.zeros(N_TOKENS, N_FEATURES)
            codes.scatter_(1, found.top_indices, found.top_acts)
            rebuilt = coder.decode(found.top_acts, found.top_indices)
        expected = {"codes": codes, "rebuilt": rebuilt}
        (HERE / f"{name}.expected.safetensors").write_bytes(save(expected))


if __name__ == "__main__":
    main()
