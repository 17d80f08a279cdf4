"""How far an effect would go if other relatives had been looked at: a bootstrap.

Clans are drawn anew with Poisson weights; where a label is a clan or family itself, its
RNAs are. What would be by chance is drawn with them. Knows nothing of tests.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64
from scipy import sparse

from ribolex.trainer.annotation.compiled import compiled, over_features
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.labels import UNKNOWN, Labels

N_DRAWS = 200


class Redrawn(NamedTuple):
    """What each pair of feature and label comes to in every draw."""

    precision: Float32[np.ndarray, "pair draw"]
    """Share with the label where the feature fires; NaN if it fires nowhere."""
    base: Float32[np.ndarray, "pair draw"]
    """Share expected there; NaN likewise."""


class Groups(NamedTuple):
    """How members are drawn, and what they are compared with."""

    of: Int32[np.ndarray, " member"]
    """What each is drawn with; those of one side by side."""
    strata: Int64[np.ndarray, " member"]
    """Chance is the label's share among members of the same."""


def redraw(
    firings: Firings,
    labels: Labels,
    groups: Groups,
    features: Int64[np.ndarray, " pair"],
    chosen: Int64[np.ndarray, " pair"],
    seed: int,
) -> Redrawn:
    """Returns precision and base of some pairs in every draw of groups.

    Args:
        firings: of members.
        labels: of the same members.
        groups: of the same members.
        features: of each pair, rising.
        chosen: label of each pair.
        seed: of the draws.
    """
    n_groups = int(groups.of[-1]) + 1 if len(groups.of) else 0
    generator = np.random.default_rng(seed)
    weights = generator.poisson(1.0, (n_groups, N_DRAWS)).astype(np.float32)
    used, columns = np.unique(chosen, return_inverse=True)
    shares = _shares(labels, groups, used, weights)
    precision = np.zeros((len(features), N_DRAWS), np.float32)
    base = np.zeros((len(features), N_DRAWS), np.float32)

    def kernel(start: int, stop: int) -> None:
        _redraw(
            firings.offsets, firings.rows, start, stop, features, chosen,
            labels.slots, labels.slot_of, groups.of, groups.strata, weights,
            columns.ravel(), shares, precision, base,
        )  # fmt: skip

    for _ in over_features(kernel, len(features)):
        pass
    return Redrawn(precision, base)


def _shares(
    labels: Labels,
    groups: Groups,
    used: Int64[np.ndarray, " used"],
    weights: Float32[np.ndarray, "group draw"],
) -> Float32[np.ndarray, "used stratum draw"]:
    """Returns the share of each label in each stratum, in every draw."""
    n_strata = int(groups.strata.max(initial=0)) + 1
    cells = groups.strata * len(weights) + groups.of
    shape = n_strata, len(weights)
    out = np.zeros((len(used), n_strata, weights.shape[1]), np.float32)
    for i, label in enumerate(used):
        own = labels.slots[:, labels.slot_of[label]]
        parts = [
            np.bincount(cells[kept], minlength=n_strata * len(weights)).reshape(shape)
            for kept in (own == label, own != UNKNOWN)
        ]
        has, known = (sparse.csr_array(part) @ weights for part in parts)
        out[i] = has / np.maximum(known, 1)
    return out


@compiled
def _redraw(  # type: ignore[no-untyped-def]
    offsets, rows, start, stop, features, labels, slots, slot_of, groups, strata,
    weights, columns, shares, out, base,
):  # fmt: skip
    n_strata, n_draws = shares.shape[1:]
    under = np.zeros((n_strata, n_draws), np.float32)
    fired = np.zeros(n_strata, np.int64)
    for p in range(start, stop):
        label = labels[p]
        slot, i, end = slot_of[label], offsets[features[p]], offsets[features[p] + 1]
        under[:] = 0
        while i < end:
            group, hits = groups[rows[i]], 0
            first, last = n_strata, -1
            while i < end and groups[rows[i]] == group:
                own, stratum = slots[rows[i], slot], strata[rows[i]]
                if own != -2:
                    fired[stratum] += 1
                    first, last = min(first, stratum), max(last, stratum)
                hits += own == label
                i += 1
            for s in range(first, last + 1):
                if fired[s]:
                    for d in range(n_draws):
                        under[s, d] += weights[group, d] * np.float32(fired[s])
                    fired[s] = 0
            if hits:
                for d in range(n_draws):
                    out[p, d] += weights[group, d] * np.float32(hits)
        for d in range(n_draws):
            total = np.float32(0)
            for s in range(n_strata):
                total += under[s, d]
                base[p, d] += under[s, d] * shares[columns[p], s, d]
            out[p, d] = out[p, d] / total if total > 0 else np.nan
            base[p, d] = base[p, d] / total if total > 0 else np.nan
