"""Activations to try an imported autoencoder on: of a file, of RNAs, of random RNAs.

Knows nothing of autoencoders.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ribolex.dictionary import Moments
from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.activations import Activations, cache_activations
from ribolex.trainer.corpus import choose, read_corpus
from ribolex.trainer.interchange.tensors import TensorFile

_RANDOM_RNAS, _RANDOM_LENGTH = 64, 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the model an autoencoder reads, and what it rebuilds."""

    layer: int
    """Counted from 1."""
    hook: Hook = "normed"
    target_layer: int | None = None
    """Of a transcoder, which rebuilds this layer."""
    is_difference: bool = False
    """Whether it rebuilds that layer less its own."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Activations, and the RNAs that they are of."""

    x: Float32[Tensor, "token d_in"]
    y: Float32[Tensor, "token d_out"] | None
    """What a transcoder is to rebuild, where it is known."""
    rnas: tuple[Rna, ...]
    """Random ones where none were given."""
    activations: Activations | None
    """Of `rnas`, where those were given."""
    origin: str
    """What they are, for people."""

    @property
    def is_real(self) -> bool:
        """Whether somebody gave the data, so that figures on it mean something."""
        return self.activations is not None or "random" not in self.origin


def sample_rnas(
    lm: LanguageModel, place: Place, table: Path, n_nucleotides: int, seed: int
) -> Sample:
    """Returns the activations of RNAs of a table, families taken in turn.

    Raises:
        CorruptInputError, InvalidSequenceError: the table is not what it should be.
        InvalidRequestError: a layer that the model does not have, or no RNA.
    """
    generator = np.random.default_rng(seed)
    rnas = choose(read_corpus([table], lm.max_nucleotides), n_nucleotides, generator)
    if not rnas:
        raise InvalidRequestError("--rnas", f"{table} holds no RNA that fits the model")
    target = place.target_layer
    layers = [place.layer] if target is None else [place.layer, target]
    with tempfile.TemporaryDirectory(prefix="ribolex-import-") as home:
        found = cache_activations(
            lm, rnas, layers, place.hook, Path(home), lambda done, total: None
        )
        # Off the disk, which goes away with this folder.
        rows = {layer: np.array(cached.rows[:]) for layer, cached in found.items()}
        own = found[place.layer]
        origins = np.array(own.rnas), np.array(own.positions), np.array(own.offsets)
    activations = Activations(rows[place.layer], *origins)
    x = torch.from_numpy(rows[place.layer].astype(np.float32))
    y = None if target is None else torch.from_numpy(rows[target].astype(np.float32))
    y = y - x if y is not None and place.is_difference else y
    origin = f"{len(rnas):,} RNAs of {table.name}"
    return _checked(Sample(x, y, tuple(rnas), activations, origin), table)


def sample_random(lm: LanguageModel, place: Place, seed: int) -> Sample:
    """Returns the activations of random RNAs: they prove algebra and no more.

    Raises:
        InvalidRequestError: a layer that the model does not have.
    """
    rnas = random_rnas(seed)
    layers = [place.layer] + ([place.target_layer] if place.target_layer else [])
    found = lm.activations([rna.sequence for rna in rnas], layers, place.hook)
    x, *rest = (
        torch.from_numpy(np.concatenate([each[layer] for each in found]).astype("f4"))
        for layer in layers
    )
    y = rest[0] - (x if place.is_difference else 0) if rest else None
    return Sample(x, y, tuple(rnas), None, f"{len(rnas)} random RNAs")


def sample_file(path: Path, d_in: int, seed: int) -> Sample:
    """Returns the activations in a .npy or safetensors file ("x", and "y" if any).

    Raises:
        CorruptInputError: it holds no such rows.
    """
    if path.suffix == ".npy":
        x, y = _npy(path), None
    else:
        file = TensorFile.open(path)
        names = [name for name in file.tensors if name != "y"]
        name = "x" if "x" in file else names[0] if len(names) == 1 else "x"
        x = file.take(name, None, d_in).float()
        y = file.take("y", len(x), None).float() if "y" in file else None
    if x.ndim != 2 or x.shape[1] != d_in:
        message = f"is {list(x.shape)}, expected [rows, {d_in}]"
        raise CorruptInputError(path, message)
    rnas = tuple(random_rnas(seed))
    return _checked(Sample(x, y, rnas, None, f"rows of {path.name}"), path)


def random_rnas(seed: int) -> list[Rna]:
    """Returns some short RNAs of random letters."""
    letters = np.random.default_rng(seed).choice(
        list("ACGU"), (_RANDOM_RNAS, _RANDOM_LENGTH)
    )
    return [Rna(f"random{i}", "".join(row), None, {}) for i, row in enumerate(letters)]


def read_moments(means: Path, stds: Path, d_in: int) -> Moments:
    """Returns the mean and deviation that activations were standardised with.

    Args:
        means: .npy, or safetensors of one tensor.
        stds: the same.
        d_in: how many.

    Raises:
        CorruptInputError: a file is not that, or a deviation is not above 0.
    """
    mean, sigma = (_vector(path, d_in) for path in (means, stds))
    if not (sigma > 0).all():
        raise CorruptInputError(stds, "holds a deviation that is not above 0")
    return Moments(mean, sigma)


def _vector(path: Path, d_in: int) -> Float32[Tensor, " d_in"]:
    if path.suffix == ".npy":
        found = _npy(path)
    elif path.suffix == ".safetensors":
        file = TensorFile.open(path)
        if len(file.tensors) != 1:
            names = ", ".join(sorted(file.tensors)) or "nothing"
            raise CorruptInputError(path, f"holds {names}, expected one tensor")
        found = file.take(next(iter(file.tensors)), None).float()
    else:
        raise CorruptInputError(path, "is neither .npy nor .safetensors")
    if found.shape != (d_in,) or not found.isfinite().all():
        message = f"is {list(found.shape)}, expected [{d_in}] finite numbers"
        raise CorruptInputError(path, message)
    return found


def _npy(path: Path) -> Float[Tensor, "*shape"]:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptInputError(path, "is not readable as an array") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        raise CorruptInputError(path, "holds no array of floating point")
    return torch.from_numpy(np.array(found, np.float32))


def _checked(sample: Sample, path: Path) -> Sample:
    if len(sample.x) < 2:
        message = f"gives {len(sample.x)} rows of activations, expected 2 or more"
        raise CorruptInputError(path, message)
    for rows in (sample.x, sample.y):
        if rows is not None and not rows.isfinite().all():
            raise CorruptInputError(path, "gives activations of NaN or infinity")
    return sample
