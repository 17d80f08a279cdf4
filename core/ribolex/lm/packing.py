"""Puts sequences of many lengths into rectangles with little padding.

Knows token arrays only; nothing of models or files.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from ribolex.rna.alphabet import CLS, EOS, PAD


class Rectangle(NamedTuple):
    """Token rows of one padded batch."""

    tokens: Int[Tensor, "row token"]
    """int64 ids, padded on the right."""
    is_token: Bool[Tensor, "row token"] | None
    """False at padding; None when no row has any."""
    is_nucleotide: Bool[Tensor, "row token"]
    """False at CLS, EOS and padding."""

    def to(self, device: torch.device) -> "Rectangle":
        """Returns the rectangle on a device."""
        is_token = None if self.is_token is None else self.is_token.to(device)
        return Rectangle(
            self.tokens.to(device), is_token, self.is_nucleotide.to(device)
        )


def bucket(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Returns indices grouped so that no group's rectangle exceeds `max_tokens`.

    Sequences are grouped by length, longest first; every index comes once. One
    sequence longer than the budget gets a group of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    groups: list[list[int]] = []
    for index in order:
        group = groups[-1] if groups else []
        if group and lengths[group[0]] * (len(group) + 1) <= max_tokens:
            group.append(index)
        else:
            groups.append([index])
    return groups


def collate(sequences: Sequence[UInt8[np.ndarray, " _token"]]) -> Rectangle:
    """Returns the rectangle that holds the framed token arrays, in order."""
    lengths = [len(sequence) for sequence in sequences]
    tokens = np.full((len(sequences), max(lengths)), PAD, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = sequence
    is_token = tokens != PAD
    is_nucleotide = is_token & (tokens != CLS) & (tokens != EOS)
    return Rectangle(
        torch.from_numpy(tokens),
        None if is_token.all() else torch.from_numpy(is_token),
        torch.from_numpy(is_nucleotide),
    )
