"""Writes weights of any readable layout in the one that Ribolex writes.

The folder appears whole or not at all. Nothing is written over.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from ribolex.errors import InvalidRequestError
from ribolex.lm.hub import locate
from ribolex.lm.layouts import reference_state
from ribolex.lm.weights import read_name, read_weights, save_network


class Converted(NamedTuple):
    """What was written."""

    name: str
    n_parameters: int
    largest_error: float
    """Of a weight, by rounding to the numbers it was written in."""


def convert(source: str, folder: Path, dtype_name: str) -> Converted:
    """Writes a model to a new folder, as `save_network` does.

    Args:
        source: a name or path, as `load_network` takes them.
        folder: must not exist yet; the one it is to lie in is made if need be.
        dtype_name: "float32", "float16" or "bfloat16".

    Raises:
        InvalidRequestError: the folder exists, or a weight is beyond the numbers.
        ModelNotFoundError, CorruptInputError: as `load_network` does.
    """
    if folder.exists():
        raise InvalidRequestError("OUT", f"{folder} exists already; name a new folder")
    path, dtype = locate(source), getattr(torch, dtype_name)
    network = read_weights(path).network
    name, tensors = read_name(path), reference_state(network)
    error = 0.0
    for tensor in tensors.values():
        difference = (tensor.to(dtype).float() - tensor).abs().max().item()
        error = max(error, difference)
        if not error < float("inf"):
            message = f"{dtype_name} cannot hold a weight of this model; take bfloat16"
            raise InvalidRequestError("--dtype", message)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=folder.parent) as home:
        staged = Path(home) / folder.name
        save_network(network, staged, name=name, dtype=dtype)
        staged.rename(folder)
    n_parameters = sum(tensor.numel() for tensor in tensors.values())
    return Converted(name, n_parameters, error)
