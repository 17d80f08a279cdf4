"""How well a feature's value tells who has a label: one walk from strong to weak.

Counts are exact, ties included. Knows nothing of chance.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from ribolex.trainer.activations import Progress
from ribolex.trainer.annotation.compiled import compiled, over_features
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.labels import UNKNOWN, Labels


@dataclass(frozen=True, slots=True)
class Ranking:
    """Measures of every feature with every label, [n_features, label]; read-only.

    Over the members of which it is known whether they have the label. A member in which
    the feature does not fire comes after all others.
    """

    fired: Int64[np.ndarray, "n_features slot"]
    """Known members in which it fires."""
    hits: Int64[np.ndarray, "n_features label"]
    """Members with the label in which it fires."""
    auroc: Float32[np.ndarray, "n_features label"]
    average_precision: Float32[np.ndarray, "n_features label"]
    f1: Float32[np.ndarray, "n_features label"]
    """At its best threshold above 0."""
    labels: Labels
    expected: Float64[np.ndarray, "n_features label"]
    """Hits that would be there by chance: as many as the label has everywhere; of RNAs,
    in RNAs of their lengths."""

    @property
    def drawn(self) -> Int64[np.ndarray, "n_features label"]:
        """Known members in which it fires, by label."""
        out: Int64[np.ndarray, "n_features label"] = self.fired[:, self.labels.slot_of]
        return out

    @property
    def base(self) -> Float32[np.ndarray, " label"]:
        """Share with the label everywhere."""
        share = self.labels.totals / np.maximum(self.labels.known, 1)
        out: Float32[np.ndarray, " label"] = share.astype(np.float32)
        return out

    @property
    def precision(self) -> Float32[np.ndarray, "n_features label"]:
        """Share with the label where the feature fires; 0 where it never does."""
        share = self.hits / np.maximum(self.drawn, 1)
        out: Float32[np.ndarray, "n_features label"] = share.astype(np.float32)
        return out

    @property
    def recall(self) -> Float32[np.ndarray, "n_features label"]:
        """Share of those with the label in which the feature fires."""
        share = self.hits / np.maximum(self.labels.totals, 1)
        out: Float32[np.ndarray, "n_features label"] = share.astype(np.float32)
        return out

    @property
    def chance(self) -> Float32[np.ndarray, "n_features label"]:
        """Share with the label expected where the feature fires; 0 if it never does."""
        share = self.expected / np.maximum(self.drawn, 1)
        out: Float32[np.ndarray, "n_features label"] = share.astype(np.float32)
        return out

    @property
    def constant_f1(self) -> Float32[np.ndarray, " label"]:
        """F1 of the best predictor that looks at nothing: it always says yes."""
        out: Float32[np.ndarray, " label"] = 2 * self.base / (1 + self.base)
        return out

    @property
    def mcc(self) -> Float32[np.ndarray, "n_features label"]:
        """Matthews' correlation of firing with the label, hits over those expected.

        0 where either never is.
        """
        drawn, totals = self.drawn.astype(np.float64), self.labels.totals
        known = self.labels.known.astype(np.float64)
        over = (self.hits - self.expected) * known
        under = drawn * (known - drawn) * totals * (known - totals)
        found = np.where(under > 0, over / np.sqrt(np.maximum(under, 1.0)), 0.0)
        out: Float32[np.ndarray, "n_features label"] = found.astype(np.float32)
        return out


def rank(firings: Firings, labels: Labels, progress: Progress) -> Ranking:
    """Returns the measures of all features with all labels.

    Args:
        firings: of members (nucleotides, or RNAs).
        labels: of the same members.
        progress: is told about features.
    """
    n, n_labels = firings.n_features, len(labels)
    fired = np.zeros((n, labels.slots.shape[1]), np.int64)
    hits = np.zeros((n, n_labels), np.int64)
    measures = [np.zeros((n, n_labels), np.float32) for _ in range(3)]
    slot_known = (labels.slots != UNKNOWN).sum(0)

    def kernel(start: int, stop: int) -> None:
        _rank(
            firings.offsets,
            firings.rows,
            firings.values,
            start,
            stop,
            labels.slots,
            labels.slot_of,
            labels.totals,
            slot_known,
            fired,
            hits,
            *measures,
        )

    for done in over_features(kernel, n):
        progress(done, n)
    auroc, precision, f1 = measures
    shares = labels.totals / np.maximum(labels.known, 1)
    expected = fired[:, labels.slot_of] * shares
    return Ranking(fired, hits, auroc, precision, f1, labels, expected)


@compiled
def _rank(  # type: ignore[no-untyped-def]
    offsets, rows, values, start, stop, slots, slot_of, totals, known,
    fired, hits, auroc, precision, best_f1,
):  # fmt: skip
    """Fills rows start to stop of the last five."""
    n_labels, n_slots = len(totals), slots.shape[1]
    above = np.zeros(n_labels, np.int64)  # with the label, further up
    here = np.zeros(n_labels, np.int64)  # with the label, of this very value
    touched = np.empty(n_labels, np.int64)
    known_above = np.zeros(n_slots, np.int64)
    known_here = np.zeros(n_slots, np.int64)
    for f in range(start, stop):
        first, n = offsets[f], offsets[f + 1] - offsets[f]
        own = np.empty(n, np.float32)
        for i in range(n):
            own[i] = -values[first + i]
        order = np.argsort(own)
        above[:] = 0
        known_above[:] = 0
        wins = np.zeros(n_labels, np.float64)
        i = 0
        while i < n:
            value, n_touched = own[order[i]], 0
            known_here[:] = 0
            while i < n and own[order[i]] == value:
                row = rows[first + order[i]]
                for s in range(n_slots):
                    label = slots[row, s]
                    if label != -2:
                        known_here[s] += 1
                    if label >= 0:
                        if here[label] == 0:
                            touched[n_touched] = label
                            n_touched += 1
                        here[label] += 1
                i += 1
            for t in range(n_touched):
                label = touched[t]
                s, found = slot_of[label], here[label]
                others_here = known_here[s] - found
                others_above = known_above[s] - above[label]
                others = known[s] - totals[label]
                below = others - others_above - others_here
                wins[label] += found * (below + 0.5 * others_here)
                above[label] += found
                taken = known_above[s] + known_here[s]
                precision[f, label] += found * (above[label] / taken)
                f1 = 2.0 * above[label] / (taken + totals[label])
                if f1 > best_f1[f, label]:
                    best_f1[f, label] = f1
                here[label] = 0
            for s in range(n_slots):
                known_above[s] += known_here[s]
        for s in range(n_slots):
            fired[f, s] = known_above[s]
        for label in range(n_labels):
            total, all_known = totals[label], known[slot_of[label]]
            others = all_known - total
            if total == 0 or others == 0:
                continue
            missed = total - above[label]
            silent = others - (known_above[slot_of[label]] - above[label])
            hits[f, label] = above[label]
            auroc[f, label] = (wins[label] + 0.5 * missed * silent) / (total * others)
            precision[f, label] += missed * (total / all_known)
            precision[f, label] /= total
