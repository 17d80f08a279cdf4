"""Lays token arrays of many lengths one after the other, without padding.

Knows token arrays only; nothing of models or files.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor

from ribolex.rna.alphabet import MASK


class Packed(NamedTuple):
    """The tokens of several sequences in one row."""

    lengths: tuple[int, ...]
    """Tokens of each sequence, in the order they lie."""
    tokens: Int[Tensor, " token"]
    """int64 ids."""
    places: Int[Tensor, " token"]
    """int64; place of each token in its own sequence, from 0."""
    mask_share: Float[Tensor, " token"]
    """float32; share of MASK among the tokens of each token's sequence."""
    boundaries: Int32[Tensor, " _boundary"]
    """int32 [sequences + 1]; where each sequence begins, and the end of the last."""

    def to(self, device: torch.device) -> "Packed":
        """Returns it on a device; to a GPU from pinned memory, without waiting."""
        if device.type == "cpu":
            return self
        if device.type == "cuda":
            moved = [
                part.pin_memory().to(device, non_blocking=True) for part in self[1:]
            ]
        else:
            moved = [part.to(device) for part in self[1:]]
        return Packed(self.lengths, *moved)


def bucket(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Returns indices in groups of at most `max_tokens` tokens, like lengths together.

    Longest first; every index comes once. One sequence longer than the budget gets a
    group of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    groups: list[list[int]] = []
    n_tokens = 0
    for index in order:
        if not groups or n_tokens + lengths[index] > max_tokens:
            groups.append([])
            n_tokens = 0
        groups[-1].append(index)
        n_tokens += lengths[index]
    return groups


def pack(sequences: Sequence[UInt8[np.ndarray, " _token"]]) -> Packed:
    """Returns the framed token arrays in one row, in their order."""
    lengths = [len(sequence) for sequence in sequences]
    shares = [np.count_nonzero(s == MASK) / len(s) for s in sequences]
    return Packed(
        tuple(lengths),
        torch.from_numpy(np.concatenate(sequences).astype(np.int64)),
        torch.from_numpy(np.concatenate([np.arange(n) for n in lengths])),
        torch.from_numpy(np.repeat(np.asarray(shares, dtype=np.float32), lengths)),
        torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)),
    )


def hide(packed: Packed, rows: Sequence[int]) -> Packed:
    """Returns the same tokens with MASK in some rows; what is given stays as it is."""
    tokens = packed.tokens.clone()
    tokens[torch.as_tensor(rows, dtype=torch.int64, device=tokens.device)] = MASK
    lengths = packed.boundaries.diff()
    seen = torch.zeros(len(tokens) + 1, dtype=torch.int32, device=tokens.device)
    seen[1:] = (tokens == MASK).cumsum(0)
    share = seen[packed.boundaries.long()].diff() / lengths
    shares = share.repeat_interleave(lengths, output_size=len(tokens))
    return packed._replace(tokens=tokens, mask_share=shares.float())
