"""Names and order of RiNALMo's tensors: the reference code's, multimolecule's, ours.

Turns one into another. Knows tensors by their names only; nothing of files.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ribolex.errors import CorruptInputError
from ribolex.lm.configuration import LmConfig
from ribolex.lm.model import RiNALMo, padded_hidden
from ribolex.rna.alphabet import VOCABULARY

Layout = Literal["reference", "multimolecule"]
"""Whose names and order of letters a file of weights goes by."""

LANDMARKS: dict[Layout, str] = {
    "reference": "transformer.blocks.0.transition.0.linear.weight",
    "multimolecule": "model.embeddings.word_embeddings.weight",
}
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
_BELONGS = re.compile(r"model\.e(mbeddings|ncoder)\.|lm_head\.transform\.")
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


def count_parameters(config: LmConfig) -> int:
    """Returns how many numbers a model of these sizes has, padding left out."""
    with torch.device("meta"):
        network = RiNALMo(config)
    return sum(tensor.numel() for tensor in reference_state(network).values())


def layout_of(tensors: Mapping[str, Any], file: Path) -> Layout:
    """Returns whose layout the names of a file's tensors are.

    Raises:
        CorruptInputError: nobody's, or of both.
    """
    found: list[Layout] = [
        layout
        for layout, landmark in LANDMARKS.items()
        if any(_is_under(landmark, name) for name in tensors)
    ]
    if len(found) != 1:
        raise CorruptInputError(str(file), "holds no RiNALMo weights")
    return found[0]


def _is_under(landmark: str, name: str) -> bool:
    return name == landmark or name.endswith(f".{landmark}")


def unprefixed(tensors: dict[str, Any], landmark: str) -> dict[str, Any]:
    """Returns the tensors without the name of a module that held the model.

    What does not lie under it keeps its name, and is told of as unexpected.
    """
    name = min((name for name in tensors if _is_under(landmark, name)), key=len)
    prefix = name.removesuffix(landmark)
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if not name.endswith("rotary_emb.inv_freq")
    }


def from_multimolecule(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Returns the tensors in the reference layout; takes out those it has read.

    What is left over of the network goes along, to be told of as unexpected.

    Raises:
        CorruptInputError: one is missing, or some do not go together.
    """
    rows = torch.tensor([_MULTIMOLECULE_LETTERS.index(name) for name in VOCABULARY])
    take = tensors.pop
    try:
        out = {
            "embedding.weight": take(LANDMARKS["multimolecule"])[rows],
            "lm_mask_head.linear2.weight": take("lm_head.decoder.weight")[rows],
            "lm_mask_head.linear2.bias": take("lm_head.bias")[rows],
        }
        for theirs, ours in _MULTIMOLECULE_ENDS.items():
            out[ours] = take(theirs)
        for block in range(count_blocks(tensors, r"model\.encoder\.layer\.(\d+)\.")):
            source = f"model.encoder.layer.{block}."
            target = f"transformer.blocks.{block}."
            for theirs, ours in _MULTIMOLECULE_PARTS.items():
                out[target + ours] = take(source + theirs)
            parts = [
                take(f"{source}attention.self.{part}.weight")
                for part in ("query", "key", "value")
            ]
            out[target + "mh_attn.Wqkv.weight"] = torch.cat(parts)
    except KeyError as error:
        raise CorruptInputError(str(file), f"missing {error.args[0]}") from error
    except (IndexError, RuntimeError) as error:
        message = "tensors have shapes that do not go together"
        raise CorruptInputError(str(file), message) from error
    # A pooler, heads for other tasks and a second name of the bias may be there too.
    left = {name: x for name, x in tensors.items() if _BELONGS.match(name)}
    return out | left


def count_blocks(names: Mapping[str, Tensor], pattern: str) -> int:
    """Returns how many blocks there are if the highest number is not missing."""
    found = [int(m.group(1)) for name in names if (m := re.match(pattern, name))]
    return max(found, default=-1) + 1


def network_state(left: dict[str, Tensor], config: LmConfig) -> dict[str, Tensor]:
    """Returns the tensors of the reference layout under our names; empties `left`.

    So no tensor that was joined or padded stays in memory beside its copy.

    Args:
        left: exactly the tensors that `reference_state` names, of those shapes.
        config: sizes of the network.
    """
    padding = padded_hidden(config.ffn_hidden) - config.ffn_hidden
    out = {ours: left.pop(theirs) for theirs, ours in _ENDS.items()}
    for block in range(config.n_layers):
        theirs, ours = f"transformer.blocks.{block}.", f"blocks.{block}."
        for part, name in _PARTS.items():
            out[ours + name] = left.pop(theirs + part)
        if padding:
            down = f"{ours}ffn.down.weight"
            out[down] = F.pad(out[down], (0, padding))
        for kind, pad in (("weight", (0, 0, 0, padding)), ("bias", (0, padding))):
            names = [f"{theirs}transition.0.linear{x}.{kind}" for x in ("", "_gate")]
            halves = [F.pad(left.pop(name), pad) for name in names]
            out[f"{ours}ffn.up_gate.{kind}"] = torch.cat(halves)
    return out
