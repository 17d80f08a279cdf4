"""sparsify folders: cfg.json and sae.safetensors of one hookpoint.

As sparsify 1.3 runs them: the k largest of relu((x - b_dec) W + b), an autoencoder; of
relu(x W + b), a transcoder; then W_dec, one row a feature, and b_dec.
"""

from pathlib import Path

from jaxtyping import Float64
from torch import Tensor

from ribolex.trainer.interchange.source import (
    Forward,
    Reading,
    Source,
    express,
    keep_largest,
)
from ribolex.trainer.interchange.tensors import Settings, TensorFile

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae.safetensors"


def read_sparsify(folder: Path, reading: Reading) -> Source:
    """Returns the autoencoder in a sparsify folder.

    Raises:
        CorruptInputError: a file is not what sparsify writes, or what it describes
            cannot be expressed exactly: says which setting and why.
    """
    del reading
    config = Settings.open(folder / CONFIG_FILE)
    file = TensorFile.open(folder / WEIGHTS_FILE)
    if (function := config.get("activation", str, "topk")) != "topk":
        message = f"activation is {function!r}, which keeps one feature of each group"
        raise config.refuse(f"{message}; expected 'topk'")
    if config.get("skip_connection", bool, False) or "W_skip" in file:
        message = "its linear path past the features is no part of any feature"
        raise config.refuse(f"skip_connection is true: {message}")
    is_transcoder = config.get("transcode", bool, False)
    d_in, k = config.count("d_in"), config.count("k")
    n_features = config.get("num_latents", int, 0)
    n_features = n_features or d_in * config.count("expansion_factor")
    if k > n_features:
        raise config.refuse(f"k is {k}, expected at most {n_features}, its features")
    weight = file.take("encoder.weight", n_features, d_in)
    bias = file.take("encoder.bias", n_features)
    w_dec = file.take("W_dec", n_features, d_in)
    b_dec = file.take("b_dec", d_in)
    file.refuse_others("encoder.weight", "encoder.bias", "W_dec", "b_dec")

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        moved = x if is_transcoder else x - b_dec
        codes = keep_largest((moved @ weight.T + bias).relu(), k)
        return Forward(codes, codes @ w_dec + b_dec)

    subtract = None if is_transcoder else b_dec
    return Source(
        f"sparsify {'transcoder' if is_transcoder else 'topk'}",
        express(weight.T, bias, w_dec, b_dec, k=k, subtract=subtract),
        forward,
        True,
        is_transcoder,
        (config.path, file.path),
        folder.name,
        () if is_transcoder else ("b_dec folded into b_enc",),
    )
