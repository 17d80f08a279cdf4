"""The part of a dictionary's card that tells of its evidence.

Knows nothing of the rest of the card.
"""

from ribolex.dictionary import FeatureTable

_TITLE = "## What features mean"


def with_section(card: str, features: FeatureTable) -> str:
    """Returns a card with what its features' evidence was measured on, and came to."""
    before, _, rest = card.partition(f"{_TITLE}\n")
    after = rest[rest.index("\n## ") + 1 :] if "\n## " in rest else ""
    section = "\n".join([_TITLE, "", *_lines(features)])
    return f"{before.rstrip()}\n\n{section}\n{after and chr(10) + after}"


def _lines(features: FeatureTable) -> list[str]:
    n_labelled = sum(map(bool, features.label))
    lines = [
        f"{n_labelled:,} of {len(features):,} features have a label made by fixed "
        "rules from their evidence. Labels of nucleotides are tested against circular "
        "shifts of whole clans, types over clans, families and clans over RNAs; one "
        "false-discovery rate over all tests; intervals by drawing clans anew.",
        "",
        "| | |",
        "|---|---|",
    ]
    for name, value in features.basis.items():
        told = value if isinstance(value, str) else f"{value:,g}"
        if isinstance(value, int):
            told = f"{value:,}"
        lines.append(f"| {name} | {told} |")
    if (profiles := features.profiles) is not None:
        n = int(profiles.is_composition_only.sum())
        lines.append(f"| fire about as often in shuffled RNAs | {n:,} |")
    return lines
