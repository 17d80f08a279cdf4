"""From counts and tests of one arm to rows of tables.

Knows nothing of other arms.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from ribolex.trainer.annotation.findings import (
    KINDS,
    MAX_Q,
    MIN_ENRICHMENT,
    Finding,
    find,
)
from ribolex.trainer.annotation.measuring import Labelled
from ribolex.trainer.annotation.profile import classify, select_types
from ribolex.trainer.annotation.significance import Measured, Significance
from ribolex.trainer.findings.best import Best
from ribolex.trainer.findings.tables import (
    ArmRow,
    FeatureRow,
    KindRow,
    LabelRow,
    Tables,
)

ONE_TYPE = 0.5
"""Selectivity from which on a feature counts as one of a type; so does precision of a
family."""


class Where(NamedTuple):
    """Whose features."""

    dictionary: str
    layer: int
    arm: str
    what: str

    @property
    def key(self) -> tuple[str, int, str]:
        """What begins each row."""
        return self.dictionary, self.layer, self.arm


class Found(NamedTuple):
    """All about one arm."""

    on: Labelled
    measured: Measured
    tests: Significance
    best: list[Best]


Findings = dict[int, list[Finding]]


def add(tables: Tables, where: Where, found: Found) -> None:
    """Adds one arm's rows."""
    findings = find(found.measured, found.tests, found.on.material, None)
    features = _features(where, found, findings)
    tables.features += features
    tables.arms.append(_arm(where, found, findings, features))
    tables.kinds += _kinds(where, found, findings)
    tables.labels += _labels(where, found, findings)


def _features(where: Where, found: Found, findings: Findings) -> list[FeatureRow]:
    measured, material = found.measured, found.on.material
    shapes = measured.walk.shapes
    shaped = classify(shapes, found.tests.is_supported)
    types = select_types(measured.by_length, material)
    density = measured.firings.counts / max(material.n_rows, 1)
    return [
        FeatureRow(
            *where.key,
            i,
            float(density[i]),
            int(shapes.n_rnas[i]),
            int(shapes.n_families[i]),
            bool(found.tests.is_supported[i]),
            shaped.shape[i],
            float(types.largest[i]),
            float(types.entropy[i]),
            types.preferred[i],
            ",".join(each.label for each in findings.get(i, [])),
        )
        for i in range(measured.firings.n_features)
    ]


def _arm(
    where: Where, found: Found, findings: Findings, features: list[FeatureRow]
) -> ArmRow:
    fires = [row for row in features if row.density > 0]
    supported = [row for row in features if row.is_supported]
    density = _quartiles([row.density for row in fires])
    selectivity = _quartiles([row.type_selectivity for row in supported])
    both, mean = found.measured.walk.chance.both[:, [0, 2]].T
    pairing = (found.tests.both <= MAX_Q) & (both >= MIN_ENRICHMENT * mean) & (mean > 0)
    n_firings = len(found.measured.firings.rows)
    of_family = [
        any(each.kind == "family" and each.precision >= ONE_TYPE for each in each_one)
        for each_one in findings.values()
    ]
    return ArmRow(
        *where,
        n_features=len(features),
        n_dead=len(features) - len(fires),
        n_supported=len(supported),
        n_tests=found.tests.n_tests,
        l0=n_firings / max(found.on.material.n_rows, 1),
        density_25=density[0],
        density_50=density[1],
        density_75=density[2],
        selectivity_25=selectivity[0],
        selectivity_50=selectivity[1],
        selectivity_75=selectivity[2],
        entropy_50=_quartiles([row.type_entropy for row in supported])[1],
        n_of_one_type=sum(row.type_selectivity >= ONE_TYPE for row in supported),
        n_of_one_family=sum(of_family),
        n_pairing=int(pairing.sum()),
    )


def _kinds(where: Where, found: Found, findings: Findings) -> list[KindRow]:
    n_supported = max(int(found.tests.is_supported.sum()), 1)
    out = []
    for kind in KINDS:
        having = {
            feature: [each for each in own if each.kind == kind]
            for feature, own in findings.items()
        }
        having = {feature: own for feature, own in having.items() if own}
        above = [
            any(each.f1 > each.constant_f1 for each in own) for own in having.values()
        ]
        labels = {each.label for own in having.values() for each in own}
        share = len(having) / n_supported
        out.append(
            KindRow(*where.key, kind, len(having), share, sum(above), len(labels))
        )
    return out


def _labels(where: Where, found: Found, findings: Findings) -> list[LabelRow]:
    enrichments: dict[str, list[float]] = defaultdict(list)
    for own in findings.values():
        for each in own:
            enrichments[each.label].append(each.enrichment)
    best = {each.label: each for each in found.best}
    nan = float("nan")
    out = []
    for name in dict.fromkeys([*best, *sorted(enrichments)]):
        got, one = enrichments.get(name, []), best.get(name)
        scores = [nan] * 8
        if one is not None:
            mine, theirs = one.described, one.held_out
            scores = [mine.average_precision, mine.base, *theirs]
        out.append(
            LabelRow(
                *where.key,
                name,
                len(got),
                max(got, default=nan),
                -1 if one is None else one.feature,
                *scores,
            )
        )
    return out


def _quartiles(values: list[float]) -> list[float]:
    kept = [value for value in values if not np.isnan(value)]
    if not kept:
        return [float("nan")] * 3
    return [float(each) for each in np.quantile(kept, [0.25, 0.5, 0.75])]
