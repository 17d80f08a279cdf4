"""What features go with: tests of every feature against every label.

Two kinds of label. An RNA is of a type or family: does it hold more of the RNAs in
which the feature fires than of all (Fisher's exact test over RNAs)? A nucleotide is a
letter or part of a structure element: does the feature's strongest firing of an RNA
lie on it more often than a nucleotide drawn from that RNA would (binomial test over
RNAs, since nucleotides of one RNA are not independent)? RNAs of one family are not
independent either: hence the least number of families. One false-discovery rate over
all tests. Knows nothing of how evidence is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from scipy import sparse

from ribolex.rna.elements import ELEMENTS
from ribolex.trainer.activations import Activations
from ribolex.trainer.firings import Firings, Peaks
from ribolex.trainer.labels import LETTERS, UNKNOWN, Labels, one_hot, shares
from ribolex.trainer.statistics import (
    benjamini_hochberg,
    binomial_tail,
    hypergeometric_tail,
)

MIN_RNAS = 20
MIN_FAMILIES = 3


@dataclass(frozen=True, slots=True)
class Tests:
    """One row a test; those that found no RNA at all are only counted."""

    kind: str
    """"type", "family", "nucleotide" or "structure"."""
    label_names: Sequence[str]
    features: Int64[np.ndarray, " test"]
    labels: Int64[np.ndarray, " test"]
    support: Int64[np.ndarray, " test"]
    """RNAs with the label among those in which the feature fires."""
    n_families: Int64[np.ndarray, " test"]
    precision: Float64[np.ndarray, " test"]
    """Share with the label where the feature fires."""
    base: Float64[np.ndarray, " test"]
    """Share with the label everywhere."""
    f1: Float64[np.ndarray, " test"]
    p_values: Float64[np.ndarray, " test"]
    n_tests: int

    @property
    def enrichment(self) -> Float64[np.ndarray, " test"]:
        """How many times more common the label is where the feature fires."""
        out: Float64[np.ndarray, " test"] = self.precision / self.base
        return out

    @property
    def constant_f1(self) -> Float64[np.ndarray, " test"]:
        """F1 of the best predictor that looks at nothing: it always says yes."""
        out: Float64[np.ndarray, " test"] = 2 * self.base / (1 + self.base)
        return out


class Tested(NamedTuple):
    """Tests of one kind with their false-discovery rates over all kinds."""

    tests: Tests
    q_values: Float64[np.ndarray, " test"]


def run_tests(
    firings: Firings, labels: Labels, activations: Activations
) -> list[Tested]:
    """Returns the tests of all kinds of label."""
    presence = firings.presence(len(labels.families))
    families = one_hot(labels.families, len(labels.family_names))
    table = [
        _test_rnas("type", labels.type_names, labels.types, presence, families),
        _test_rnas("family", labels.family_names, families, presence, families),
        _test_nucleotides(
            "nucleotide",
            list(LETTERS),
            labels.letters,
            firings.by_letter,
            firings.peaks,
            activations,
            labels,
        ),
        _test_nucleotides(
            "structure",
            list(ELEMENTS.values()),
            labels.elements,
            firings.by_element,
            firings.peaks,
            activations,
            labels,
        ),
    ]
    p_values = np.concatenate([tests.p_values for tests in table])
    q_values = benjamini_hochberg(p_values, sum(tests.n_tests for tests in table))
    bounds = np.cumsum([len(tests.p_values) for tests in table])[:-1]
    return [
        Tested(tests, part)
        for tests, part in zip(table, np.split(q_values, bounds), strict=True)
    ]


def _test_rnas(
    kind: str,
    names: Sequence[str],
    members: sparse.csr_array,
    presence: sparse.csr_array,
    families: sparse.csr_array,
) -> Tests:
    n_rnas = presence.shape[0]
    n_labelled = np.asarray(members.sum(0)).astype(np.int64)
    n_fired = np.asarray(presence.sum(0)).astype(np.int64)
    # Eligible by sizes alone, whatever the outcome.
    chosen = np.flatnonzero(n_labelled >= MIN_RNAS)
    common = n_fired >= MIN_RNAS
    hits = sparse.coo_array(members.T.tocsr()[chosen] @ presence)
    kept = common[hits.col]
    labels, features = chosen[hits.row[kept]], hits.col[kept].astype(np.int64)
    support = hits.data[kept].astype(np.int64)
    # A family fires a feature in some member, and has the type of its members.
    in_family = ((families.T @ presence) > 0).astype(np.int32)
    of_label = ((members.T @ families) > 0).astype(np.int32)
    n_families = (of_label.tocsr()[chosen] @ in_family).toarray()
    drawn, labelled = n_fired[features], n_labelled[labels]
    return Tests(
        kind,
        names,
        features,
        labels,
        support,
        n_families[hits.row[kept], hits.col[kept]].astype(np.int64),
        precision=support / drawn,
        base=labelled / n_rnas,
        f1=2 * support / (drawn + labelled),
        p_values=hypergeometric_tail(support, drawn, labelled, n_rnas),
        n_tests=len(chosen) * int(common.sum()),
    )


def _test_nucleotides(
    kind: str,
    names: Sequence[str],
    of_row: UInt8[np.ndarray, " row"],
    counts: Int64[np.ndarray, "n_features label"],
    peaks: Peaks,
    activations: Activations,
    labels: Labels,
) -> Tests:
    n_features, n_labels = counts.shape
    at_peak = of_row[peaks.rows]
    known = at_peak != UNKNOWN
    of_peak, rnas = at_peak[known].astype(np.int64), peaks.rnas[known]
    of_feature = peaks.features[known].astype(np.int64)
    drawn = np.bincount(of_feature, minlength=n_features)
    keys = of_feature * n_labels + of_peak
    hits = np.bincount(keys, minlength=counts.size).reshape(counts.shape)
    share = shares(of_row, activations.rnas, n_labels)
    chance = (
        np.stack(
            [
                np.bincount(of_feature, share[rnas, label], minlength=n_features)
                for label in range(n_labels)
            ],
            axis=1,
        )
        / np.maximum(drawn, 1)[:, None]
    )
    features, found = np.nonzero((hits > 0) & (drawn >= MIN_RNAS)[:, None])
    n_fired = counts.sum(1)[features]
    totals = np.bincount(of_row[of_row != UNKNOWN], minlength=n_labels)
    common = counts[features, found]
    return Tests(
        kind,
        names,
        features,
        found,
        hits[features, found],
        _count_families(keys, labels.families[rnas], counts.size)[
            features * n_labels + found
        ],
        precision=common / n_fired,
        base=totals[found] / totals.sum(),
        f1=2 * common / (n_fired + totals[found]),
        p_values=binomial_tail(
            hits[features, found], drawn[features], chance[features, found]
        ),
        n_tests=int((drawn >= MIN_RNAS).sum()) * n_labels,
    )


def _count_families(
    keys: Int64[np.ndarray, " peak"], families: np.ndarray, n_keys: int
) -> Int64[np.ndarray, " key"]:
    """Returns the number of different families for each key."""
    n_families = int(families.max(initial=0)) + 1
    pairs = np.unique(keys * n_families + families)
    return np.bincount(pairs // n_families, minlength=n_keys)
