"""Where a fit stands, in one file: written whole or not at all. No pickle.

Knows nothing of what the tensors mean.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ribolex.disk import write_whole
from ribolex.errors import CorruptArtefactError, InvalidRequestError

_FIT, _STEP = "fit", "step"


def write_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], fit: str, step: int
) -> None:
    """Writes a checkpoint in the place of the one before.

    Args:
        path: the file.
        tensors: all that changes in a fit.
        fit: what decides it; another one may not go on from here.
        step: steps taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {
        name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()
    }
    write_whole(path, save(held, {_FIT: fit, _STEP: str(step)}))


def read_checkpoint(path: Path, fit: str) -> tuple[dict[str, Tensor], int]:
    """Returns the tensors and how many steps were taken.

    Raises:
        CorruptArtefactError: the file is no checkpoint.
        InvalidRequestError: it is of another fit.
    """
    try:
        tensors = load_file(path)
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            said = json.loads(file.read(size))["__metadata__"]
        found, step = said[_FIT], int(said[_STEP])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CorruptArtefactError(path, "cannot be read as a checkpoint") from error
    if found != fit:
        raise InvalidRequestError(
            "checkpoint", f"{path} is of the fit {found}, expected {fit}"
        )
    return tensors, step
