"""Writes `dictionary/` and `activations.safetensors`; see README.md.

Run in Ribolex's environment: python tests/golden/saelens/export.py
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save

from ribolex.dictionary import (
    Codes,
    FeatureTable,
    Identity,
    Moments,
    Panel,
    Sae,
    Standardisation,
    write_dictionary,
)

HERE = Path(__file__).parent
D_IN, N_FEATURES, K, N_TOKENS = 24, 96, 6, 64


def main() -> None:
    """Makes an autoencoder with random weights that standardises its input."""
    generator = torch.Generator().manual_seed(7)
    mean = torch.randn(D_IN, generator=generator) * 2
    sigma = torch.rand(D_IN, generator=generator) * 3 + 0.1
    w_dec = torch.randn(N_FEATURES, D_IN, generator=generator)
    w_dec = torch.nn.functional.normalize(w_dec, dim=1)
    b_dec = torch.randn(D_IN, generator=generator) * 0.1
    sae = Sae(w_dec.T.contiguous(), -w_dec @ b_dec, w_dec, b_dec, K).fold(
        Moments(mean, sigma)
    )
    x = torch.randn(N_TOKENS, D_IN, generator=generator) * sigma + mean
    codes = sae.encode(x)
    shutil.rmtree(HERE / "dictionary", ignore_errors=True)
    write_dictionary(
        HERE / "dictionary",
        name="golden",
        identity=Identity(
            lm_name="none",
            lm_digest="0" * 64,
            layer=1,
            hook="normed",
            level="nucleotide",
            kind="sae",
            activation="topk",
            k=K,
            d_in=D_IN,
            n_features=N_FEATURES,
            standardisation=Standardisation(
                tuple(mean.tolist()), tuple(sigma.tolist())
            ),
            training_data="0" * 64,
            seed=7,
            licence="Apache-2.0",
        ),
        sae=sae,
        features=FeatureTable.blank(N_FEATURES),
        panel=Panel(
            ("random",),
            ("A" * N_TOKENS,),
            Codes.from_topk(codes.indices.numpy(), codes.values.numpy(), N_FEATURES),
        ),
    )
    (HERE / "activations.safetensors").write_bytes(save({"x": x}))


if __name__ == "__main__":
    main()
