"""The feature that goes best with each label, scored on other families.

So that neither many features nor many labels make a good score. Chosen by average
precision, which asks for no threshold. Knows nothing of where features come from.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from ribolex.trainer.annotation.labels import Labels
from ribolex.trainer.annotation.measuring import Labelled, Steps, select, weigh
from ribolex.trainer.annotation.ranking import Ranking
from ribolex.trainer.annotation.significance import Measured, Significance
from ribolex.trainer.findings.arms import Fires


class Score(NamedTuple):
    """How well one feature tells a label."""

    average_precision: float
    base: float
    """Share with the label: the average precision of what knows nothing."""
    auroc: float
    mcc: float
    precision: float
    recall: float


class Best(NamedTuple):
    """A label and the feature chosen for it."""

    label: str
    feature: int
    described: Score
    """Where it was chosen."""
    held_out: Score


def find_best(
    fires: Fires,
    measured: Measured,
    tests: Significance,
    held_out: Labelled,
    steps: Steps,
) -> list[Best]:
    """Returns for each label that other families have, too, the best feature.

    Labels of families and clans, which those cannot have, are left out.

    Args:
        fires: where the features do.
        measured: on the families to choose on.
        tests: of the same; only supported features are chosen.
        held_out: RNAs of other families.
        steps: who is told.
    """
    kept = np.flatnonzero(tests.is_supported)
    if not len(kept):
        return []
    tables = (
        (measured.nucleotides, held_out.labels),
        (measured.rnas, held_out.of_rnas),
    )
    chosen = [_choose(table, labels, kept) for table, labels in tables]
    features = np.unique([f for part in chosen for f in part.values()]).astype(np.int64)
    material, activations = held_out.material, held_out.activations
    firings = fires(material, activations, steps.encode)
    again = weigh(select(firings, features), held_out, steps)
    out = []
    for (table, _), part, other in zip(
        tables, chosen, (again.nucleotides, again.rnas), strict=True
    ):
        for name, feature in part.items():
            place = int(np.searchsorted(features, feature))
            out.append(
                Best(
                    name,
                    feature,
                    _score(table, feature, name),
                    _score(other, place, name),
                )
            )
    return out


def _choose(
    ranked: Ranking, other: Labels, kept: Int64[np.ndarray, " kept"]
) -> dict[str, int]:
    theirs = set(np.array(other.names)[np.asarray(other.is_tested)])
    own = ranked.labels
    out = {}
    for i, name in enumerate(own.names):
        if own.kind_of(i) in ("family", "clan"):
            continue
        if own.is_tested[i] and name in theirs:
            column: Float32[np.ndarray, " kept"] = ranked.average_precision[kept, i]
            out[name] = int(kept[column.argmax()])
    return out


def _score(ranked: Ranking, feature: int, name: str) -> Score:
    label = list(ranked.labels.names).index(name)
    hits, drawn = ranked.hits[feature, label], ranked.drawn[feature, label]
    total, known = ranked.labels.totals[label], ranked.labels.known[label]
    base = total / known
    under = float(drawn) * (known - drawn) * total * (known - total)
    over = float(hits - ranked.expected[feature, label]) * known
    return Score(
        average_precision=float(ranked.average_precision[feature, label]),
        base=float(base),
        auroc=float(ranked.auroc[feature, label]),
        mcc=float(over / np.sqrt(under)) if under > 0 else 0.0,
        precision=float(hits / max(drawn, 1)),
        recall=float(hits / total),
    )
