"""Reads and writes RiNALMo weights in the layouts that are about.

Two layouts are read: the reference code's checkpoints (fused `Wqkv`), as `.pt` or
safetensors, and the multimolecule package's folders (its own names and letter
order). Ribolex writes the reference layout as safetensors. Knows nothing of
sequences or inference.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from ribolex.errors import CorruptArtefactError, CorruptInputError
from ribolex.lm.configuration import LmConfig
from ribolex.lm.model import RiNALMo, padded_hidden
from ribolex.rna.alphabet import VOCABULARY

_UNREADABLE = (
    SafetensorError,
    UnpicklingError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
)
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_OFFICIAL_HEADS = 20
# Rows of multimolecule's 28-letter embedding; "?" is a letter RiNALMo does not have.
_MULTIMOLECULE_LETTERS = [
    *("<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "?"),
    *"ACGTNRYSWKMBDHVI????-?",
]

_PARTS = {
    "mh_attn.Wqkv.weight": "attention.qkv.weight",
    "mh_attn.out_proj.weight": "attention.out.weight",
    "attn_layer_norm.weight": "attention_norm.weight",
    "attn_layer_norm.bias": "attention_norm.bias",
    "transition.0.beta": "ffn.beta",
    "transition.2.weight": "ffn.down.weight",
    "transition.2.bias": "ffn.down.bias",
    "out_layer_norm.weight": "ffn_norm.weight",
    "out_layer_norm.bias": "ffn_norm.bias",
}
_ENDS = {
    "embedding.weight": "embedding.weight",
    "transformer.final_layer_norm.weight": "final_norm.weight",
    "transformer.final_layer_norm.bias": "final_norm.bias",
    "lm_mask_head.linear1.weight": "head.dense.weight",
    "lm_mask_head.linear1.bias": "head.dense.bias",
    "lm_mask_head.layer_norm.weight": "head.norm.weight",
    "lm_mask_head.layer_norm.bias": "head.norm.bias",
    "lm_mask_head.linear2.weight": "head.decoder.weight",
    "lm_mask_head.linear2.bias": "head.decoder.bias",
}
_MULTIMOLECULE_PARTS = {
    "attention.output.dense.weight": "mh_attn.out_proj.weight",
    "attention.layer_norm.weight": "attn_layer_norm.weight",
    "attention.layer_norm.bias": "attn_layer_norm.bias",
    "intermediate.bias": "transition.0.beta",
    "intermediate.linear.weight": "transition.0.linear.weight",
    "intermediate.linear.bias": "transition.0.linear.bias",
    "intermediate.linear_gate.weight": "transition.0.linear_gate.weight",
    "intermediate.linear_gate.bias": "transition.0.linear_gate.bias",
    "output.dense.weight": "transition.2.weight",
    "output.dense.bias": "transition.2.bias",
    "layer_norm.weight": "out_layer_norm.weight",
    "layer_norm.bias": "out_layer_norm.bias",
}
_MULTIMOLECULE_ENDS = {
    "model.encoder.layer_norm.weight": "transformer.final_layer_norm.weight",
    "model.encoder.layer_norm.bias": "transformer.final_layer_norm.bias",
    "lm_head.transform.dense.weight": "lm_mask_head.linear1.weight",
    "lm_head.transform.dense.bias": "lm_mask_head.linear1.bias",
    "lm_head.transform.layer_norm.weight": "lm_mask_head.layer_norm.weight",
    "lm_head.transform.layer_norm.bias": "lm_mask_head.layer_norm.bias",
}


def load_network(path: Path) -> RiNALMo:
    """Returns the float32 network whose weights lie at a file or folder.

    Args:
        path: a `.pt` or `.safetensors` file in the reference layout, or a folder
            with `model.safetensors` in either layout.

    Raises:
        CorruptInputError: the file cannot be read, or is no RiNALMo: the message
            names missing, unexpected and misshapen tensors.
    """
    file = path / WEIGHTS_FILE if path.is_dir() else path
    reference = _reference_layout(_read_tensors(file), file)
    config = _infer_config(reference, path)
    network = RiNALMo(config)
    state = _network_state(reference, config, file)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    faults = [f"missing {name}" for name in sorted(expected.keys() - state.keys())]
    faults += [f"unexpected {name}" for name in sorted(state.keys() - expected.keys())]
    faults += [
        f"{name} is {list(state[name].shape)}, expected {list(shape)}"
        for name, shape in sorted(expected.items())
        if name in state and state[name].shape != shape
    ]
    if faults:
        raise CorruptInputError(str(file), "; ".join(faults[:8]))
    network.load_state_dict(state)
    return network


def save_network(
    network: RiNALMo, folder: Path, *, name: str, dtype: torch.dtype
) -> None:
    """Writes `model.safetensors` and `config.json` in the reference layout."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.to(dtype).contiguous()
        for name, tensor in reference_state(network).items()
    }
    save_file(tensors, folder / WEIGHTS_FILE)
    config = {"name": name, **network.config.to_json()}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def digest_network(network: RiNALMo) -> str:
    """Returns the SHA-256 of the float32 weights, the same for every layout."""
    digest = hashlib.sha256()
    for name, tensor in sorted(reference_state(network).items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def reference_state(network: RiNALMo) -> dict[str, Tensor]:
    """Returns the weights under the reference code's names, padding cut off."""
    hidden, padded = network.config.ffn_hidden, padded_hidden(network.config.ffn_hidden)
    state = network.state_dict()
    out = {theirs: state[ours] for theirs, ours in _ENDS.items()}
    for block in range(network.config.n_layers):
        theirs, ours = f"transformer.blocks.{block}.", f"blocks.{block}."
        for part, name in _PARTS.items():
            out[theirs + part] = state[ours + name]
        down = theirs + "transition.2.weight"
        out[down] = out[down][:, :hidden]
        for kind in ("weight", "bias"):
            fused = state[f"{ours}ffn.up_gate.{kind}"]
            out[f"{theirs}transition.0.linear.{kind}"] = fused[:hidden]
            gate = fused[padded : padded + hidden]
            out[f"{theirs}transition.0.linear_gate.{kind}"] = gate
    return out


def _read_tensors(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CorruptInputError(str(file), "there is no such file") from error
    except _UNREADABLE as error:
        raise CorruptInputError(str(file), "is not readable as weights") from error
    if not isinstance(loaded, dict):
        raise CorruptInputError(str(file), "holds no dictionary of tensors")
    return loaded


def _reference_layout(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    if "model.embeddings.word_embeddings.weight" in tensors:
        return _from_multimolecule(tensors, file)
    return {
        name: tensor.float()
        for name, tensor in tensors.items()
        if not name.endswith("rotary_emb.inv_freq")
    }


def _from_multimolecule(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    rows = torch.tensor([_MULTIMOLECULE_LETTERS.index(name) for name in VOCABULARY])
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    try:
        out = {
            "embedding.weight": tensors["model.embeddings.word_embeddings.weight"][
                rows
            ],
            "lm_mask_head.linear2.weight": tensors["lm_head.decoder.weight"][rows],
            "lm_mask_head.linear2.bias": tensors["lm_head.bias"][rows],
        }
        for theirs, ours in _MULTIMOLECULE_ENDS.items():
            out[ours] = tensors[theirs]
        for block in range(_count_blocks(tensors, r"model\.encoder\.layer\.(\d+)\.")):
            source, target = (
                f"model.encoder.layer.{block}.",
                f"transformer.blocks.{block}.",
            )
            for theirs, ours in _MULTIMOLECULE_PARTS.items():
                out[target + ours] = tensors[source + theirs]
            out[target + "mh_attn.Wqkv.weight"] = torch.cat(
                [
                    tensors[f"{source}attention.self.{part}.weight"]
                    for part in ("query", "key", "value")
                ]
            )
    except KeyError as error:
        raise CorruptInputError(str(file), f"missing {error.args[0]}") from error
    return out


def _count_blocks(names: Mapping[str, Tensor], pattern: str) -> int:
    found = [int(m.group(1)) for name in names if (m := re.match(pattern, name))]
    return max(found, default=-1) + 1


def _infer_config(reference: Mapping[str, Tensor], path: Path) -> LmConfig:
    gate = reference.get("transformer.blocks.0.transition.0.linear.weight")
    if gate is None or gate.ndim != 2:
        raise CorruptInputError(str(path), "holds no RiNALMo weights")
    ffn_hidden, d_model = gate.shape
    n_layers = _count_blocks(reference, r"transformer\.blocks\.(\d+)\.")
    return LmConfig(d_model, n_layers, _read_heads(path), ffn_hidden)


def read_name(path: Path) -> str:
    """Returns the model's name: as its folder states it, else that of the path."""
    stated = _read_config(path).get("name")
    if isinstance(stated, str) and stated:
        return stated
    return path.name if path.is_dir() else path.stem


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG_FILE
    if not file.is_file():
        return {}
    try:
        fields = json.loads(file.read_text())
    except ValueError as error:
        raise CorruptArtefactError(str(file), "is not JSON") from error
    if not isinstance(fields, dict):
        raise CorruptArtefactError(str(file), "is not a JSON object")
    return fields


def _read_heads(path: Path) -> int:
    fields = _read_config(path)
    heads = fields.get("n_heads", fields.get("num_attention_heads", _OFFICIAL_HEADS))
    if not isinstance(heads, int) or heads < 1:
        raise CorruptArtefactError(
            str(path / CONFIG_FILE), f"the number of heads is {heads!r}"
        )
    return heads


def _network_state(
    reference: Mapping[str, Tensor], config: LmConfig, file: Path
) -> dict[str, Tensor]:
    padding = padded_hidden(config.ffn_hidden) - config.ffn_hidden
    left = dict(reference)
    out = {ours: left.pop(theirs) for theirs, ours in _ENDS.items() if theirs in left}
    for block in range(config.n_layers):
        theirs, ours = f"transformer.blocks.{block}.", f"blocks.{block}."
        for part, name in _PARTS.items():
            if theirs + part in left:
                out[ours + name] = left.pop(theirs + part)
        down = f"{ours}ffn.down.weight"
        if down in out:
            out[down] = F.pad(out[down], (0, padding))
        for kind, pad in (("weight", (0, 0, 0, padding)), ("bias", (0, padding))):
            names = [f"{theirs}transition.0.linear{x}.{kind}" for x in ("", "_gate")]
            if missing := [name for name in names if name not in left]:
                raise CorruptInputError(str(file), f"missing {missing[0]}")
            halves = [F.pad(left.pop(name), pad) for name in names]
            out[f"{ours}ffn.up_gate.{kind}"] = torch.cat(halves)
    return out | left
