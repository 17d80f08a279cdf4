"""How sure it is that a feature goes with a label: one false-discovery rate over all.

Nucleotides of one RNA are not independent, nor are RNAs of one clan. Labels of
nucleotides are tested against circular shifts of whole clans (`walk`); types against
other clans of about the same length having the type; families and clans, which are such
groups themselves, against other RNAs of about the same lengths (`lengths`). Knows
nothing of how large an effect is.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import sparse

from ribolex.dictionary.drawn_sums import moment_tail
from ribolex.dictionary.false_discovery import benjamini_hochberg
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.labels import UNKNOWN, Labels
from ribolex.trainer.annotation.lengths import ByLength
from ribolex.trainer.annotation.material import Material
from ribolex.trainer.annotation.ranking import Ranking
from ribolex.trainer.annotation.walk import N_TURNS, Walk

MIN_FIRINGS, MIN_RNAS, MIN_FAMILIES = 100, 20, 3
"""The least support: firings, RNAs and families in which a feature fires."""


@dataclass(frozen=True, slots=True)
class Significance:
    """False-discovery rates; NaN where nothing was tested."""

    nucleotides: Float64[np.ndarray, "n_features label"]
    rnas: Float64[np.ndarray, "n_features rna_label"]
    both: Float64[np.ndarray, " n_features"]
    """Of firing on both partners of pairs."""
    is_supported: Bool[np.ndarray, " n_features"]
    n_tests: int


class Measured(NamedTuple):
    """All that was counted of the features of one dictionary."""

    firings: Firings
    nucleotides: Ranking
    """Of rows."""
    rnas: Ranking
    """Of RNAs, by the largest value in each."""
    walk: Walk
    by_length: ByLength
    """Of RNAs."""


def assess(measured: Measured, material: Material) -> Significance:
    """Returns the tests of all features with all labels, those of RNAs included."""
    firings, chance = measured.firings, measured.walk.chance
    shapes = measured.walk.shapes
    is_frequent = (firings.counts >= MIN_FIRINGS) & (shapes.n_rnas >= MIN_RNAS)
    is_supported = is_frequent & (shapes.n_families >= MIN_FAMILIES)
    # No outcome is rarer than that of one turn of all clans.
    least = np.exp(-np.minimum(chance.clans, 200) * np.log(N_TURNS))
    of_labels = moment_tail(
        measured.nucleotides.hits.astype(np.float64),
        chance.moments,
        least[:, _is_of_structure(measured.nucleotides.labels)],
    )
    both = moment_tail(chance.both[:, 0], chance.both[:, 2:], least[:, 1])
    labels = measured.rnas.labels
    kinds = [labels.kind_of(i) for i in range(len(labels))]
    is_group = np.array([kind != "type" for kind in kinds], bool)
    tables = (
        (of_labels, is_supported[:, None] & measured.nucleotides.labels.is_tested),
        (
            _test_rnas(measured, material, is_group),
            np.where(is_group, is_frequent[:, None], is_supported[:, None]),
        ),
        (both, is_supported & (chance.both[:, 1] > 0)),
    )
    chosen = np.concatenate([p_values[mask] for p_values, mask in tables])
    q_values = benjamini_hochberg(chosen, len(chosen))
    bounds = np.cumsum([mask.sum() for _, mask in tables])[:-1]
    out = []
    for (_, mask), part in zip(tables, np.split(q_values, bounds), strict=True):
        table = np.full(mask.shape, np.nan)
        table[mask] = part
        out.append(table)
    return Significance(out[0], out[1], out[2], is_supported, len(chosen))


def _is_of_structure(labels: Labels) -> Int64[np.ndarray, " label"]:
    """Returns 1 for labels that only RNAs of known structure can have, else 0."""
    is_known = (labels.slots != UNKNOWN).all(0)
    out: Int64[np.ndarray, " label"]
    out = 1 - is_known[labels.slot_of].astype(np.int64)
    return out


def presence(peaks: Firings, n_rnas: int) -> sparse.csr_array:
    """Returns the [feature, rna] matrix with a 1 where a feature fires."""
    ones = np.ones(len(peaks.rows), np.float32)
    shape = (peaks.n_features, n_rnas)
    return sparse.csr_array((ones, peaks.rows, peaks.offsets), shape=shape)


def members(labels: Labels) -> sparse.csr_array:
    """Returns the [rna, label] matrix with a 1 where an RNA has a label."""
    rnas, slots = np.nonzero(labels.slots >= 0)
    columns = labels.slots[rnas, slots]
    shape = (len(labels.slots), len(labels))
    return sparse.csr_array(
        (np.ones(len(rnas), np.float32), (rnas, columns)), shape=shape
    )


def _test_rnas(
    measured: Measured, material: Material, is_group: Bool[np.ndarray, " label"]
) -> Float64[np.ndarray, "n_features label"]:
    """Returns probabilities: of families and clans over RNAs, of types over clans."""
    ranked, by_length = measured.rnas, measured.by_length
    labels = ranked.labels
    out = np.ones(ranked.hits.shape)
    owned = members(labels)
    hits = ranked.hits[:, is_group].astype(np.float64)
    out[:, is_group] = by_length.test(hits, owned[:, is_group])
    # A clan of RNAs of two types counts as two.
    keys = np.stack([material.clans, *labels.slots[:, :3].T], axis=1)
    units, of_rna = np.unique(keys, axis=0, return_inverse=True)
    if len(units) < 3 or is_group.all():
        return out
    n_rnas = len(material.rnas)
    gather = sparse.csr_array(
        (np.ones(n_rnas, np.float32), (of_rna.ravel(), np.arange(n_rnas))),
        shape=(len(units), n_rnas),
    )
    has = (gather @ owned[:, ~is_group]).toarray() > 0
    out[:, ~is_group] = by_length.test_groups(of_rna.ravel(), has)
    return out
