"""Writes the dictionaries and `activations.safetensors`; see README.md.

Run in Ribolex's environment: python tests/golden/saelens/export.py
"""

import shutil
from dataclasses import replace
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
    Target,
    write_dictionary,
)

HERE = Path(__file__).parent
D_IN, N_FEATURES, K, N_TOKENS = 24, 96, 6, 64


def main() -> None:
    """Makes autoencoders of random weights that standardise their input."""
    generator = torch.Generator().manual_seed(7)
    mean = torch.randn(D_IN, generator=generator) * 2
    sigma = torch.rand(D_IN, generator=generator) * 3 + 0.1
    w_dec = torch.randn(N_FEATURES, D_IN, generator=generator)
    w_dec = torch.nn.functional.normalize(w_dec, dim=1)
    b_dec = torch.randn(D_IN, generator=generator) * 0.1
    moments = Moments(mean, sigma)
    sae = Sae(w_dec.T.contiguous(), -w_dec @ b_dec, w_dec, b_dec, K).fold(moments)
    x = torch.randn(N_TOKENS, D_IN, generator=generator) * sigma + mean
    threshold = torch.rand(N_FEATURES, generator=generator) + 1.0
    jumprelu = replace(sae, k=N_FEATURES, threshold=threshold)
    standardisation = Standardisation(tuple(mean.tolist()), tuple(sigma.tolist()))
    target = Target(2, False, standardisation)
    write("dictionary", sae, x, standardisation)
    write("jumprelu", jumprelu, x, standardisation)
    write("transcoder", jumprelu, x, standardisation, target)
    (HERE / "activations.safetensors").write_bytes(save({"x": x}))


def write(
    folder: str,
    sae: Sae,
    x: torch.Tensor,
    standardisation: Standardisation,
    target: Target | None = None,
) -> None:
    """Writes one dictionary whose panel are the activations."""
    codes = sae.encode(x)
    shutil.rmtree(HERE / folder, ignore_errors=True)
    write_dictionary(
        HERE / folder,
        name="golden",
        identity=Identity(
            lm_name="none",
            lm_digest="0" * 64,
            layer=1,
            hook="normed",
            level="nucleotide",
            kind="transcoder" if target else "sae",
            activation=sae.architecture,
            k=sae.k,
            d_in=D_IN,
            n_features=N_FEATURES,
            standardisation=standardisation,
            training_data="0" * 64,
            seed=7,
            licence="Apache-2.0",
            target=target,
        ),
        sae=sae,
        features=FeatureTable.blank(N_FEATURES),
        panel=Panel(
            ("random",),
            ("A" * N_TOKENS,),
            Codes.from_topk(codes.indices.numpy(), codes.values.numpy(), N_FEATURES),
        ),
    )


if __name__ == "__main__":
    main()
