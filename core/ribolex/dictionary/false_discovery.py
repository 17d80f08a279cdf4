"""False-discovery rates of many tests. Knows numbers only."""

import numpy as np
from jaxtyping import Float


def benjamini_hochberg(
    p_values: Float[np.ndarray, " test"], n_tests: int
) -> Float[np.ndarray, " test"]:
    """Returns the false-discovery rate at which each test would be taken.

    Args:
        p_values: of the tests that may be taken.
        n_tests: all tests made, those included that have p = 1 and are not listed.
    """
    order = np.argsort(p_values)
    scaled = p_values[order] * n_tests / np.arange(1, len(order) + 1)
    q_values = np.empty(len(order))
    q_values[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.minimum(q_values, 1.0)
