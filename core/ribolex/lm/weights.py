"""Reads and writes RiNALMo weights in the layouts that are about.

Two layouts are read: the reference code's checkpoints (fused `Wqkv`), as `.pt` or
safetensors, bare or inside a training checkpoint, and the multimolecule package's
folders (its own names and letter order). Ribolex writes the reference layout as
safetensors. Knows nothing of sequences or inference, nor where weights come from.
"""

import hashlib
import json
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ribolex.disk import sync
from ribolex.errors import CorruptArtefactError, CorruptInputError
from ribolex.lm.configuration import LmConfig
from ribolex.lm.hub import locate
from ribolex.lm.layouts import (
    LANDMARKS,
    Layout,
    count_blocks,
    from_multimolecule,
    layout_of,
    network_state,
    reference_state,
    unprefixed,
)
from ribolex.lm.model import RiNALMo

_UNREADABLE = (
    SafetensorError,
    UnpicklingError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    # What torch's unpickler falls over on bytes that are no pickle.
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    struct.error,
)
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_OFFICIAL_HEADS = 20
# What training frameworks call the weights among the other things they save.
_NESTS = ("state_dict", "model_state_dict", "model")


class Weights(NamedTuple):
    """A network as it was read, and the layout of its file."""

    network: RiNALMo
    layout: Layout
    file: Path


def load_network(path_or_name: str | Path) -> RiNALMo:
    """Returns the float32 network of a name, or whose weights lie at a path.

    Args:
        path_or_name: "bundled", or the name of a model that was pulled, or a `.pt`
            or `.safetensors` file, or a folder with `model.safetensors` or with one
            `.pt`. A folder's `config.json` tells the number of heads; without one
            there are 20, as in every published RiNALMo.

    Raises:
        CorruptInputError: the file cannot be read, or is no RiNALMo: the message
            names missing, unexpected, misshapen and broken tensors.
        ModelNotFoundError: the name is not known, or its weights are not here.
    """
    return read_weights(locate(path_or_name)).network


def read_weights(path: Path) -> Weights:
    """Returns the network of `load_network` with what was found in its file.

    Holds the weights in memory once, and one block of them a second time.

    Raises:
        CorruptInputError: as `load_network` does.
    """
    file = weights_file(path)
    tensors = read_tensors(file)
    layout = layout_of(tensors, file)
    tensors = unprefixed(tensors, LANDMARKS[layout])
    _check_values(tensors, file)
    if layout == "multimolecule":
        tensors = from_multimolecule(tensors, file)
    config = _infer_config(tensors, path)
    # On "meta" no memory is taken, and no time to draw numbers that are replaced.
    with torch.device("meta"):
        network = RiNALMo(config)
    _check_shapes(tensors, reference_state(network), file)
    network.load_state_dict(network_state(tensors, config), assign=True)
    return Weights(network, layout, file)


def weights_file(path: Path) -> Path:
    """Returns the file of weights at a path, which may be the file itself.

    Raises:
        CorruptInputError: a folder without weights, or with several files of them.
    """
    if not path.is_dir() or (path / WEIGHTS_FILE).exists():
        return path / WEIGHTS_FILE if path.is_dir() else path
    found = sorted(path.glob("*.pt"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        message = (
            f"expected {WEIGHTS_FILE} or one .pt file in the folder, found {names}"
        )
        raise CorruptInputError(str(path), message)
    return found[0]


def save_network(
    network: RiNALMo, folder: Path, *, name: str, dtype: torch.dtype
) -> None:
    """Writes `model.safetensors` and `config.json` in the reference layout.

    Each file appears whole or not at all, the weights first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.to(dtype).contiguous()
        for name, tensor in reference_state(network).items()
    }
    config = config_text({"name": name, **network.config.to_json()})
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as staging:
        weights, sizes = Path(staging) / WEIGHTS_FILE, Path(staging) / CONFIG_FILE
        save_file(tensors, weights)
        sizes.write_text(config)
        # safetensors lets nobody but the owner read; as readable as other files then.
        weights.chmod(sizes.stat().st_mode)
        for file in (weights, sizes):
            sync(file)
            file.replace(folder / file.name)
    sync(folder)


def config_text(fields: Mapping[str, Any]) -> str:
    """Returns the fields as they are written beside weights."""
    return json.dumps(fields, indent=2) + "\n"


def digest_network(network: RiNALMo) -> str:
    """Returns the SHA-256 of the float32 weights, the same for every layout."""
    digest = hashlib.sha256()
    for name, tensor in sorted(reference_state(network).items()):
        digest.update(name.encode())
        numbers = tensor.detach().cpu().float().contiguous().numpy()
        digest.update(numbers.data)
    return digest.hexdigest()


def read_tensors(file: Path) -> dict[str, Any]:
    """Returns what a weights file holds by name, on the CPU; runs nothing in it.

    Args:
        file: safetensors, whose floating point is given as float32, or else what
            `torch.save` wrote: bare, or one level down in a training checkpoint.

    Raises:
        CorruptInputError: it is not there, or not readable as weights alone.
    """
    try:
        if file.suffix == ".safetensors":
            return _read_safetensors(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CorruptInputError(str(file), "there is no such file") from error
    except UnpicklingError as error:
        message = "is not readable as weights alone, and nothing else in it is run"
        raise CorruptInputError(str(file), message) from error
    except _UNREADABLE as error:
        raise CorruptInputError(str(file), "is not readable as weights") from error
    if not isinstance(loaded, dict):
        raise CorruptInputError(str(file), "holds no dictionary of tensors")
    nests = [loaded[key] for key in _NESTS if isinstance(loaded.get(key), dict)]
    if len(nests) > 1:
        raise CorruptInputError(str(file), "holds more than one set of weights")
    return {str(name): value for name, value in (nests or [loaded])[0].items()}


def _read_safetensors(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        names = list(opened.keys())
    tensors = {}
    for name in names:
        # A copy, from a mapping of its own: the model does not hang on a file that
        # may change, and what was read does not stay in memory twice.
        with safe_open(file, framework="pt") as opened:
            found = opened.get_tensor(name)
            kind = torch.float32 if found.is_floating_point() else found.dtype
            tensors[name] = found.to(kind, copy=True)
    return tensors


def _check_values(tensors: dict[str, Any], file: Path) -> None:
    """Makes every tensor float32, one at a time; refuses what holds no numbers."""
    faults = []
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            faults.append(f"{name} is no tensor but {type(value).__name__}")
        elif not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            faults.append(f"{name} is {kind}, expected floating point")
        elif not (number := value.detach().float()).isfinite().all():
            faults.append(f"{name} holds NaN or infinity")
        else:
            tensors[name] = number
    if faults:
        raise CorruptInputError(str(file), _listed(faults))


def _check_shapes(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: Path
) -> None:
    faults = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    faults += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    faults += [
        f"{name} is {list(found[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in sorted(expected.items())
        if name in found and found[name].shape != tensor.shape
    ]
    if faults:
        raise CorruptInputError(str(file), _listed(faults))


def _listed(faults: list[str]) -> str:
    more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
    return "; ".join(faults[:8]) + more


def _infer_config(reference: Mapping[str, Tensor], path: Path) -> LmConfig:
    gate = reference[LANDMARKS["reference"]]
    if gate.ndim != 2:
        raise CorruptInputError(str(path), "holds no RiNALMo weights")
    ffn_hidden, d_model = gate.shape
    n_layers = count_blocks(reference, r"transformer\.blocks\.(\d+)\.")
    n_heads = _read_heads(path)
    if d_model % (2 * n_heads):
        message = f"{d_model} dimensions are not for {n_heads} heads; is the "
        message += f"{CONFIG_FILE} missing, or not theirs?"
        raise CorruptInputError(str(path), message)
    return LmConfig(d_model, n_layers, n_heads, ffn_hidden)


def read_name(path: Path) -> str:
    """Returns the model's name: as its folder states it, else that of the path."""
    stated = _read_config(path).get("name")
    if isinstance(stated, str) and stated:
        return stated
    return path.name if path.is_dir() else path.stem


def _read_config(path: Path) -> dict[str, Any]:
    folder = path.parent if path.name == WEIGHTS_FILE else path
    file = folder / CONFIG_FILE
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
