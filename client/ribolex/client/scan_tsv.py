"""Effects of variants as a tab-separated table, a line a variant.

Positions count from 1; numbers are those of variants.proto. "NA" where one is not
defined.
"""

from typing import TextIO

from ribolex.client.variants import FeatureChange, VariantEffect, VariantScan

COLUMNS = (
    "variant", "positions", "masked_marginal", "log_likelihood_ratio", "gained", "lost",
    "near_gained", "near_lost", "features",
)  # fmt: skip


def write_scan(file: TextIO, scan: VariantScan) -> None:
    """Writes the table; refused variants are left out."""
    file.write("\t".join(COLUMNS) + "\n")
    for one in scan:
        file.write("\t".join(_cells(one)) + "\n")


def _cells(one: VariantEffect) -> tuple[str, ...]:
    marginal = one.masked_marginal
    sums = (one.gained, one.lost, one.near_gained, one.near_lost)
    return (
        one.changes,
        ",".join(f"{place + 1}" for place in one.positions) or "NA",
        "NA" if marginal is None else f"{marginal:.4f}",
        f"{one.log_likelihood_ratio:.4f}",
        *(f"{each:.4g}" for each in sums),
        ";".join(map(feature_text, one.features)) or "NA",
    )


def feature_text(one: FeatureChange) -> str:
    """Returns what a feature gains and loses: "f12:+3.2-0.4"."""
    gained = f"+{one.gained:.3g}" if one.gained else ""
    lost = f"-{one.lost:.3g}" if one.lost else ""
    return f"f{one.feature}:{gained}{lost}"
