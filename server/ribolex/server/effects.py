"""What a variant does: to the code of its RNA, and in the eyes of the language model.

All numbers are defined in variants.proto. Knows nothing of where codes and likelihoods
come from, or of messages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from ribolex.dictionary import compare_codes, near
from ribolex.rna.variants import Variant
from ribolex.server.engine.scoring import LetterTable, Scored, columns_of


class Gains(NamedTuple):
    """Sums of what is gained and lost, all >= 0."""

    gained: float
    lost: float
    near_gained: float
    near_lost: float


@dataclass(frozen=True, slots=True)
class FeatureEffect:
    """What a variant does to one feature."""

    feature: int
    gains: Gains
    positions: Int64[np.ndarray, " place"]
    """In the reference, rising."""
    changes: Float32[np.ndarray, " place"]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a variant does."""

    variant: Variant
    masked_marginal: float | None
    log_likelihood_ratio: float
    gains: Gains
    """Of all features."""
    features: Sequence[FeatureEffect]
    """Most changed first."""
    position_changes: Float32[np.ndarray, " nucleotide"] | None


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be told of each variant."""

    reach: int
    max_features: int
    with_positions: bool


def hidden_of(variant: Variant) -> tuple[int, ...] | None:
    """Returns the nucleotides that masked marginals hide; None if there are none.

    That is where letters differ; nothing is hidden if a nucleotide is added or
    deleted, or if a letter is none of A, C, G and U.
    """
    if not variant.is_substitution:
        return None
    ours, theirs = columns_of(variant.reference), columns_of(variant.sequence)
    places = variant.changed()
    if (ours[places] < 0).any() or (theirs[places] < 0).any():
        return None
    return tuple(places[ours[places] != theirs[places]].tolist()) or None


def masked_marginal(variant: Variant, table: LetterTable) -> float:
    """Returns log p(its letters) - log p(the reference's) where it differs, in nats.

    The sum over the hidden nucleotides M of log p(x_i = variant | x without M) less
    log p(x_i = reference | x without M): Meier et al. 2021, "Language models enable
    zero-shot prediction of the effects of mutations on protein function", section 3,
    masked marginal probability.

    Args:
        variant: one that `hidden_of` gives nucleotides for.
        table: log probabilities with these hidden, a row each.
    """
    hidden = list(hidden_of(variant) or ())
    rows = np.arange(len(hidden))
    ours = columns_of(variant.reference)[hidden]
    theirs = columns_of(variant.sequence)[hidden]
    return float((table[rows, theirs] - table[rows, ours]).sum(dtype=np.float64))


class Reference:
    """An RNA that its variants are compared with. Read-only."""

    def __init__(self, text: str, scored: Scored, look: Look) -> None:
        self._text, self._scored, self._look = text, scored, look
        self.log_likelihood = scored.log_likelihood(text)

    def effect(
        self, variant: Variant, scored: Scored, table: LetterTable | None
    ) -> Effect:
        """Returns what a variant does.

        Args:
            variant: of this reference.
            scored: what the model gave for it.
            table: with its hidden nucleotides hidden; None if it has none.
        """
        look, n = self._look, len(self._text)
        change = compare_codes(self._scored.codes, scored.codes, variant.anchors())
        whole = change.sums()
        is_near = near(variant.changed(), look.reach, n)
        close = change.sums(is_near)
        marginal = None if table is None else masked_marginal(variant, table)
        ratio = scored.log_likelihood(variant.sequence) - self.log_likelihood
        sums = (*whole, *close)
        features = [
            FeatureEffect(
                feature,
                Gains(*(float(each[feature]) for each in sums)),
                *change.of(feature),
            )
            for feature in _largest(whole.gained + whole.lost, look.max_features)
        ]
        gains = Gains(*(float(each.sum()) for each in sums))
        positions = change.by_position(n) if look.with_positions else None
        return Effect(variant, marginal, ratio, gains, features, positions)


def _largest(sizes: np.ndarray, limit: int) -> list[int]:
    """Returns the features of the largest sizes above 0; of equals the smaller id."""
    found = np.flatnonzero(sizes)
    order = np.lexsort((found, -sizes[found]))
    return [int(feature) for feature in found[order[:limit]]]
