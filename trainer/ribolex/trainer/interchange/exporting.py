"""A dictionary's weights in the formats of other tools, read back and compared.

Knows nothing of language models: what is compared is rebuilt from the panel's codes.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float32
from safetensors.torch import save
from torch import Tensor

from ribolex.dictionary import Dictionary, Sae, load_dictionary
from ribolex.dictionary.artefact import CONFIG_FILE, WEIGHTS_FILE
from ribolex.errors import CorruptArtefactError, InvalidRequestError
from ribolex.trainer.interchange import interplm, sparsify
from ribolex.trainer.interchange.reading import FORMATS, read_source
from ribolex.trainer.interchange.source import Reading
from ribolex.trainer.interchange.verify import Agreement, compare

TARGETS = FORMATS

_NOISE = 0.1


class Exported(NamedTuple):
    """What was written, and how near it is to the dictionary."""

    ref: str
    files: tuple[str, ...]
    agreement: Agreement


def export_dictionary(source: Path, path: Path, form: str) -> Exported:
    """Writes a dictionary's weights as another tool has them.

    Args:
        source: the dictionary's folder.
        path: the folder to be; not there yet.
        form: one of `TARGETS`.

    Raises:
        CorruptArtefactError: the folder is no sound dictionary.
        InvalidRequestError: the format cannot hold this dictionary exactly (says
            why), or something is at `path`.
    """
    if path.exists():
        raise InvalidRequestError("OUT", f"{path} exists already; name a new folder")
    dictionary = load_dictionary(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=path.parent) as home:
        staged = Path(home) / path.name
        staged.mkdir()
        _WRITERS[form](dictionary, source, staged)
        agreement = _read_back(dictionary, staged, form)
        names = tuple(sorted(file.name for file in staged.iterdir()))
        staged.rename(path)
    return Exported(dictionary.ref, names, agreement)


def _write_saelens(dictionary: Dictionary, source: Path, staged: Path) -> None:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(source / name, staged / name)


def _write_sparsify(dictionary: Dictionary, source: Path, staged: Path) -> None:
    sae, is_transcoder = dictionary.sae, dictionary.identity.target is not None
    if sae.threshold is not None:
        message = "sparsify keeps the k largest and has no thresholds; take saelens"
        raise InvalidRequestError("--format", f"{dictionary.ref}: {message}")
    config = {
        "activation": "topk",
        "expansion_factor": max(1, sae.n_features // sae.d_in),
        "normalize_decoder": False,
        "num_latents": sae.n_features,
        "k": sae.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": is_transcoder,
        "d_in": sae.d_in,
    }
    tensors = {
        "encoder.weight": sae.W_enc.T.contiguous(),
        "encoder.bias": sae.b_enc if is_transcoder else _bias_of_centred(sae),
        "W_dec": sae.W_dec,
        "b_dec": sae.b_dec,
    }
    _write_json(staged / sparsify.CONFIG_FILE, config)
    (staged / sparsify.WEIGHTS_FILE).write_bytes(save(tensors))


def _write_interplm(dictionary: Dictionary, source: Path, staged: Path) -> None:
    """Writes what InterPLM calls TopKSAE, ReLUSAE or JumpReLUSAE."""
    sae, identity = dictionary.sae, dictionary.identity
    if identity.target is not None:
        message = "InterPLM knows no transcoders; take saelens"
        raise InvalidRequestError("--format", f"{dictionary.ref}: {message}")
    tensors = {
        "encoder.weight": sae.W_enc.T.contiguous(),
        "encoder.bias": sae.b_enc,
        "decoder.weight": sae.W_dec.T.contiguous(),
    }
    if sae.threshold is None:
        name = "AutoEncoderTopK"
        tensors |= {"encoder.bias": _bias_of_centred(sae), "b_dec": sae.b_dec}
        tensors |= {"k": torch.tensor(sae.k, dtype=torch.int)}
        tensors |= {"threshold": torch.tensor(-1.0)}
    elif sae.threshold.any():
        name = "JumpReLUSAE"
        tensors |= {"decoder.bias": sae.b_dec, "threshold": sae.threshold}
    else:
        name = "AutoEncoder"
        tensors |= {"encoder.bias": _bias_of_centred(sae), "bias": sae.b_dec}
    trainer = {
        "dict_class": name,
        "activation_dim": sae.d_in,
        "dict_size": sae.n_features,
        "k": sae.k,
        "lm_name": identity.lm_name,
        "layer": identity.layer,
        "submodule_name": identity.hook,
    }
    _write_json(staged / interplm.CONFIG_FILE, {"trainer": trainer})
    torch.save(tensors, staged / "ae.pt")


_WRITERS: dict[str, Callable[[Dictionary, Path, Path], None]] = {
    "saelens": _write_saelens,
    "sparsify": _write_sparsify,
    "interplm": _write_interplm,
}


def _bias_of_centred(sae: Sae) -> Float32[Tensor, " n_features"]:
    """Returns the bias of an encoder that takes b_dec from what it reads first."""
    return (sae.b_enc.double() + sae.b_dec.double() @ sae.W_enc.double()).float()


def _write_json(path: Path, fields: object) -> None:
    path.write_text(json.dumps(fields, indent=1) + "\n")


def _read_back(dictionary: Dictionary, staged: Path, form: str) -> Agreement:
    """Returns how the written weights do in the other tool's forward pass."""
    sae = dictionary.sae
    source = read_source(staged, form, Reading())
    ours = replace(sae, k=sae.k if source.is_topk else sae.n_features)
    agreement = compare(replace(source, sae=ours), _rows_like_panel(dictionary))
    if not agreement.is_exact:
        message = (
            f"as {form} its codes would be off by {agreement.codes:.2g}, what is "
            f"rebuilt by {agreement.rebuilt:.2g}: too much for float32 weights"
        )
        raise CorruptArtefactError(dictionary.ref, message)
    return agreement


def _rows_like_panel(dictionary: Dictionary) -> Float32[Tensor, "token d_in"]:
    """Returns activations such as this dictionary reads.

    Those that the panel's codes stand for, jittered; of a transcoder, whose codes
    stand for something else, the mean of what it reads, jittered.
    """
    generator = torch.Generator().manual_seed(0)
    identity, sae = dictionary.identity, dictionary.sae
    mean = torch.tensor(identity.standardisation.mean)
    sigma = torch.tensor(identity.standardisation.sigma)
    codes = dictionary.panel.codes
    n = max(1, len(codes))
    jitter = torch.randn(n, sae.d_in, generator=generator) * sigma
    if identity.target is not None or not len(codes):
        return mean + jitter
    dense = torch.zeros(n, sae.n_features)
    owners = torch.from_numpy(codes.rows_of_entries())
    features = torch.from_numpy(codes.indices.astype("int64"))
    dense[owners, features] = torch.from_numpy(codes.values)
    return dense @ sae.W_dec + sae.b_dec + _NOISE * jitter
