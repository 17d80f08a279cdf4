"""Tensors and settings of a file from outside, each checked as it is taken.

Knows nothing of what they mean.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ribolex.errors import CorruptInputError
from ribolex.lm.weights import read_tensors


@dataclass(frozen=True, slots=True)
class TensorFile:
    """What a weights file holds, by name."""

    path: Path
    tensors: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> "TensorFile":
        """Returns the tensors of a safetensors or `torch.save` file; runs no code.

        Raises:
            CorruptInputError: it is neither, or holds more than weights.
        """
        return cls(path, read_tensors(path))

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def refuse_others(self, *known: str) -> None:
        """Refuses tensors of other names: they might change what is computed.

        Raises:
            CorruptInputError: names them.
        """
        others = sorted(set(self.tensors) - set(known))
        if others:
            message = f"holds {', '.join(others)}, expected only {', '.join(known)}"
            raise CorruptInputError(self.path, message)

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Returns a tensor of numbers as float64.

        Args:
            name: of the tensor.
            shape: what it must be; None for an axis of any length.

        Raises:
            CorruptInputError: it is missing, of another shape, no floating point, or
                not finite.
        """
        found = self._find(name)
        expected = ["any" if length is None else length for length in shape]
        fits = len(found.shape) == len(shape) and all(
            want in (None, got) for got, want in zip(found.shape, shape, strict=True)
        )
        if not fits:
            turned = len(shape) == 2 and tuple(found.shape) == (shape[1], shape[0])
            more = "; it is transposed" if turned else ""
            message = f"{name} is {list(found.shape)}, expected {expected}{more}"
            raise CorruptInputError(self.path, message)
        if not found.is_floating_point():
            kind = str(found.dtype).removeprefix("torch.")
            message = f"{name} is {kind}, expected floating point"
            raise CorruptInputError(self.path, message)
        numbers = found.detach().double()
        if not numbers.isfinite().all():
            raise CorruptInputError(self.path, f"{name} holds NaN or infinity")
        return numbers

    def take_count(self, name: str) -> int:
        """Returns a tensor that is one whole number.

        Raises:
            CorruptInputError: it is missing or something else.
        """
        found = self._find(name)
        if found.numel() != 1 or found.is_floating_point() or found.is_complex():
            message = f"{name} is {found.dtype} {list(found.shape)}, expected one count"
            raise CorruptInputError(self.path, message)
        return int(found)

    def take_flag(self, name: str) -> bool:
        """Returns a tensor that is one truth value; False where it is missing."""
        return name in self.tensors and bool(self.take_count(name))

    def _find(self, name: str) -> Tensor:
        found = self.tensors.get(name)
        if not isinstance(found, Tensor):
            what = "is missing" if found is None else f"is {type(found).__name__}"
            message = f"{name} {what}, expected a tensor; the file holds "
            names = ", ".join(sorted(self.tensors)[:12]) or "none"
            raise CorruptInputError(self.path, message + names)
        size = found.untyped_storage().nbytes() // found.element_size()
        if found.layout != torch.strided or found.numel() > size:
            message = f"{name} stands for more numbers than the file holds"
            raise CorruptInputError(self.path, message)
        return found


@dataclass(frozen=True, slots=True)
class Settings:
    """A JSON object of settings."""

    path: Path
    fields: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> "Settings":
        """Returns the settings in a file.

        Raises:
            CorruptInputError: it is no JSON object, or cannot be read.
        """
        try:
            fields = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise CorruptInputError(path, "is no readable JSON file") from error
        if not isinstance(fields, dict):
            raise CorruptInputError(path, "is no JSON object of settings")
        return cls(path, fields)

    def get(self, name: str, kind: type, default: Any) -> Any:
        """Returns a setting of a type, or the default where there is none.

        Raises:
            CorruptInputError: it is of another type.
        """
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            message = f"{name} is {value!r}, expected {kind.__name__}"
            raise CorruptInputError(self.path, message)
        return value

    def group(self, name: str) -> "Settings":
        """Returns the settings inside another; empty where there are none."""
        return Settings(self.path, self.get(name, dict, {}))

    def count(self, name: str) -> int:
        """Returns a whole number above 0.

        Raises:
            CorruptInputError: it is missing or something else.
        """
        value = self.get(name, int, None)
        if value is None or value < 1:
            message = f"{name} is {value!r}, expected a whole number above 0"
            raise CorruptInputError(self.path, message)
        return int(value)

    def refuse(self, reason: str) -> CorruptInputError:
        """Returns the error that says why these settings cannot be imported."""
        return CorruptInputError(self.path, reason)
