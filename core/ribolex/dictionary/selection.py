"""Features of a dictionary that answer to a question about their evidence.

Knows nothing of pages.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from ribolex.dictionary.features import FeatureTable
from ribolex.dictionary.profiles import SHAPES
from ribolex.errors import InvalidRequestError

Order = Literal["id", "effect", "q_value", "density", "confidence"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which features, and in which order."""

    label: str = ""
    """"structure:hairpin", or "structure:" for any of its kind; "" for all of them."""
    measure: str = "enrichment"
    min_effect: float | None = None
    max_q_value: float | None = None
    text: str = ""
    """What their own label contains, in capitals or not."""
    shape: str = ""
    without_composition_only: bool = False
    order: Order = "id"

    @property
    def is_about_evidence(self) -> bool:
        """Whether a feature without any evidence is none of them."""
        return bool(
            self.label or self.min_effect is not None or self.max_q_value is not None
        )


class Selected(NamedTuple):
    """Features in order."""

    features: Int64[np.ndarray, " selected"]
    rows: Int64[np.ndarray, " selected"]
    """Each one's strongest row of the evidence; -1 for none."""


def select(table: FeatureTable, asked: Selection) -> Selected:
    """Returns the features that were asked for.

    Raises:
        InvalidRequestError: a measure or a kind of label that this dictionary has not,
            or a shape where it tells of none.
    """
    rows = _rows(table, asked)
    best = np.full(len(table), -1, np.int64)
    features = table.evidence.features[rows]
    order = np.lexsort((rows, -table.evidence.effect[rows], features))
    found, first = np.unique(features[order], return_index=True)
    best[found] = rows[order][first]
    chosen = np.flatnonzero(_passes(table, asked) & _has(best, asked))
    order = np.lexsort((chosen, _keys(table, asked, chosen, best[chosen])))
    return Selected(chosen[order], best[chosen[order]])


def _rows(table: FeatureTable, asked: Selection) -> Int64[np.ndarray, " row"]:
    """Returns the rows of the evidence that are asked for."""
    evidence = table.evidence
    if asked.measure not in evidence.measures:
        if len(evidence.effect) or asked.is_about_evidence:
            known = ", ".join(evidence.measures) or "none"
            raise InvalidRequestError(
                "measure",
                f"{asked.measure!r} was not measured, expected one of: {known}",
            )
        return np.empty(0, np.int64)
    kept = evidence.measure == evidence.measures.index(asked.measure)
    if asked.label:
        is_kind = asked.label.endswith(":")
        kinds = {name.partition(":")[0] for name in evidence.labels}
        if asked.label.partition(":")[0] not in kinds or ":" not in asked.label:
            known = ", ".join(f"{kind}:" for kind in sorted(kinds)) or "none"
            raise InvalidRequestError(
                "label",
                f"{asked.label!r} is of no kind that was tested, expected one of: "
                f"{known} and a name",
            )
        of_label = [
            name.startswith(asked.label) if is_kind else name == asked.label
            for name in evidence.labels
        ]
        kept &= np.array(of_label, bool)[evidence.label]
    if asked.min_effect is not None:
        kept &= evidence.effect >= asked.min_effect
    if asked.max_q_value is not None:
        kept &= evidence.q_value <= asked.max_q_value
    return np.flatnonzero(kept)


def _has(
    best: Int64[np.ndarray, " n_features"], asked: Selection
) -> Bool[np.ndarray, " n_features"]:
    has_row: Bool[np.ndarray, " n_features"] = best >= 0
    return has_row if asked.is_about_evidence else np.ones(len(best), bool)


def _passes(table: FeatureTable, asked: Selection) -> Bool[np.ndarray, " n_features"]:
    """Returns which features have the label's text, the shape and the control."""
    out = np.ones(len(table), bool)
    if asked.text:
        wanted = asked.text.casefold()
        out &= np.array([wanted in label.casefold() for label in table.label], bool)
    if not (asked.shape or asked.without_composition_only):
        return out
    if table.profiles is None:
        field = "shape" if asked.shape else "without_composition_only"
        raise InvalidRequestError(
            field, "was not measured of this dictionary, expected nothing"
        )
    if asked.shape:
        if asked.shape not in SHAPES:
            raise InvalidRequestError(
                "shape", f"{asked.shape!r} found, expected one of: {', '.join(SHAPES)}"
            )
        out &= np.array([shape == asked.shape for shape in table.profiles.shape], bool)
    if asked.without_composition_only:
        out &= ~table.profiles.is_composition_only
    return out


def _keys(
    table: FeatureTable,
    asked: Selection,
    chosen: Int64[np.ndarray, " chosen"],
    rows: Int64[np.ndarray, " chosen"],
) -> np.ndarray:
    """Returns what features are sorted by, the smallest first."""
    if asked.order == "id":
        return chosen
    keys: np.ndarray = np.zeros(len(chosen))
    if asked.order == "density":
        keys = -table.density[chosen]
    elif asked.order == "confidence" and table.profiles is not None:
        keys = -np.nan_to_num(table.profiles.label_confidence[chosen], nan=-1.0)
    if asked.order not in ("effect", "q_value"):
        return keys
    values = np.full(len(chosen), np.inf)
    has_row = rows >= 0
    column = (
        table.evidence.effect if asked.order == "effect" else table.evidence.q_value
    )
    known = column[rows[has_row]].astype(np.float64)
    values[has_row] = -known if asked.order == "effect" else np.nan_to_num(known, nan=1)
    return values
