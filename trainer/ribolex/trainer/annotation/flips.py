"""Features that mean nothing: they fire wherever a coin falls so.

All that could tell one RNA from another for them is how long it is: what they go with,
length or the tests have made. Knows nothing of tests.
"""

import numpy as np
from jaxtyping import Float32

from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.material import Material

_DENSEST = 0.999


def flip(
    density: Float32[np.ndarray, " n_features"], material: Material, seed: int = 0
) -> Firings:
    """Returns firings at nucleotides drawn by chance, with values drawn by chance.

    A row of a whole RNA fires if one of its nucleotides does; such a row of mean length
    has the density.

    Args:
        density: share of rows in which each feature is to fire, 0..1.
        material: whose rows they are.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    is_whole = material.positions < 0
    weights = np.where(is_whole, material.lengths[material.rna_of_row], 1.0)
    bounds = np.cumsum(weights)
    total = bounds[-1] if len(bounds) else 0.0
    mean = total / max(len(bounds), 1)
    rates = -np.log1p(-np.minimum(density.astype(np.float64), _DENSEST))
    rows, values = [], []
    for rate in rates.tolist():
        places = (
            generator.random(generator.poisson(rate * total / max(mean, 1))) * total
        )
        own = np.unique(np.searchsorted(bounds, places, "right")).astype(np.int32)
        rows.append(own)
        values.append(1 - generator.random(len(own), np.float32))
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    rows.append(np.empty(0, np.int32))
    values.append(np.empty(0, np.float32))
    return Firings(offsets, np.concatenate(rows), np.concatenate(values))
