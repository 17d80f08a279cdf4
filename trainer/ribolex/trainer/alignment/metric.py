"""A direction of each feature, so that codes of nucleotides can be compared.

The decoder's directions, whitened: what a code rebuilds is projected on its principal
directions, each of mean square 1, so that those which vary little count as much as the
few that vary most and tell little more than the letter. Directions learned from
aligned columns of families on which the language model was trained look far better
there and do worse on others (docs/search.md), so nothing is learned from labels here.
Not centred, so that vectors stay sums of their features' shares.
"""

import numpy as np
import torch
from jaxtyping import Float32

from ribolex.dictionary import Codes, Sae

_FLOOR = 1e-6
"""Of the largest mean square; directions below have no say."""
_ROWS_A_PART = 65_536


def whiten(
    sae: Sae, codes: Codes, width: int
) -> Float32[np.ndarray, "n_features width"]:
    """Returns the direction of each feature.

    Args:
        sae: whose features they are.
        codes: of many nucleotides.
        width: of the directions; fewer if the decoder has fewer.
    """
    decoder = sae.W_dec.detach().cpu().float()
    squares = torch.zeros(sae.d_out, sae.d_out, dtype=torch.float64)
    for start in range(0, len(codes), _ROWS_A_PART):
        part = codes.slice(start, min(start + _ROWS_A_PART, len(codes)))
        rebuilt = torch.nn.functional.embedding_bag(
            torch.from_numpy(part.indices.astype(np.int64)),
            decoder,
            torch.from_numpy(np.ascontiguousarray(part.indptr)),
            mode="sum",
            per_sample_weights=torch.from_numpy(part.values.copy()),
            include_last_offset=True,
        ).double()
        squares += rebuilt.T @ rebuilt
    means, directions = torch.linalg.eigh(squares / max(len(codes), 1))
    means, directions = means.flip(0), directions.flip(1)
    scales = 1 / means.clamp_min(_FLOOR * float(means[0]) + 1e-30).sqrt()
    whitened = decoder.double() @ (directions * scales)[:, :width]
    # Only directions matter; so they keep well in half precision.
    whitened /= whitened.abs().max().clamp_min(1e-30)
    out: Float32[np.ndarray, "n_features width"]
    out = whitened.numpy().astype(np.float16).astype(np.float32)
    return out
