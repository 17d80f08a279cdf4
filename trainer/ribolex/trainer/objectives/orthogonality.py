r"""A penalty on features that point alike, after OrtSAE (arXiv 2509.22033).

Features are dealt into chunks anew each step. With c_i the largest cosine between the
decoder row of feature i and another of its chunk,

    penalty = mean over i of relu(c_i)^2

It is added, with a weight, to TopK, BatchTopK or Matryoshka. Chunks make its cost grow
linearly with the features; only the nearest of each carries gradient.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 256
"""At most so many features are compared with each other."""


def orthogonality(
    rows: Float[Tensor, "n_features d_out"], order: Int[np.ndarray, " n_features"]
) -> Float[Tensor, ""]:
    """Returns the penalty.

    Args:
        rows: decoder rows of length 1.
        order: a permutation of the features, cut into chunks.
    """
    dealt = torch.from_numpy(order).to(rows.device)
    chunks = dealt.tensor_split(-(-len(dealt) // CHUNK))
    nearest = torch.cat([_nearest(rows, chunk) for chunk in chunks])
    return (rows[dealt] * rows[nearest]).sum(1).relu().square().mean()


@torch.no_grad()
def _nearest(rows: Tensor, chunk: Tensor) -> Tensor:
    mine = rows[chunk]
    cosines = (mine @ mine.T).fill_diagonal_(-1)
    return chunk[cosines.argmax(1)]
