"""SAELens folders: cfg.json and sae_weights.safetensors, of version 6 and before.

As SAELens 6.54 runs them: x (less b_dec if `apply_b_dec_to_input`) W_enc + b_enc, the
architecture's activation, W_dec + b_dec.
"""

from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from ribolex.dictionary import Moments, Sae
from ribolex.errors import CorruptInputError
from ribolex.trainer.interchange.source import (
    Compute,
    Forward,
    Gate,
    Reading,
    Source,
    express,
    keep_largest,
)
from ribolex.trainer.interchange.tensors import Settings, TensorFile

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
SCALER_FILE = "activation_scaler.json"

_READ = ("standard", "topk", "jumprelu", "gated", "transcoder", "jumprelu_transcoder")
_REFUSED = {
    "skip_transcoder": "its linear path past the features is no part of any feature",
    "jumprelu_skip_transcoder": "its linear path past the features is no part of any",
    "abstopk": "its codes are negative too, and ours are not",
    "batchtopk": "is a training checkpoint; save the autoencoder for inference",
    "matryoshka_batchtopk": "is a training checkpoint; save it for inference",
}
_PER_TOKEN = {
    "constant_norm_rescale": "scales each nucleotide by its own length",
    "layer_norm": "normalises each nucleotide by its own mean and deviation",
}


def read_saelens(folder: Path, reading: Reading) -> Source:
    """Returns the autoencoder in a SAELens folder.

    Raises:
        CorruptInputError: a file is not what SAELens writes, or what it describes
            cannot be expressed exactly: says which setting and why.
    """
    config = Settings.open(folder / CONFIG_FILE)
    weights = TensorFile.open(folder / WEIGHTS_FILE)
    architecture = _architecture(config)
    has_gate, is_transcoder = architecture == "gated", "transcoder" in architecture
    d_in, n_features = config.count("d_in"), config.count("d_sae")
    d_out = config.count("d_out") if is_transcoder else d_in
    biases = ("b_gate", "b_mag", "r_mag") if has_gate else ("b_enc",)
    if "jumprelu" in architecture:
        biases = (*biases, "threshold")
    found = {
        "W_enc": weights.take("W_enc", d_in, n_features),
        "W_dec": weights.take("W_dec", n_features, d_out),
        "b_dec": weights.take("b_dec", d_out),
        **{name: weights.take(name, n_features) for name in biases},
    }
    ignored = _check_scaling_tensor(weights)
    weights.refuse_others(*found, *ignored)
    subtracts = config.get("apply_b_dec_to_input", bool, not is_transcoder)
    if is_transcoder and subtracts:
        raise config.refuse("apply_b_dec_to_input is true, expected false")
    k = _k(config, n_features) if architecture == "topk" else None
    is_rescaled = k is not None and config.get(
        "rescale_acts_by_decoder_norm", bool, False
    )
    if is_rescaled and not found["W_dec"].norm(dim=-1).all():
        raise CorruptInputError(weights.path, "W_dec has a row of zeros to divide by")
    forward = _forward(found, k, subtracts, is_rescaled)
    notes = ["b_dec folded into b_enc"] if subtracts else []
    if is_rescaled:
        notes.append("decoder norms folded into the encoder")
    if has_gate:
        notes.append("gates expressed as thresholds, exactly")
    source = Source(
        f"SAELens {architecture}",
        _fold(found, k, subtracts, is_rescaled),
        forward,
        k is not None,
        is_transcoder,
        (config.path, weights.path),
        _place(config),
        tuple(notes),
    )
    return _scaled(source, config, reading)


def _architecture(config: Settings) -> str:
    name = config.get("architecture", str, "standard")
    function = config.get("activation_fn", str, None) or config.get(
        "activation_fn_str", str, "relu"
    )
    if name == "standard" and function == "topk":
        return "topk"
    if name in _REFUSED:
        raise config.refuse(f"architecture {name!r} cannot be read: {_REFUSED[name]}")
    if name not in _READ:
        raise config.refuse(f"architecture is {name!r}, expected one of {_READ}")
    if function not in ("relu", "topk"):
        raise config.refuse(f"activation_fn is {function!r}, expected 'relu' or 'topk'")
    if config.get("reshape_activations", str, "none") != "none":
        raise config.refuse("reads attention heads (reshape_activations), not a layer")
    if config.get("finetuning_scaling_factor", bool, False):
        raise config.refuse("finetuning_scaling_factor is true, expected false")
    return str(name)


def _check_scaling_tensor(weights: TensorFile) -> tuple[str, ...]:
    """Returns the names of tensors of older versions that have no effect."""
    name = "scaling_factor"
    if name not in weights:
        return ()
    if not torch.allclose(factor := weights.take(name, None), torch.ones_like(factor)):
        message = f"{name} is not all ones, and no setting says how it is used"
        raise CorruptInputError(weights.path, message)
    return (name,)


def _k(config: Settings, n_features: int) -> int:
    own = config if "k" in config.fields else config.group("activation_fn_kwargs")
    k = own.count("k")
    if k > n_features:
        raise config.refuse(f"k is {k}, expected at most d_sae, {n_features}")
    return k


def _place(config: Settings) -> str:
    metadata = config.group("metadata").fields or config.fields
    told = [metadata.get(name) for name in ("model_name", "hook_name", "hook_point")]
    return " ".join(str(part) for part in told if part)


def _forward(
    w: dict[str, Tensor], k: int | None, subtracts: bool, is_rescaled: bool
) -> Compute:
    """Returns SAELens' `decode(encode(x))` for activations that it does not scale."""

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        sae_in = x - w["b_dec"] if subtracts else x
        if "b_gate" in w:
            opens = (sae_in @ w["W_enc"] + w["b_gate"]) > 0
            magnitude = sae_in @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]
            codes = opens * magnitude.relu()
            return Forward(codes, codes @ w["W_dec"] + w["b_dec"])
        hidden = sae_in @ w["W_enc"] + w["b_enc"]
        norms = w["W_dec"].norm(dim=-1)
        if is_rescaled:
            hidden = hidden * norms
        if k is not None:
            codes = keep_largest(hidden, k)
        elif "threshold" in w:
            codes = hidden.relu() * (hidden > w["threshold"])
        else:
            codes = hidden.relu()
        weighed = codes * (1 / norms) if is_rescaled else codes
        return Forward(codes, weighed @ w["W_dec"] + w["b_dec"])

    return forward


def _fold(
    w: dict[str, Tensor], k: int | None, subtracts: bool, is_rescaled: bool
) -> Sae:
    w_enc, w_dec, threshold = w["W_enc"], w["W_dec"], w.get("threshold")
    if "b_gate" in w:
        w_enc, b_enc, threshold = Gate.of(w_enc, w["b_gate"], w["b_mag"], w["r_mag"])
    else:
        b_enc = w["b_enc"]
    if subtracts:
        # Before any scaling of features, which scales this share of b_enc as well.
        b_enc = b_enc - w["b_dec"] @ w_enc
    if is_rescaled:
        norms = w_dec.norm(dim=-1)
        w_enc, b_enc, w_dec = w_enc * norms, b_enc * norms, w_dec / norms[:, None]
    return express(w_enc, b_enc, w_dec, w["b_dec"], k=k, threshold=threshold)


def _scaled(source: Source, config: Settings, reading: Reading) -> Source:
    """Returns the source with SAELens' scaling of activations, if it can be folded."""
    mode = config.fields.get("normalize_activations") or "none"
    mode = "expected_average_only_in" if mode is True else mode
    if mode in _PER_TOKEN:
        message = f"normalize_activations {mode!r} {_PER_TOKEN[mode]}, which no weights"
        raise config.refuse(f"{message} can stand for")
    if mode == "none":
        return source
    if mode != "expected_average_only_in":
        raise config.refuse(f"normalize_activations is {mode!r}, which is not known")
    scale, files = reading.activation_scale, source.files
    scaler = config.path.with_name(SCALER_FILE)
    if scale is None and scaler.exists():
        scale = Settings.open(scaler).get("scaling_factor", float, None)
        files = (*files, scaler)
    if scale is None or not 0 < scale < float("inf"):
        message = (
            "normalize_activations is 'expected_average_only_in', but the factor is "
            f"neither in {SCALER_FILE} nor given with --activation-scale"
        )
        raise config.refuse(message)
    if source.is_transcoder:
        raise config.refuse("a transcoder whose activations are scaled is not known")
    return _with_scale(source, scale, files)


def _with_scale(source: Source, scale: float, files: tuple[Path, ...]) -> Source:
    inner, width = source.forward, source.sae.d_in

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        codes, rebuilt = inner(x * scale)
        return Forward(codes, rebuilt / scale)

    moments = Moments(torch.zeros(width), torch.full((width,), 1 / scale))
    note = f"activations scaled by {scale:g}, folded in"
    return Source(
        source.tool,
        source.sae.fold(moments),
        forward,
        source.is_topk,
        source.is_transcoder,
        files,
        source.place,
        (*source.notes, note),
    )
