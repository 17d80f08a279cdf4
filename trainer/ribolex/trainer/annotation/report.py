"""The part of a dictionary's card that tells of its evidence.

Knows nothing of the rest of the card.
"""

from ribolex.dictionary import FeatureTable
from ribolex.trainer.annotation.findings import KINDS
from ribolex.trainer.annotation.table import FLIPS

_TITLE = "## What features mean"


def with_section(card: str, features: FeatureTable) -> str:
    """Returns a card with what its features' evidence was measured on, and came to."""
    before, _, rest = card.partition(f"{_TITLE}\n")
    after = rest[rest.index("\n## ") + 1 :] if "\n## " in rest else ""
    section = "\n".join([_TITLE, "", *_lines(features)])
    return f"{before.rstrip()}\n\n{section}\n{after and chr(10) + after}"


def _lines(features: FeatureTable) -> list[str]:
    n_labelled = sum(map(bool, features.label))
    basis = dict(features.basis)
    control = str(basis.pop("random control", ""))
    n_flips = basis.pop(FLIPS, 0)
    lines = [
        f"{n_labelled:,} of {len(features):,} features have a label made by fixed "
        "rules from their evidence. Labels of nucleotides are tested against circular "
        "shifts of whole clans, types over clans, families and clans over RNAs, all "
        "three against such of about the same length; one false-discovery rate over "
        "all tests; intervals by drawing clans anew.",
        "",
    ]
    kinds = [kind for kind in KINDS if f"features with {kind}" in basis]
    if kinds:
        lines += [
            "| goes with a | features | F1 above the constant |"
            + (" of the control | F1 above the constant |" if control else "")
            + (f" of {n_flips} coin flips |" if n_flips else ""),
            "|---|---|---|" + "---|---|" * bool(control) + "---|" * bool(n_flips),
        ]
    for kind in kinds:
        names = [f"features with {kind}", f"features with {kind}, f1 gained"]
        names += [f"random {name}" for name in names] if control else []
        names += [f"{FLIPS} with {kind}"] if n_flips else []
        cells = [_text(basis.pop(name, "")) for name in names]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    if control:
        lines += ["", f"The control: {control}."]
    if n_flips:
        lines += [
            "",
            "Coin flips: features that fire on any nucleotide by chance, as often as "
            "the dictionary's. All they know of an RNA is how long it is.",
        ]
    lines += ["", "| | |", "|---|---|"]
    lines += [f"| {name} | {_text(value)} |" for name, value in basis.items()]
    if (profiles := features.profiles) is not None:
        n = int(profiles.is_composition_only.sum())
        lines.append(f"| fire about as often in shuffled RNAs | {n:,} |")
    return lines


def _text(value: str | int | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"
