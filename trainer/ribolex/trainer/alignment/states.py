"""The vectors that nucleotides of each letter lie around, for the states of a model.

Knows nothing of what states are for.
"""

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.cluster.vq import kmeans2

from ribolex.dictionary.alignment import N_CLUSTERS

_ROUNDS = 20


def cluster(
    letters: UInt8[np.ndarray, " nucleotide"],
    vectors: Float32[np.ndarray, "nucleotide width"],
    generator: np.random.Generator,
) -> Float32[np.ndarray, "4 31 width"]:
    """Returns the means of N_CLUSTERS clusters for each of four letters (k-means).

    Of a letter with fewer nucleotides some occur more than once.
    """
    out = np.zeros((4, N_CLUSTERS, vectors.shape[1]), np.float32)
    for letter in range(4):
        own = vectors[letters == letter]
        if len(np.unique(own, axis=0)) > N_CLUSTERS:
            out[letter], _ = kmeans2(
                own, N_CLUSTERS, _ROUNDS, minit="++", rng=generator
            )
        elif len(own):
            out[letter] = np.resize(np.unique(own, axis=0), out[letter].shape)
    # As they are kept in a file.
    return out.astype(np.float16).astype(np.float32)
