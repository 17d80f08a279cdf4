"""Writes what SAELens gives with each dictionary, and saves its own; see README.md.

Run in an environment with sae-lens and without Ribolex.
"""

from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.registry import get_sae_class
from safetensors.torch import load_file, save

HERE = Path(__file__).parent
D_IN, N_FEATURES, K = 24, 40, 5
OWN: dict[str, dict[str, Any]] = {
    "standard": {"apply_b_dec_to_input": True},
    "topk": {
        "k": K,
        "rescale_acts_by_decoder_norm": True,
        "apply_b_dec_to_input": True,
    },
    "jumprelu": {"apply_b_dec_to_input": True},
    "gated": {"apply_b_dec_to_input": True},
    "transcoder": {"apply_b_dec_to_input": False, "d_out": D_IN},
    "jumprelu_transcoder": {"apply_b_dec_to_input": False, "d_out": D_IN},
}


def main() -> None:
    """Encodes the activations and rebuilds them."""
    x = load_file(HERE / "activations.safetensors")["x"]
    for ours in ("dictionary", "jumprelu", "transcoder"):
        suffix = "" if ours == "dictionary" else f"_{ours}"
        run(HERE / ours, HERE / f"expected{suffix}.safetensors", x)
    torch.manual_seed(13)
    for architecture, settings in OWN.items():
        made, config = get_sae_class(architecture)
        sae = made(config(d_in=D_IN, d_sae=N_FEATURES, **settings))
        for name, parameter in sae.named_parameters():
            noise = torch.rand_like(parameter) * 0.5
            parameter.data += noise if name == "threshold" else noise - 0.25
        folder = HERE / "saved" / architecture
        sae.save_model(folder)
        run(folder, folder / "expected.safetensors", x)


def run(folder: Path, file: Path, x: torch.Tensor) -> None:
    """Writes what the autoencoder in a folder gives."""
    sae = SAE.load_from_disk(str(folder), device="cpu")
    codes = sae.encode(x)
    rebuilt = sae.decode(codes)
    expected = {"codes": codes.detach().contiguous(), "rebuilt": rebuilt.detach()}
    file.write_bytes(save(expected))


if __name__ == "__main__":
    main()
