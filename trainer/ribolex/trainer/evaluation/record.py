"""All that was measured of a dictionary, as `evaluation.json` holds it.

Knows nothing of how it was measured or is shown.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ribolex.errors import CorruptInputError
from ribolex.trainer.evaluation.loss import LossRecovered
from ribolex.trainer.evaluation.probing import ProbeScore
from ribolex.trainer.evaluation.reconstruction import Reconstruction
from ribolex.trainer.evaluation.stability import Stability

SCHEMA_VERSION = 1
"""Of `evaluation.json`; rises when a field changes its meaning or goes."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured."""

    name: str
    lm_name: str
    lm_digest: str
    layer: int
    hook: str
    level: str
    kind: str
    activation: str
    k: int
    n_features: int
    d_in: int
    seed: int
    training_data: str
    """SHA-256 of the RNAs that it was trained on."""


@dataclass(frozen=True, slots=True)
class Data:
    """What it was measured on."""

    held_out: str
    """SHA-256 of the held-out RNAs."""
    n_rnas: int
    n_families: int
    n_clans: int
    """Families without a clan count as one each."""
    n_nucleotides: int
    fitted: str
    """Where probes and components were fitted: "training families", or "half of the
    held-out clans", the other half being scored then."""
    n_fitted: int
    """Nucleotides of that."""
    n_shared_clans: int
    """Clans that probes were fitted and scored on: 0, or their scores flatter."""


@dataclass(frozen=True, slots=True)
class Gap:
    """How far the dictionary is ahead of a control in one probe."""

    task: str
    k: int
    gap: float
    """Difference of the AUROCs, > 0 where the dictionary is better."""
    low: float
    """Of the 95 % interval over clans."""
    high: float


@dataclass(frozen=True, slots=True)
class Control:
    """What was measured of something that the dictionary must beat."""

    name: str
    """"neurons", "pca", "random decoder", "random model"."""
    what: str
    """One sentence."""
    n_rows: int
    """Rows that its fit has seen; 0 where nothing was fitted by steps."""
    fvu: float | None = None
    dead_fraction: float | None = None
    probes: tuple[ProbeScore, ...] = ()
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything; what is None could not be measured of this dictionary."""

    schema_version: int
    subject: Subject
    data: Data
    reconstruction: Reconstruction
    loss: LossRecovered | None
    loss_recovered: float | None
    probes: tuple[ProbeScore, ...]
    stability: Stability | None
    controls: tuple[Control, ...]

    def headline(self) -> dict[str, float]:
        """Returns the numbers that a dictionary's identity carries."""
        found = self.reconstruction
        out: dict[str, float | None] = {
            "fvu": found.fvu,
            "l0": found.l0,
            "dead_fraction": found.dead_fraction,
            "dense_fraction": found.dense_fraction,
            "cap_cut": found.cap_cut,
            "n_nucleotides": float(found.n_nucleotides),
            "loss_recovered": self.loss_recovered,
        }
        for score in self.probes:
            out[f"{score.task}_auroc_k{score.k}"] = score.auroc
        for control in self.controls:
            key = control.name.replace(" ", "_")
            out[f"{key}_fvu"] = control.fvu
            out[f"{key}_dead_fraction"] = control.dead_fraction
            for score in control.probes:
                out[f"{key}_{score.task}_auroc_k{score.k}"] = score.auroc
        if self.stability is not None:
            out["stability_mean_cosine"] = self.stability.mean_cosine
        return {
            name: value
            for name, value in out.items()
            if value is not None and math.isfinite(value)
        }

    def to_bytes(self) -> bytes:
        """Returns the JSON text of `evaluation.json`."""
        return _EVALUATION.dump_json(self, indent=1) + b"\n"


_EVALUATION = TypeAdapter(Evaluation)


def read_evaluation(path: Path) -> Evaluation:
    """Returns what is in an `evaluation.json`.

    Raises:
        CorruptInputError: it is none, or of another schema version.
    """
    try:
        found = _EVALUATION.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CorruptInputError(path, "is no evaluation of a dictionary") from error
    if found.schema_version != SCHEMA_VERSION:
        raise CorruptInputError(
            path,
            f"schema version is {found.schema_version}, expected {SCHEMA_VERSION}",
        )
    return found
