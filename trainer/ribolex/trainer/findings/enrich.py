"""From a dictionary and tables of RNAs to the terms that its features go with.

Beside the same of controls, and of terms dealt out by chance. Knows nothing of the
command line.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

from ribolex.dictionary import Dictionary
from ribolex.lm import LanguageModel
from ribolex.trainer.annotation import Note
from ribolex.trainer.annotation.material import Material, arrange
from ribolex.trainer.findings.arms import Arm, Arms, Both
from ribolex.trainer.findings.ontology import Ontology, read_obo, read_terms
from ribolex.trainer.findings.sampling import read_sample
from ribolex.trainer.findings.tables import CountRow, TermRow
from ribolex.trainer.findings.terms import (
    Counts,
    TermSets,
    Tested,
    assess_terms,
    deal,
    gather_terms,
)


@dataclass(frozen=True, slots=True)
class Enrichment:
    """What terms are looked for on."""

    rnas: Sequence[Path]
    """Tables."""
    terms: Sequence[Path] = ()
    """GAF files or tables, beside types, families and clans."""
    obo: Path | None = None
    """What those terms are part of."""
    n_nucleotides: int = 300_000
    control_rows: int = 300_000
    n_deals: int = 5
    """Times that terms are dealt out by chance, among RNAs of about one length."""
    seed: int = 0
    device: str = "cpu"


class Enriched(NamedTuple):
    """All that was found."""

    counts: list[CountRow]
    rows: list[TermRow]
    basis: dict[str, int]


def enrich(
    dictionary: Dictionary,
    lm: LanguageModel,
    plan: Enrichment,
    workdir: Path | None,
    note: Note,
) -> Enriched:
    """Returns the terms that features go with, beside controls.

    Args:
        dictionary: of whole sequences or of nucleotides, whose features count for an
            RNA in which they fire anywhere.
        lm: the model that it was made for.
        plan: RNAs and terms.
        workdir: where activations and fits are kept for a second run; None for nowhere.
        note: is told each step, how much of it is done, and of how much.

    Raises:
        CorruptInputError, InvalidSequenceError: a file is not what it should be.
        IncompatibleDictionaryError: the dictionary is of another model.
        InvalidRequestError: no RNA fits the model.
    """
    if workdir is None:
        with tempfile.TemporaryDirectory() as folder:
            return enrich(dictionary, lm, plan, Path(folder), note)
    workdir.mkdir(parents=True, exist_ok=True)
    dictionary.check_lm(lm.digest)
    ontology = Ontology() if plan.obo is None else read_obo(plan.obo)
    given = [read_terms(path) for path in plan.terms]
    rnas = read_sample(plan.rnas, lm, plan.n_nucleotides, plan.seed)
    arms = Arms.of(
        lm, Both(rnas, []), plan.control_rows, workdir, plan.device, note, plan.seed
    )
    counts, rows, basis = [], list[TermRow](), dict[str, int]()
    for arm in arms.make(dictionary):
        material = arrange(arm.described.rnas, arm.described.read)
        terms = gather_terms(material, given, ontology)
        presence = _presence(arm, material, partial(note, arm.name))
        tested = assess_terms(presence, material, terms)
        counts.append(_count(arm, presence, material, terms, tested, plan))
        if not basis:
            rows = _rows(presence, terms, tested, ontology)
            basis = {"RNAs": len(rnas), "clans": material.n_clans}
            basis |= {"terms": len(terms.names), "tests": tested.p_value.size}
    return Enriched(counts, rows, basis)


def _presence(arm: Arm, material: Material, told: "partial[None]") -> sparse.csr_array:
    """Returns the [rna, feature] matrix with a 1 where a feature fires."""
    firings = arm.fires(material, arm.described.read, told)
    features = np.repeat(np.arange(firings.n_features), firings.counts)
    ones = np.ones(len(features), np.float32)
    shape = (len(material.rnas), firings.n_features)
    out = sparse.csr_array(
        (ones, (material.rna_of_row[firings.rows], features)), shape=shape
    )
    out.sum_duplicates()
    out.data[:] = 1
    return out


def _count(
    arm: Arm,
    presence: sparse.csr_array,
    material: Material,
    terms: TermSets,
    tested: Tested,
    plan: Enrichment,
) -> CountRow:
    found = Counts.of(tested)
    generator = np.random.default_rng(plan.seed)
    dealt = [
        Counts.of(assess_terms(presence, material, deal(terms, material, generator)))
        for _ in range(plan.n_deals)
    ]
    mean = np.mean(dealt, axis=0).tolist() if dealt else [float("nan")] * 4
    return CountRow(
        arm.name,
        arm.what,
        int((np.asarray(presence.sum(0)) > 0).sum()),
        len(terms.names),
        found.features,
        mean[0],
        found.pairs,
        mean[1],
        found.features_within,
        mean[2],
        found.pairs_within,
        mean[3],
    )


def _rows(
    presence: sparse.csr_array, terms: TermSets, tested: Tested, ontology: Ontology
) -> list[TermRow]:
    fired = np.asarray(presence.sum(0)).ravel().astype(int)
    totals = np.asarray(terms.of_rna.sum(0)).ravel().astype(int)
    passes, within = tested.passes, tested.passes_within
    features, columns = np.nonzero(passes | within)
    order = np.lexsort((tested.p_value[features, columns], features))
    return [
        TermRow(
            f,
            terms.names[t],
            ontology.names.get(terms.names[t], terms.names[t]),
            int(fired[f]),
            int(totals[t]),
            int(tested.hits[f, t]),
            float(tested.enrichment[f, t]),
            float(tested.fisher[f, t]),
            float(tested.p_value[f, t]),
            float(tested.q_value[f, t]),
            bool(passes[f, t]),
            bool(within[f, t]),
        )
        for f, t in zip(features[order].tolist(), columns[order].tolist(), strict=True)
    ]
