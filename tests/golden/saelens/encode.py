"""Writes `expected.safetensors` with SAELens; see README.md.

Run in an environment with sae-lens and without Ribolex.
"""

from pathlib import Path

from sae_lens import SAE
from safetensors.torch import load_file, save

HERE = Path(__file__).parent


def main() -> None:
    """Encodes the activations and rebuilds them."""
    sae = SAE.load_from_disk(str(HERE / "dictionary"), device="cpu")
    x = load_file(HERE / "activations.safetensors")["x"]
    codes = sae.encode(x)
    rebuilt = sae.decode(codes)
    expected = {"codes": codes.detach().contiguous(), "rebuilt": rebuilt.detach()}
    (HERE / "expected.safetensors").write_bytes(save(expected))


if __name__ == "__main__":
    main()
