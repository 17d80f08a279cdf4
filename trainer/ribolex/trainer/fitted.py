"""What a fit gave, in one file. No pickle.

Knows nothing of how it was fitted.
"""

from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ribolex.dictionary import Moments, Sae
from ribolex.disk import write_whole
from ribolex.errors import CorruptArtefactError
from ribolex.trainer.fit import Fitted

_MOMENTS = ("moments", "target_moments")


def write_fitted(path: Path, fitted: Fitted) -> None:
    """Writes the weights and the moments, whole or not at all."""
    sae = fitted.sae
    names = [field.name for field in fields(Sae) if field.name != "k"]
    tensors = {n: getattr(sae, n) for n in names if getattr(sae, n) is not None}
    for name in _MOMENTS:
        for key, tensor in getattr(fitted, name)._asdict().items():
            tensors[f"{name}.{key}"] = tensor
    tensors["k"] = torch.tensor(sae.k)
    write_whole(path, save({n: t.detach().cpu().clone() for n, t in tensors.items()}))


def read_fitted(path: Path) -> Fitted:
    """Returns what was written.

    Raises:
        CorruptArtefactError: it is not what was written.
    """
    try:
        tensors = load_file(path)
        moments = [
            Moments(tensors.pop(f"{name}.mean"), tensors.pop(f"{name}.sigma"))
            for name in _MOMENTS
        ]
        k = int(tensors.pop("k"))
        return Fitted(Sae(**tensors, k=k), *moments)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise CorruptArtefactError(path, "holds no fit") from error
