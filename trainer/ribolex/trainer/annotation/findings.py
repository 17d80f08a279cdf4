"""What features go with: labels that passed every test, with all their measures.

Knows nothing of how it is said.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from scipy import sparse

from ribolex.dictionary import Evidence
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.material import Material
from ribolex.trainer.annotation.ranking import Ranking
from ribolex.trainer.annotation.redraws import N_DRAWS, Groups, redraw
from ribolex.trainer.annotation.significance import (
    MIN_FAMILIES,
    MIN_RNAS,
    Measured,
    Significance,
    members,
)

MAX_Q = 0.05
MIN_ENRICHMENT = 1.2
"""Below it a label is no evidence, however certain."""
KINDS = {
    "nucleotide": 2,
    "kmer": 3,
    "tract": 1,
    "structure": 2,
    "pair": 2,
    "loop": 2,
    "type": 3,
    "family": 3,
    "clan": 2,
}
"""Kinds of label, and how many of a feature are kept of each."""

_KEPT = 12
_FIRM = 0.975
_GROUPS = ("family", "clan")


@dataclass(frozen=True, slots=True)
class Finding:
    """A label that goes with a feature."""

    label: str
    q_value: float
    support: int
    """RNAs with the label in which it fires."""
    n_families: int
    precision: float
    """Share with the label where the feature fires."""
    base: float
    """Share expected there: that with the label everywhere, of RNAs among those of the
    same lengths."""
    recall: float = 0.0
    auroc: float = 0.5
    average_precision: float = 0.0
    mcc: float = 0.0
    f1: float = 0.0
    constant_f1: float = 0.0
    share: float = 0.0
    """With the label everywhere."""
    percentile: float | None = None
    draws: Float32[np.ndarray, "2 draw"] = field(
        default_factory=lambda: np.ones((2, 1), np.float32)
    )
    """Precision and base with clans drawn anew."""
    precision_interval: tuple[float, float] | None = None
    """95 % of those draws, as the next one."""
    enrichment_interval: tuple[float, float] | None = None

    @property
    def kind(self) -> str:
        """The kind of the label: "structure" of "structure:hairpin"."""
        return self.label.partition(":")[0]

    @property
    def name(self) -> str:
        """The label without its kind: "hairpin"."""
        return self.label.partition(":")[2]

    @property
    def enrichment(self) -> float:
        """How many times more common the label is where the feature fires."""
        return self.precision / self.base

    def evidence(self) -> list[Evidence]:
        """Returns its measures one by one."""
        gain = self.f1 - self.constant_f1
        measures = (
            ("precision", self.precision, self.base, self.precision_interval, None),
            ("enrichment", self.enrichment, 1.0, self.enrichment_interval, None),
            ("recall", self.recall, None, None, None),
            ("auroc", self.auroc, 0.5, None, None),
            ("average_precision", self.average_precision, self.share, None, None),
            ("mcc", self.mcc, 0.0, None, self.percentile),
            ("f1_gain", gain, self.constant_f1, None, None),
        )
        return [
            Evidence(
                self.label,
                name,
                _short(effect),
                _short(self.q_value),
                None if control is None else _short(control),
                self.support,
                self.n_families,
                None if interval is None else _short(interval[0]),
                None if interval is None else _short(interval[1]),
                None if percentile is None else _short(percentile),
            )
            for name, effect, control, interval, percentile in measures
        ]


def _short(value: float) -> float:
    """Returns three digits: more would say nothing, and take twice the file."""
    return float(f"{value:.3g}")


def _intervals(
    draws: Float32[np.ndarray, "pair draw"],
) -> Float32[np.ndarray, "pair 2"]:
    """Returns the middle 95 % of each row's draws, those that are NaN left out."""
    ordered = np.sort(draws, axis=1)  # NaN comes last
    last = np.maximum((~np.isnan(draws)).sum(1) - 1, 0)
    ends = np.stack([np.floor(0.025 * last), np.ceil(0.975 * last)], axis=1)
    return np.take_along_axis(ordered, ends.astype(np.int64), axis=1)


@dataclass(frozen=True, slots=True)
class Random:
    """Measures of the features of a dictionary that means nothing; read-only."""

    nucleotides: Float32[np.ndarray, "n_others label"]
    """Matthews' correlations of supported ones, each label's rising."""
    rnas: Float32[np.ndarray, "n_others rna_label"]

    @classmethod
    def of(cls, measured: Measured, significance: Significance) -> "Random":
        """Returns what a random dictionary's features come to on the same material."""
        kept = significance.is_supported
        tables = (measured.nucleotides.mcc[kept], measured.rnas.mcc[kept])
        return cls(*(np.sort(table, axis=0) for table in tables))


def find(
    measured: Measured,
    significance: Significance,
    material: Material,
    random: Random | None,
    seed: int = 0,
) -> dict[int, list[Finding]]:
    """Returns each feature's findings, those first that tell the most.

    A finding is certain (q <= 0.05), not weak (enrichment >= 1.2, and above 1 in 97.5 %
    of the draws of clans) and has the least support; a dozen of a feature are kept, of
    a kind as many as KINDS says. Order: by how much more likely the label is where the
    feature fires.
    """
    chance = measured.walk.chance
    clan_of_row = material.clans[material.rna_of_row]
    of_rows = _Table(
        measured.nucleotides,
        measured.firings,
        significance.nucleotides,
        chance.support,
        chance.families,
        clan_of_row,
        clan_of_row,
        np.zeros(len(clan_of_row), np.int64),
        None if random is None else random.nucleotides,
    )
    of_rnas = _Table(
        measured.rnas,
        measured.walk.peaks,
        significance.rnas,
        measured.rnas.hits,
        _families(measured, material),
        material.clans,
        np.arange(len(material.rnas), dtype=np.int32),
        measured.by_length.strata,
        None if random is None else random.rnas,
    )
    out: dict[int, list[Finding]] = defaultdict(list)
    for number, table in enumerate((of_rows, of_rnas)):
        for feature, finding in _find(table, seed + number):
            out[feature].append(finding)
    for findings in out.values():
        findings.sort(key=lambda each: (each.base - each.precision, each.label))
        del findings[_KEPT:]
    return dict(out)


class _Table(NamedTuple):
    """Features against labels of nucleotides, or of RNAs."""

    ranked: Ranking
    firings: Firings
    q_values: Float64[np.ndarray, "n_features label"]
    support: Int64[np.ndarray, "n_features label"]
    families: Int64[np.ndarray, "n_features label"]
    clans: Int32[np.ndarray, " member"]
    """What is drawn anew."""
    alone: Int32[np.ndarray, " member"]
    """What is drawn anew where a label is a clan or a family itself."""
    strata: Int64[np.ndarray, " member"]
    """Chance is that of members of the same."""
    random: Float32[np.ndarray, "n_others label"] | None


def _choose(table: _Table) -> tuple[Int64[np.ndarray, " pair"], ...]:
    """Returns features and labels that pass, as many of each kind as are kept."""
    ranked, labels = table.ranked, table.ranked.labels
    kinds = np.array([labels.kind_of(i) for i in range(len(labels))])
    least = np.where(np.isin(kinds, _GROUPS), 1, MIN_FAMILIES)
    lift = ranked.precision - ranked.chance
    passes = (
        (table.q_values <= MAX_Q)
        & (ranked.precision >= MIN_ENRICHMENT * ranked.chance)
        & (table.support >= MIN_RNAS)
        & (table.families >= least)
    )
    chosen = np.zeros_like(passes)
    for kind, n_kept in KINDS.items():
        own = np.flatnonzero(kinds == kind)
        if len(own):
            scores = np.where(passes[:, own], lift[:, own], -1.0)
            # Of equals the later name: "Gene;tRNA" before "Gene".
            order = np.argsort(-scores[:, ::-1], axis=1, kind="stable")
            best = own[::-1][order[:, :n_kept]]
            np.put_along_axis(chosen, best, True, axis=1)
    return np.nonzero(chosen & passes)


def _find(table: _Table, seed: int) -> list[tuple[int, Finding]]:
    ranked, labels = table.ranked, table.ranked.labels
    features, found = _choose(table)
    is_group = np.array(
        [labels.kind_of(int(label)) in _GROUPS for label in found], bool
    )
    draws = np.zeros((len(features), 2, N_DRAWS), np.float32)
    for mask, groups in ((is_group, table.alone), (~is_group, table.clans)):
        redrawn = redraw(
            table.firings,
            labels,
            Groups(groups, table.strata),
            features[mask],
            found[mask],
            seed,
        )
        draws[mask] = np.stack(redrawn, axis=1)
    ratio = draws[:, 0] / np.maximum(draws[:, 1], 1e-9)
    intervals = _intervals(draws[:, 0]), _intervals(ratio)
    is_firm = (np.nan_to_num(ratio) > 1).mean(1) >= _FIRM
    # Worked out once: each is a table of all features and labels.
    mcc, precision, recall = ranked.mcc, ranked.precision, ranked.recall
    chance, base, constant_f1 = ranked.chance, ranked.base, ranked.constant_f1
    out = []
    for i in np.flatnonzero(is_firm).tolist():
        f, label = int(features[i]), int(found[i])
        percentile = None
        if table.random is not None and len(table.random):
            below = np.searchsorted(table.random[:, label], mcc[f, label])
            percentile = float(below / len(table.random))
        finding = Finding(
            label=labels.names[label],
            q_value=float(table.q_values[f, label]),
            support=int(table.support[f, label]),
            n_families=int(table.families[f, label]),
            precision=float(precision[f, label]),
            base=float(chance[f, label]),
            recall=float(recall[f, label]),
            auroc=float(ranked.auroc[f, label]),
            average_precision=float(ranked.average_precision[f, label]),
            mcc=float(mcc[f, label]),
            f1=float(ranked.f1[f, label]),
            constant_f1=float(constant_f1[label]),
            share=float(base[label]),
            percentile=percentile,
            draws=draws[i],
            precision_interval=(float(intervals[0][i, 0]), float(intervals[0][i, 1])),
            enrichment_interval=(float(intervals[1][i, 0]), float(intervals[1][i, 1])),
        )
        out.append((f, finding))
    return out


def _families(
    measured: Measured, material: Material
) -> Int64[np.ndarray, "n_features label"]:
    """Returns how many families of a label fire a feature in some member with it."""
    labels = measured.rnas.labels
    fires = measured.by_length.fires.T.tocsr()
    owned = members(labels).tocsc()
    out = np.zeros((measured.firings.n_features, len(labels)), np.int64)
    n_families = int(material.families[-1]) + 1 if len(material.families) else 0
    for label in range(len(labels)):
        rnas = owned.indices[owned.indptr[label] : owned.indptr[label + 1]]
        own = fires[rnas]
        gather = sparse.csr_array(
            (
                np.ones(len(rnas), np.float32),
                (material.families[rnas], np.arange(len(rnas))),
            ),
            shape=(n_families, len(rnas)),
        )
        out[:, label] = (gather @ own > 0).sum(0)
    return out
