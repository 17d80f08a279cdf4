"""Describes the features of an autoencoder from where they fire on training RNAs.

Labels are texts made by fixed rules from the evidence, and empty where it says too
little. Knows nothing of how the autoencoder was trained.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ribolex.dictionary import Evidence, Example, FeatureTable, Sae
from ribolex.dictionary.features import evidence_json, examples_json
from ribolex.rna import Rna
from ribolex.trainer.activations import Activations, Progress
from ribolex.trainer.evidence import MIN_FAMILIES, MIN_RNAS, Tested, run_tests
from ribolex.trainer.firings import Firings, Peaks, count_firings, encode_rows
from ribolex.trainer.labels import label_rnas

MAX_Q = 0.01
MIN_ENRICHMENT = 1.2
"""Below it a label is no evidence, however certain."""

_LABELS_A_KIND = 3
_EXAMPLES = 5
_NAMED_PRECISION = {"nucleotide": 0.6, "structure": 0.6, "type": 0.5, "family": 0.5}
_NAMED_ENRICHMENT = 1.5
_LEANINGS = 2
_SAID = ("nucleotide", "structure", "family", "type")
"""Kinds of label in the order in which they are said."""
_PLACES = {
    "stem": "in stems",
    "hairpin": "in hairpin loops",
    "bulge": "in bulges",
    "internal": "in internal loops",
    "multiloop": "in multiloops",
    "external": "between helices",
    "end": "at the ends",
}


class Finding(NamedTuple):
    """A label that goes with a feature."""

    kind: str
    label: str
    support: int
    n_families: int
    precision: float
    base: float
    f1: float
    constant_f1: float
    q_value: float

    @property
    def enrichment(self) -> float:
        """How many times more common the label is where the feature fires."""
        return self.precision / self.base

    @property
    def is_named(self) -> bool:
        """Whether it holds for most firings, and for far more than by chance."""
        return (
            self.precision >= _NAMED_PRECISION[self.kind]
            and self.precision >= _NAMED_ENRICHMENT * self.base
        )


def annotate(
    sae: Sae, activations: Activations, rnas: Sequence[Rna], progress: Progress
) -> FeatureTable:
    """Returns statistics, evidence, labels and examples of all features.

    Args:
        sae: as exported: standardisation folded in.
        activations: of the training RNAs.
        rnas: those RNAs, in the same order.
        progress: is told about RNAs.

    Raises:
        InvalidRequestError: an RNA's structure is none.
    """
    labels = label_rnas(rnas, activations)
    firings = count_firings(sae, activations, labels, progress)
    findings = find(run_tests(firings, labels, activations))
    families = _family_names(rnas)
    examples = _examples(sae, firings.peaks, activations, rnas)
    n_fired = np.maximum(firings.n_firings, 1)
    df = np.bincount(firings.peaks.features, minlength=sae.n_features)
    features = range(sae.n_features)
    return replace(
        FeatureTable.blank(sae.n_features),
        density=(firings.n_firings / len(activations)).astype(np.float32),
        mean_activation=(firings.sum_of_values / n_fired).astype(np.float32),
        max_activation=_max_values(firings),
        idf=np.log((1 + len(rnas)) / (1 + df)).astype(np.float32),
        label=[describe(findings[i], families) for i in features],
        evidence=[evidence_json(_evidence(findings[i])) for i in features],
        examples=[examples_json(examples[i]) for i in features],
    )


def find(tested: Sequence[Tested]) -> dict[int, list[Finding]]:
    """Returns each feature's findings, those first that tell the most.

    A finding is certain (q <= 0.01), not weak (enrichment >= 1.2) and has the least
    support; at most three of a kind are kept. Order: by how much more likely the label
    is where the feature fires.
    """
    out: dict[int, list[Finding]] = defaultdict(list)
    for tests, q_values in tested:
        lift = tests.precision - tests.base
        families = 1 if tests.kind == "family" else MIN_FAMILIES
        kept = np.flatnonzero(
            (q_values <= MAX_Q)
            & (tests.enrichment >= MIN_ENRICHMENT)
            & (tests.support >= MIN_RNAS)
            & (tests.n_families >= families)
        )
        # Of equals the later name: "Gene;tRNA" before "Gene".
        kept = kept[np.lexsort((-tests.labels[kept], -lift[kept]))]
        of_kind: dict[int, int] = defaultdict(int)
        for i in kept.tolist():
            feature = int(tests.features[i])
            of_kind[feature] += 1
            if of_kind[feature] > _LABELS_A_KIND:
                continue
            finding = Finding(
                tests.kind,
                tests.label_names[tests.labels[i]],
                int(tests.support[i]),
                int(tests.n_families[i]),
                float(tests.precision[i]),
                float(tests.base[i]),
                float(tests.f1[i]),
                float(tests.constant_f1[i]),
                float(q_values[i]),
            )
            out[feature].append(finding)
    for findings in out.values():
        findings.sort(key=lambda found: found.base - found.precision)
    return out


def describe(findings: Sequence[Finding], families: dict[str, str]) -> str:
    """Returns the label: "fires on G in hairpin loops of tRNA (RF00005)".

    Where nothing holds for most firings, what holds far more often than by chance is
    said as just that: "more often in bulges (2.1x), on C (1.6x)".

    Args:
        findings: those that tell the most first; each kind's first is used.
        families: names of families by accession.
    """
    named: dict[str, str] = {}
    for finding in findings:
        known = named.get(finding.kind)
        # "Gene;tRNA" rather than "Gene", of which there are always more.
        if finding.is_named and (known is None or finding.label.startswith(known)):
            named[finding.kind] = finding.label
    if "family" in named:  # it says more than the type
        named.pop("type", None)
    if named:
        places = [
            _place(kind, named[kind], families) for kind in _SAID if kind in named
        ]
        if len(places) > 1 and not named.keys().isdisjoint(("family", "type")):
            places[-1] = places[-1].replace("in ", "of ", 1)
        return " ".join(["fires", *places])
    leanings: dict[str, str] = {}
    for finding in findings:
        if finding.enrichment >= _NAMED_ENRICHMENT and finding.kind not in leanings:
            place = _place(finding.kind, finding.label, families)
            leanings[finding.kind] = f"{place} ({finding.enrichment:.1f}x)"
    said = list(leanings.values())[:_LEANINGS]
    return f"more often {', '.join(said)}" if said else ""


def _place(kind: str, label: str, families: dict[str, str]) -> str:
    if kind == "nucleotide":
        return f"on {label}"
    if kind == "structure":
        return _PLACES[label]
    if kind == "family":
        name = families.get(label)
        return f"in {name} ({label})" if name else f"in {label}"
    return f"in {label.rsplit(';', 1)[-1]}"


def _evidence(findings: Sequence[Finding]) -> list[Evidence]:
    out = []
    for found in findings:
        label = f"{found.kind}:{found.label}"
        measures = [
            ("precision", found.precision, found.base),
            ("enrichment", found.precision / found.base, None),
            ("f1", found.f1, found.constant_f1),
        ]
        out += [
            Evidence(
                label,
                measure,
                float(f"{effect:.4g}"),
                float(f"{found.q_value:.3g}"),
                None if control is None else float(f"{control:.4g}"),
                found.support,
                found.n_families,
            )
            for measure, effect, control in measures
        ]
    return out


def _family_names(rnas: Sequence[Rna]) -> dict[str, str]:
    return {
        rna.metadata["family_acc"]: rna.metadata.get("family", "")
        for rna in rnas
        if "family_acc" in rna.metadata
    }


def _max_values(firings: Firings) -> np.ndarray:
    out = np.zeros(len(firings.n_firings), np.float32)
    np.maximum.at(out, firings.peaks.features, firings.peaks.values)
    return out


def _examples(
    sae: Sae, peaks: Peaks, activations: Activations, rnas: Sequence[Rna]
) -> list[list[Example]]:
    """Returns the RNAs of each feature's strongest firings, strongest first."""
    order = np.lexsort((peaks.rnas, -peaks.values, peaks.features))
    counts = np.bincount(peaks.features, minlength=sae.n_features)
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    best = order[rank < _EXAMPLES]
    wanted: dict[int, list[int]] = defaultdict(list)
    for peak in best.tolist():
        wanted[int(peaks.rnas[peak])].append(peak)
    found: dict[int, Example] = {}
    for rna, its_peaks in wanted.items():
        rows = activations.of_rna(rna)
        codes = encode_rows(sae, activations, rows)
        owners, kept = codes.rows_of_entries(), activations.positions[rows]
        for peak in its_peaks:
            fires = owners[codes.indices == peaks.features[peak]]
            found[peak] = Example(
                rnas[rna].name,
                float(peaks.values[peak]),
                tuple(kept[fires][kept[fires] >= 0].tolist()),
                rnas[rna].sequence,
                dict(rnas[rna].metadata),
            )
    out: list[list[Example]] = [[] for _ in range(sae.n_features)]
    for peak in best.tolist():
        out[int(peaks.features[peak])].append(found[peak])
    return out
