"""Findings as rows of tables, and as files of tab-separated values.

Knows nothing of how they were made.
"""

import gzip
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class ArmRow(NamedTuple):
    """Sparsity and selectivity of one arm; quartiles are over features that fire."""

    dictionary: str
    layer: int
    arm: str
    what: str
    n_features: int
    n_dead: int
    """Never fire."""
    n_supported: int
    """Fire often enough to be tested."""
    n_tests: int
    l0: float
    """Features that fire on a nucleotide, in the mean."""
    density_25: float
    density_50: float
    density_75: float
    selectivity_25: float
    """Of the type in whose RNAs it fires the most for their length, types weighing the
    same."""
    selectivity_50: float
    selectivity_75: float
    entropy_50: float
    n_of_one_type: int
    """Supported features with a selectivity of a half or more."""
    n_of_one_family: int
    """Half of the RNAs in which it fires are of a family that it goes with."""
    n_pairing: int
    """Fire on both partners of pairs."""


class KindRow(NamedTuple):
    """How many features of an arm go with labels of a kind."""

    dictionary: str
    layer: int
    arm: str
    kind: str
    n_features: int
    """Supported ones that do: q <= 0.05, enrichment >= 1.2, in enough relatives."""
    share: float
    """Of the supported ones."""
    n_above_constant: int
    """Whose F1 is above that of the best constant predictor as well."""
    n_labels: int
    """Different labels that they go with."""


class LabelRow(NamedTuple):
    """One label: how many features go with it, and which does best elsewhere."""

    dictionary: str
    layer: int
    arm: str
    label: str
    n_features: int
    best_enrichment: float
    """Of those, over chance (of RNAs: that of their lengths); NaN without any."""
    feature: int
    """Of the highest average precision; -1 where no other families have the label."""
    described_average_precision: float
    described_base: float
    held_out_average_precision: float
    held_out_base: float
    held_out_auroc: float
    held_out_mcc: float
    held_out_precision: float
    held_out_recall: float


class FeatureRow(NamedTuple):
    """One feature of an arm."""

    dictionary: str
    layer: int
    arm: str
    feature: int
    density: float
    n_rnas: int
    n_families: int
    is_supported: bool
    shape: str
    type_selectivity: float
    type_entropy: float
    preferred_type: str
    labels: str
    """What it goes with, the most telling first, commas between."""


class CountRow(NamedTuple):
    """How many features of an arm go with a term, and how many would by chance."""

    arm: str
    what: str
    n_features: int
    """Fire in some RNA."""
    n_terms: int
    features: int
    """One false-discovery rate over all tests, terms of several clans over clans."""
    features_dealt: float
    """The same of terms dealt out among RNAs of about one length, mean."""
    pairs: int
    pairs_dealt: float
    features_within: int
    """The papers' rule: Fisher's test over RNAs, corrected within each feature."""
    features_within_dealt: float
    pairs_within: int
    pairs_within_dealt: float


class TermRow(NamedTuple):
    """A feature of the dictionary and a term that it goes with by either rule."""

    feature: int
    term: str
    name: str
    n_rnas: int
    """In which it fires."""
    n_with_term: int
    n_both: int
    enrichment: float
    p_fisher: float
    p_value: float
    q_value: float
    passes: bool
    passes_within: bool


Row = ArmRow | KindRow | LabelRow | FeatureRow | CountRow | TermRow


@dataclass(slots=True)
class Tables:
    """All that was found; grows arm by arm."""

    arms: list[ArmRow] = field(default_factory=list)
    kinds: list[KindRow] = field(default_factory=list)
    labels: list[LabelRow] = field(default_factory=list)
    features: list[FeatureRow] = field(default_factory=list)
    basis: dict[str, str | int] = field(default_factory=dict)
    """What it was found on."""

    def write(self, folder: Path) -> None:
        """Writes arms.tsv, kinds.tsv, labels.tsv and features.tsv.gz to a folder."""
        for name in ("arms", "kinds", "labels"):
            rows = getattr(self, name)
            (folder / f"{name}.tsv").write_text(as_tsv(rows), encoding="utf-8")
        write_packed(self.features, folder / "features.tsv.gz")


def write_packed(rows: Iterable[Row], path: Path) -> None:
    """Writes rows to a gzipped table; the same bytes for the same rows."""
    with (
        path.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed,
    ):
        packed.write(as_tsv(rows).encode())


def as_tsv(rows: Iterable[Row]) -> str:
    """Returns rows of one kind below their names; numbers with four digits."""
    lines: list[str] = []
    for row in rows:
        if not lines:
            lines.append("\t".join(row._fields))
        lines.append("\t".join(map(_text, row)))
    return "\n".join(lines) + "\n"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
