"""From findings to the table of features that a dictionary carries.

Knows nothing of how findings were made.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ribolex.dictionary import (
    Evidence,
    EvidenceTable,
    Example,
    FeatureTable,
    Profiles,
)
from ribolex.dictionary.features import examples_json
from ribolex.trainer.annotation.controls import Shuffled
from ribolex.trainer.annotation.findings import (
    KINDS,
    MAX_Q,
    MIN_ENRICHMENT,
    Finding,
)
from ribolex.trainer.annotation.firings import Firings
from ribolex.trainer.annotation.folding import SOURCE
from ribolex.trainer.annotation.interpretation import Suggestion
from ribolex.trainer.annotation.material import Material
from ribolex.trainer.annotation.profile import (
    Shaped,
    classify,
    consensus,
    pack,
    select_types,
)
from ribolex.trainer.annotation.sentences import Look, Sentence, describe
from ribolex.trainer.annotation.significance import (
    MIN_FAMILIES,
    MIN_FIRINGS,
    MIN_RNAS,
    Measured,
    Significance,
)

_EXAMPLES = 5
FLIPS = "coin flips"
"""In the basis: how many there are, and as "coin flips with type" what they go with."""


def tabulate(
    material: Material,
    measured: Measured,
    significance: Significance,
    findings: Mapping[int, list[Finding]],
    shuffled: Shuffled | None,
) -> FeatureTable:
    """Returns all that is known about each feature.

    Args:
        material: the RNAs.
        measured: of the dictionary.
        significance: of the same.
        findings: by feature, those first that tell the most.
        shuffled: how often features fire in shuffled RNAs, if that is known.
    """
    firings, shapes = measured.firings, measured.walk.shapes
    n, n_rnas = firings.n_features, len(material.rnas)
    shaped = classify(shapes, significance.is_supported)
    families = _family_names(material)
    sentences = [
        _describe(i, findings.get(i, []), families, measured, significance, shaped)
        for i in range(n)
    ]
    types = select_types(measured.by_length, material)
    unknown = np.full(n, np.nan, np.float32)
    nothing = ("",) * n
    ratio, is_composition = unknown, np.zeros(n, bool)
    if shuffled is not None:
        ratio = shuffled.ratio.astype(np.float32)
        is_composition = shuffled.is_composition_only
    profiles = Profiles(
        n_firings=firings.counts,
        n_rnas=shapes.n_rnas.astype(np.int32),
        n_families=shapes.n_families.astype(np.int32),
        shape=shaped.shape,
        run_length=shaped.run_length,
        period=shaped.period,
        type_selectivity=types.largest,
        type_entropy=types.entropy,
        preferred_type=types.preferred,
        shuffled_ratio=ratio,
        is_composition_only=is_composition,
        label_confidence=np.array([each.confidence for each in sentences], np.float32),
        letters=pack(shapes.letters),
        elements=pack(shapes.elements),
        suggestion=nothing,
        suggestion_score=unknown,
        suggestion_control=unknown,
    )
    examples = _examples(material, measured)
    sums, largest = _values(firings)
    return FeatureTable(
        density=(firings.counts / max(material.n_rows, 1)).astype(np.float32),
        mean_activation=(sums / np.maximum(firings.counts, 1)).astype(np.float32),
        max_activation=largest,
        idf=np.log((1 + n_rnas) / (1 + shapes.n_rnas)).astype(np.float32),
        label=[each.text for each in sentences],
        evidence=EvidenceTable.of(
            [
                [one for finding in findings.get(i, []) for one in finding.evidence()]
                + _pairing(i, measured, significance)
                for i in range(n)
            ]
        ),
        examples=[examples_json(each) for each in examples],
        ancestor=np.full(n, -1, np.int32),
        ancestor_confidence=np.zeros(n, np.float32),
        profiles=profiles,
    )


def suggest(table: FeatureTable, suggestions: Mapping[int, Suggestion]) -> FeatureTable:
    """Returns the table with a language model's labels of some features."""
    profiles = table.profiles
    assert profiles is not None  # `tabulate` gives them
    labels = list(profiles.suggestion)
    scores = profiles.suggestion_score.copy()
    controls = profiles.suggestion_control.copy()
    for feature, suggestion in suggestions.items():
        labels[feature] = suggestion.label
        scores[feature] = suggestion.score
        controls[feature] = suggestion.control
    return replace(
        table,
        profiles=replace(
            profiles,
            suggestion=labels,
            suggestion_score=scores,
            suggestion_control=controls,
        ),
    )


def describe_basis(
    material: Material,
    significance: Significance,
    findings: Mapping[int, list[Finding]],
) -> dict[str, str | int | float]:
    """Returns what evidence was measured on, in plain words."""
    sources = Counter(
        rna.metadata.get(SOURCE, "given")
        for rna in material.rnas
        if "(" in (rna.structure or "")
    )
    n_given = sources.pop("given", 0)
    return {
        "RNAs": len(material.rnas),
        "nucleotides": material.n_rows,
        "families": len(material.family_names),
        "clans": material.n_clans,
        "structures given": n_given,
        **{f"structures {source}": n for source, n in sorted(sources.items())},
        "tests": significance.n_tests,
        "false-discovery rate": MAX_Q,
        "least support": f"{MIN_FIRINGS} firings, {MIN_RNAS} RNAs, "
        f"{MIN_FAMILIES} families",
        "types, families and clans against": "RNAs of about the same length",
        "supported features": int(significance.is_supported.sum()),
        **count_kinds(findings, ""),
    }


def count_kinds(
    findings: Mapping[int, list[Finding]], prefix: str
) -> dict[str, str | int | float]:
    """Returns how many features go with labels of each kind, and beat the constant."""
    found: dict[str, set[int]] = {kind: set() for kind in KINDS}
    better: dict[str, set[int]] = {kind: set() for kind in KINDS}
    for feature, own in findings.items():
        for each in own:
            found[each.kind].add(feature)
            if each.f1 > each.constant_f1:
                better[each.kind].add(feature)
    out: dict[str, str | int | float] = {}
    for kind in KINDS:
        out[f"{prefix}features with {kind}"] = len(found[kind])
        out[f"{prefix}features with {kind}, f1 gained"] = len(better[kind])
    return out


def count_flips(
    n_flips: int, findings: Mapping[int, list[Finding]]
) -> dict[str, str | int | float]:
    """Returns how many features of coin flips go with labels of each kind."""
    out: dict[str, str | int | float] = {FLIPS: n_flips}
    for kind in KINDS:
        has = (any(each.kind == kind for each in own) for own in findings.values())
        out[f"{FLIPS} with {kind}"] = sum(has)
    return out


def _describe(
    feature: int,
    findings: Sequence[Finding],
    families: Mapping[str, str],
    measured: Measured,
    significance: Significance,
    shaped: Shaped,
) -> Sentence:
    look = Look(
        shaped.shape[feature],
        int(shaped.run_length[feature]),
        int(shaped.period[feature]),
        consensus(measured.walk.shapes.letters[feature]),
        bool(_pairing(feature, measured, significance)),
    )
    return describe(findings, families, look)


def _pairing(
    feature: int, measured: Measured, significance: Significance
) -> list[Evidence]:
    """Returns evidence that it fires on both partners of pairs, if it does."""
    both, n_paired, mean = measured.walk.chance.both[feature, :3]
    q_value = significance.both[feature]
    if not q_value <= MAX_Q or both < MIN_ENRICHMENT * mean or not mean:
        return []
    share, chance = both / max(n_paired, 1), mean / max(n_paired, 1)
    q_value = float(q_value)
    return [
        Evidence("pairing:both partners", "share", share, q_value, chance),
        Evidence("pairing:both partners", "enrichment", both / mean, q_value, 1.0),
    ]


def _family_names(material: Material) -> dict[str, str]:
    return {
        rna.metadata["family_acc"]: rna.metadata.get("family", "")
        for rna in material.rnas
        if "family_acc" in rna.metadata
    }


def _values(firings: Firings) -> tuple[np.ndarray, np.ndarray]:
    """Returns every feature's sum of values, and the largest."""
    n = firings.n_features
    sums, largest = np.zeros(n), np.zeros(n, np.float32)
    for f in range(n):
        own = firings.values[firings.offsets[f] : firings.offsets[f + 1]]
        if len(own):
            sums[f], largest[f] = own.sum(dtype=np.float64), own.max()
    return sums, largest


def _examples(material: Material, measured: Measured) -> list[list[Example]]:
    """Returns the RNAs of each feature's strongest firings, one a family first."""
    peaks = measured.walk.peaks
    out: list[list[Example]] = []
    for f in range(peaks.n_features):
        own = slice(int(peaks.offsets[f]), int(peaks.offsets[f + 1]))
        rnas, values = peaks.rows[own], peaks.values[own]
        order = np.lexsort((rnas, -values))
        families = material.families[rnas[order]]
        by_family = np.argsort(families, kind="stable")
        starts = np.concatenate([[True], np.diff(families[by_family]) > 0])[
            : len(order)
        ]
        first = np.flatnonzero(starts)
        rank = np.empty(len(order), np.int64)
        rank[by_family] = np.arange(len(order)) - np.repeat(
            first, np.diff([*first, len(order)])
        )
        chosen = order[np.argsort(rank, kind="stable")[:_EXAMPLES]]
        chosen = chosen[np.lexsort((rnas[chosen], -values[chosen]))]
        out.append([_example(material, measured, f, int(rnas[i])) for i in chosen])
    return out


def _example(material: Material, measured: Measured, feature: int, rna: int) -> Example:
    firings = measured.firings
    own = slice(int(firings.offsets[feature]), int(firings.offsets[feature + 1]))
    rows, values = firings.rows[own], firings.values[own]
    start, stop = np.searchsorted(rows, material.offsets[[rna, rna + 1]])
    places = material.positions[rows[start:stop]]
    found = values[start:stop]
    kept = material.rnas[rna]
    return Example(
        kept.name,
        float(found.max()),
        tuple(places[places >= 0].tolist()),
        kept.sequence,
        dict(kept.metadata),
        tuple(float(f"{value:.4g}") for value in found[places >= 0].tolist()),
        kept.structure or "",
    )
