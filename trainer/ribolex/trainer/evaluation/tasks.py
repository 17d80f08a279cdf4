"""What probes are to read off: structure elements, and types of whole RNAs.

Knows nothing of representations.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from ribolex.rna.elements import ELEMENTS
from ribolex.trainer.evaluation.probing import Task
from ribolex.trainer.evaluation.sample import Sample, kin_of
from ribolex.trainer.labels import UNKNOWN, Labels, label_rnas

MIN_FAMILIES = 3
"""A type needs so many families with it, and without it, on both sides."""


class Tasks(NamedTuple):
    """Tasks of nucleotides and of RNAs; those that the labels allow."""

    fitted_rows: Int64[np.ndarray, " row"]
    """Rows of the sample to fit on that have a structure."""
    scored_rows: Int64[np.ndarray, " held_row"]
    of_rows: list[Task]
    """"paired" and "element"."""
    of_rnas: list[Task]
    """"type"."""


def set_tasks(fitted: Sample, scored: Sample) -> Tasks:
    """Returns the tasks that two samples of RNAs allow.

    An RNA counts as of known structure if it has a pair.

    Raises:
        InvalidRequestError: an RNA's structure is none.
    """
    mine = label_rnas(fitted.rnas, fitted.read)
    theirs = label_rnas(scored.rnas, scored.read)
    kin = _kin(scored)
    fitted_rows, scored_rows = _structured(mine, fitted), _structured(theirs, scored)
    each = np.arange(len(ELEMENTS))
    is_mine = mine.elements[fitted_rows][:, None] == each
    is_theirs = theirs.elements[scored_rows][:, None] == each
    names = [f"{letter} {name}" for letter, name in ELEMENTS.items()]
    of_rows = kin[scored.read.rnas[scored_rows]]
    stem = slice(list(ELEMENTS).index("S"), list(ELEMENTS).index("S") + 1)
    paired = _task("paired", names[stem], is_mine[:, stem], is_theirs[:, stem], of_rows)
    element = _task("element", names, is_mine, is_theirs, of_rows)
    types = _types(mine, theirs, kin)
    return Tasks(fitted_rows, scored_rows, [*paired, *element], types)


def _types(
    fitted: Labels, scored: Labels, kin: Int64[np.ndarray, " rna"]
) -> list[Task]:
    names = sorted(set(fitted.type_names) & set(scored.type_names))
    sides = []
    for own in (fitted, scored):
        columns = [own.type_names.index(name) for name in names]
        sides.append(own.types.toarray()[:, columns] > 0)
    enough = np.ones(len(names), bool)
    for own, side in zip((fitted, scored), sides, strict=True):
        for j in range(len(names)):
            for part in (side[:, j], ~side[:, j]):
                n_families = len(np.unique(own.families[part]))
                enough[j] &= n_families >= MIN_FAMILIES
    kept = np.flatnonzero(enough)
    chosen = [names[j] for j in kept]
    mine, theirs = (side[:, kept] for side in sides)
    return _task("type", chosen, mine, theirs, kin)


def _task(
    name: str,
    label_names: list[str],
    fitted: Bool[np.ndarray, "item label"],
    scored: Bool[np.ndarray, "held_out label"],
    kin: Int64[np.ndarray, " held_out"],
) -> list[Task]:
    """Returns the task with the labels that are there and not everywhere, or none."""
    varied = np.ones(len(label_names), bool)
    for side in (fitted, scored):
        varied &= side.any(0) & ~side.all(0)
    kept = np.flatnonzero(varied)
    if not len(kept):
        return []
    names = [label_names[i] for i in kept]
    return [Task(name, names, fitted[:, kept], scored[:, kept], kin)]


def _structured(labels: Labels, sample: Sample) -> Int64[np.ndarray, " row"]:
    has_pair = np.array(["(" in (rna.structure or "") for rna in sample.rnas], bool)
    known = has_pair[sample.read.rnas] & (labels.elements != UNKNOWN)
    return np.flatnonzero(known)


def _kin(sample: Sample) -> Int64[np.ndarray, " rna"]:
    names = [kin_of(rna) for rna in sample.rnas]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
