"""What is known of one RNA, as it travels between readers and everything else."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rna:
    """One RNA: a name, letters, and what the source says of it."""

    name: str
    sequence: str
    structure: str | None = None
    """Dot-bracket, one character a nucleotide."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Own keys; `family`, `family_acc`, `type` and `clan` where the source has them."""
