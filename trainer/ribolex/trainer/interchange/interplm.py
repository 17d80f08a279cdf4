"""ae.pt of InterPLM and dictionary_learning, and InterProt's weights.

Which architecture it is, the names of its tensors tell, but for one pair: TopK and
BatchTopK are saved alike, and run differently. Everything is as the classes of these
tools encode by default, one nucleotide at a time.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.trainer.interchange.source import (
    Forward,
    Gate,
    Reading,
    Source,
    express,
    keep_largest,
)
from ribolex.trainer.interchange.tensors import Settings, TensorFile

CONFIG_FILE = "config.json"
RESCALE = "activation_rescale_factor"
_PER_TOKEN = "normalize_to_sqrt_d"
_TRAINING_ONLY = ("stats_last_nonzero",)
_CHOICES = {"AutoEncoderTopK": "topk", "TopKSAE": "topk", "BatchTopKSAE": "batchtopk"}

_LINEAR = frozenset({"encoder.weight", "encoder.bias", "decoder.weight"})
_GATED = frozenset({"encoder.weight", "decoder.weight", "decoder_bias"}) | {
    "r_mag",
    "gate_bias",
    "mag_bias",
}
_PARAMETERS = frozenset({"W_enc", "b_enc", "W_dec", "b_dec", "threshold"})


def read_interplm(path: Path, reading: Reading) -> Source:
    """Returns the autoencoder in an ae.pt, or in a safetensors file of such names.

    Args:
        path: the file; a config.json beside it is read for the name of the class.
        reading: what the file cannot tell.

    Raises:
        CorruptInputError: the file is none of these, or what it holds cannot be
            expressed exactly: says what and why.
        InvalidRequestError: an option is needed to tell what it is, or does not fit.
    """
    file = TensorFile.open(path)
    if file.take_flag(_PER_TOKEN):
        message = f"{_PER_TOKEN} is true: each nucleotide is scaled by its own length"
        raise CorruptInputError(path, f"{message}, which no weights can stand for")
    extras = {RESCALE, _PER_TOKEN, *_TRAINING_ONLY}
    names = frozenset(file.tensors) - extras
    if names not in _KINDS:
        known = "; ".join(", ".join(sorted(kind)) for kind in _KINDS)
        message = f"holds {', '.join(sorted(names)) or 'nothing'}, expected {known}"
        raise CorruptInputError(path, message)
    return _rescaled(_KINDS[names](file, reading), file, reading)


def _read_relu(file: TensorFile, reading: Reading) -> Source:
    """Reads `AutoEncoder`, InterPLM's `ReLUSAE`: f = relu(W (x - bias) + b)."""
    del reading
    weight, bias, decoder = _linear(file)
    centre = file.take("bias", weight.shape[1])

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        codes = ((x - centre) @ weight.T + bias).relu()
        return Forward(codes, codes @ decoder.T + centre)

    sae = express(weight.T, bias, decoder.T, centre, subtract=centre)
    source = Source("InterPLM relu", sae, forward, False, False, (file.path,))
    return replace(source, notes=("bias folded into b_enc",))


def _read_biased(file: TensorFile, reading: Reading) -> Source:
    """Reads `AutoEncoderNew`, InterPLM's `ReLUSAE_Tied` and `JumpReLUSAE`."""
    del reading
    weight, bias, decoder = _linear(file)
    b_dec = file.take("decoder.bias", weight.shape[1])
    has_threshold = "threshold" in file
    floor = torch.zeros_like(bias)
    if has_threshold:
        floor = file.take("threshold", len(bias))

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        scores = x @ weight.T + bias
        codes = (scores * (scores > floor)).relu() if has_threshold else scores.relu()
        return Forward(codes, codes @ decoder.T + b_dec)

    sae = express(weight.T, bias, decoder.T, b_dec, threshold=floor)
    name = "jumprelu" if has_threshold else "relu, biased decoder"
    return Source(f"InterPLM {name}", sae, forward, False, False, (file.path,))


def _read_topk(file: TensorFile, reading: Reading) -> Source:
    """Reads `AutoEncoderTopK` or `BatchTopKSAE`."""
    weight, bias, decoder = _linear(file)
    b_dec = file.take("b_dec", weight.shape[1])
    threshold = float(file.take("threshold"))
    choice = reading.choice or _CHOICES.get(_class_name(file.path))
    if choice is None:
        message = "TopK and BatchTopK are saved alike; say which with --activation"
        raise InvalidRequestError("--activation", f"{file.path}: {message}")
    k = _check_k(file.take_count("k"), len(bias), file.path)

    def scores_of(x: Float64[Tensor, "token d_in"]) -> Tensor:
        return ((x - b_dec) @ weight.T + bias).relu()

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        codes = keep_largest(scores_of(x), k)
        return Forward(codes, codes @ decoder.T + b_dec)

    if choice == "batchtopk":
        return _batchtopk(
            file, scores_of, (weight.T, bias, decoder.T, b_dec), threshold
        )
    sae = express(weight.T, bias, decoder.T, b_dec, k=k, subtract=b_dec)
    source = Source("InterPLM topk", sae, forward, True, False, (file.path,))
    return replace(source, notes=("b_dec folded into b_enc",))


def _read_parameters(file: TensorFile, reading: Reading) -> Source:
    """Reads `JumpReluAutoEncoder` or `MatryoshkaBatchTopKSAE`, with W_enc and so on."""
    del reading
    w_enc = file.take("W_enc", None, None)
    d_in, n_features = w_enc.shape
    b_enc, w_dec = file.take("b_enc", n_features), file.take("W_dec", n_features, d_in)
    b_dec = file.take("b_dec", d_in)
    if "group_sizes" in file:
        threshold = float(file.take("threshold"))

        def scores_of(x: Float64[Tensor, "token d_in"]) -> Tensor:
            return ((x - b_dec) @ w_enc + b_enc).relu()

        return _batchtopk(file, scores_of, (w_enc, b_enc, w_dec, b_dec), threshold)
    floor = file.take("threshold", n_features)

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        scores = x @ w_enc + b_enc
        codes = (scores * (scores > floor)).relu()
        return Forward(codes, codes @ w_dec + b_dec)

    sae = express(w_enc, b_enc, w_dec, b_dec, threshold=floor)
    return Source("InterPLM jumprelu", sae, forward, False, False, (file.path,))


def _read_gated(file: TensorFile, reading: Reading) -> Source:
    """Reads `GatedAutoEncoder`."""
    del reading
    weight = file.take("encoder.weight", None, None)
    n_features, d_in = weight.shape
    decoder = file.take("decoder.weight", d_in, n_features)
    b_dec = file.take("decoder_bias", d_in)
    b_gate, b_mag, r_mag = (
        file.take(name, n_features) for name in ("gate_bias", "mag_bias", "r_mag")
    )

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        encoded = (x - b_dec) @ weight.T
        opens = (encoded + b_gate) > 0
        codes = opens * (r_mag.exp() * encoded + b_mag).relu()
        return Forward(codes, codes @ decoder.T + b_dec)

    gate = Gate.of(weight.T, b_gate, b_mag, r_mag)
    sae = express(
        gate.w_enc,
        gate.b_enc,
        decoder.T,
        b_dec,
        threshold=gate.threshold,
        subtract=b_dec,
    )
    source = Source("InterPLM gated", sae, forward, False, False, (file.path,))
    return replace(source, notes=("gates expressed as thresholds, exactly",))


def _read_interprot(file: TensorFile, reading: Reading) -> Source:
    """Reads InterProt's `SparseAutoencoder`, if it has no LayerNorm before it."""
    if not reading.no_input_norm:
        message = (
            "InterProt normalises each nucleotide by its own mean and deviation, which "
            "no weights can stand for; if this one was trained without, say so with "
            "--no-input-norm"
        )
        raise CorruptInputError(file.path, message)
    w_enc = file.take("w_enc", None, None)
    d_in, n_features = w_enc.shape
    w_dec = file.take("w_dec", n_features, d_in)
    b_enc, b_pre = file.take("b_enc", n_features), file.take("b_pre", d_in)
    if reading.k is None:
        raise InvalidRequestError("--k", f"{file.path} does not tell its k; say it")
    k = _check_k(reading.k, n_features, file.path)

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        codes = keep_largest((x - b_pre) @ w_enc + b_enc, k)
        return Forward(codes, codes @ w_dec + b_pre)

    sae = express(w_enc, b_enc, w_dec, b_pre, k=k, subtract=b_pre)
    source = Source("InterProt topk", sae, forward, True, False, (file.path,))
    notes = ("b_pre folded into b_enc", "decoder rows left as long as they are")
    return replace(source, notes=notes)


Read = Callable[[TensorFile, Reading], Source]
_KINDS: dict[frozenset[str], Read] = {
    _LINEAR | {"bias"}: _read_relu,
    _LINEAR | {"decoder.bias"}: _read_biased,
    _LINEAR | {"decoder.bias", "threshold"}: _read_biased,
    _LINEAR | {"b_dec", "k", "threshold"}: _read_topk,
    _PARAMETERS: _read_parameters,
    _PARAMETERS | {"k", "group_sizes"}: _read_parameters,
    _GATED: _read_gated,
    frozenset({"w_enc", "w_dec", "b_enc", "b_pre"}): _read_interprot,
}


def _linear(file: TensorFile) -> tuple[Tensor, Tensor, Tensor]:
    weight = file.take("encoder.weight", None, None)
    n_features, d_in = weight.shape
    bias = file.take("encoder.bias", n_features)
    return weight, bias, file.take("decoder.weight", d_in, n_features)


def _batchtopk(
    file: TensorFile,
    scores_of: Callable[[Tensor], Tensor],
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    threshold: float,
) -> Source:
    """Returns what fires above the one threshold that training left."""
    if threshold < 0:
        message = f"threshold is {threshold:g}: none was set in training, so that every"
        raise CorruptInputError(file.path, f"{message} score above 0 would fire")
    w_enc, b_enc, w_dec, b_dec = weights

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        scores = scores_of(x)
        codes = scores * (scores > threshold)
        return Forward(codes, codes @ w_dec + b_dec)

    floor = torch.full_like(b_enc, threshold)
    sae = express(w_enc, b_enc, w_dec, b_dec, threshold=floor, subtract=b_dec)
    source = Source("InterPLM batchtopk", sae, forward, False, False, (file.path,))
    notes = ("b_dec folded into b_enc", f"one threshold for all, {threshold:g}")
    return replace(source, notes=notes)


def _check_k(k: int, n_features: int, path: Path) -> int:
    if not 1 <= k <= n_features:
        message = f"k is {k}, expected 1 to {n_features}, the number of its features"
        raise CorruptInputError(path, message)
    return k


def _class_name(path: Path) -> str:
    config = path.with_name(CONFIG_FILE)
    if not config.exists():
        return ""
    return str(Settings.open(config).group("trainer").get("dict_class", str, ""))


def _rescaled(source: Source, file: TensorFile, reading: Reading) -> Source:
    """Returns the source with codes divided by their largest, if that is wanted.

    InterPLM keeps the divisor for display and encodes without it by default.
    """
    if not reading.rescaled:
        left = f"{RESCALE} left out, as `encode` does by default"
        notes = (*source.notes, left) if RESCALE in file else source.notes
        return replace(source, notes=notes)
    factor = file.take(RESCALE, source.sae.n_features)
    if not (factor > 0).all():
        i = int((factor <= 0).nonzero()[0])
        message = f"{RESCALE}[{i}] is {float(factor[i]):g}, expected above 0"
        raise CorruptInputError(file.path, f"{message}; import without --rescaled")
    if source.is_topk and not torch.allclose(factor, factor[0]):
        message = "the k largest would be others after the division; leave it out"
        raise InvalidRequestError("--rescaled", message)
    return _divided(source, factor)


def _divided(source: Source, factor: Float64[Tensor, " n_features"]) -> Source:
    sae, inner = source.sae, source.forward
    floor = sae.threshold

    def forward(x: Float64[Tensor, "token d_in"]) -> Forward:
        codes, rebuilt = inner(x)
        return Forward(codes / factor, rebuilt)

    folded = replace(
        sae,
        W_enc=(sae.W_enc / factor).float(),
        b_enc=(sae.b_enc / factor).float(),
        W_dec=(sae.W_dec * factor[:, None]).float(),
        threshold=None if floor is None else (floor / factor).float(),
    )
    notes = (*source.notes, f"codes divided by {RESCALE}, folded in")
    return replace(source, sae=folded, forward=forward, notes=notes)
