"""What a shared feature counts where diagonals are voted for.

Rare ones count most: a feature that fires in one nucleotide of 1,000 tells more of
where two RNAs belong together than one of every tenth. Knows nothing of votes' use.
"""

import numpy as np
from jaxtyping import Float32, Float64

from ribolex.dictionary import Codes

_POWER = 2.0


def weigh_votes(codes: Codes) -> Float32[np.ndarray, " n_features"]:
    """Returns ln(nucleotides / firings)² of each feature; 0 if it never fires.

    Args:
        codes: of many nucleotides.
    """
    firings = np.bincount(codes.indices, minlength=codes.n_features)
    rarity: Float64[np.ndarray, " n_features"] = np.log(
        max(len(codes), 1) / np.maximum(firings, 1)
    )
    weights: Float32[np.ndarray, " n_features"]
    weights = np.where(firings > 0, rarity**_POWER, 0).astype(np.float32)
    return weights
