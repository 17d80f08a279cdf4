"""How far an effect would go if other relatives had been looked at: a bootstrap.

Clans are drawn anew with Poisson weights; where a label is a clan or family itself, its
RNAs are. Knows nothing of tests.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64

from ribolex.trainer.annotation.compiled import compiled, over_features
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.labels import Labels

N_DRAWS = 200


class Redrawn(NamedTuple):
    """What each pair of feature and label comes to in every draw."""

    precision: Float32[np.ndarray, "pair draw"]
    """Share with the label where the feature fires; NaN if it fires nowhere."""
    base: Float32[np.ndarray, "pair draw"]
    """Share with the label everywhere."""


def redraw(
    firings: Firings,
    labels: Labels,
    groups: Int32[np.ndarray, " member"],
    features: Int64[np.ndarray, " pair"],
    chosen: Int64[np.ndarray, " pair"],
    seed: int,
) -> Redrawn:
    """Returns precision and base of some pairs in every draw of groups.

    Args:
        firings: of members.
        labels: of the same members.
        groups: what each member is drawn with; those of one side by side.
        features: of each pair, rising.
        chosen: label of each pair.
        seed: of the draws.
    """
    n_groups = int(groups[-1]) + 1 if len(groups) else 0
    generator = np.random.default_rng(seed)
    weights = generator.poisson(1.0, (n_groups, N_DRAWS)).astype(np.float32)
    used, columns = np.unique(chosen, return_inverse=True)
    totals = np.zeros((len(used), N_DRAWS), np.float32)
    for column, label in enumerate(used):
        own = labels.slots[:, labels.slot_of[label]]
        has = np.bincount(groups[own == label], minlength=n_groups)
        known = np.bincount(groups[own != -2], minlength=n_groups)
        under = np.maximum(known.astype(np.float32) @ weights, 1)
        totals[column] = (has.astype(np.float32) @ weights) / under
    precision = np.zeros((len(features), N_DRAWS), np.float32)

    def kernel(start: int, stop: int) -> None:
        _redraw(
            firings.offsets, firings.rows, start, stop, features, chosen,
            labels.slots, labels.slot_of, groups, weights, precision,
        )  # fmt: skip

    for _ in over_features(kernel, len(features)):
        pass
    return Redrawn(precision, totals[columns.ravel()])


@compiled
def _redraw(  # type: ignore[no-untyped-def]
    offsets, rows, start, stop, features, labels, slots, slot_of, groups, weights, out
):
    n_draws = weights.shape[1]
    under = np.zeros(n_draws, np.float32)
    for p in range(start, stop):
        label = labels[p]
        slot, i, end = slot_of[label], offsets[features[p]], offsets[features[p] + 1]
        under[:] = 0
        while i < end:
            group, fired, hits = groups[rows[i]], 0, 0
            while i < end and groups[rows[i]] == group:
                own = slots[rows[i], slot]
                fired += own != -2
                hits += own == label
                i += 1
            if fired:
                for d in range(n_draws):
                    under[d] += weights[group, d] * np.float32(fired)
                    out[p, d] += weights[group, d] * np.float32(hits)
        for d in range(n_draws):
            out[p, d] = out[p, d] / under[d] if under[d] > 0 else np.nan
