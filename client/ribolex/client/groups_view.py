"""How groups differ, as people read it on a terminal and as a tab-separated table."""

from collections.abc import Iterator
from typing import NamedTuple, TextIO

from rich.console import Console
from rich.text import Text

from ribolex.client.groups import FeatureContrast, GroupComparison, GroupFacts

COLUMNS = (
    "feature", "label", "effect", "effect_low", "effect_high", "log2_ratio",
    "log2_ratio_low", "log2_ratio_high", "first_share", "second_share", "p_value",
    "q_value", "shuffled_effect", "composition_only",
)  # fmt: skip
_UNITS = {"rna": "each RNA", "family": "each family", "clan": "each clan"}
_WIDTHS = (6, 5, 11, 4, 4, 7, 6)
_MIN_LABEL = 16
_FEW_UNITS = 15
"""Of 5, 10 and 15 a group, 88, 91 and 94 in 100 intervals of 95 % hold the truth."""


class Names(NamedTuple):
    """What the groups are called."""

    first: str
    second: str


def print_comparison(console: Console, names: Names, found: GroupComparison) -> None:
    """Prints the features by which groups differ most surely."""
    for sign, name, facts in (
        ("+", names.first, found.first),
        ("-", names.second, found.second),
    ):
        line = Text(f"{sign} {name}", "bold").append(_told(facts), "dim")
        console.print(line, soft_wrap=True)
    console.print(
        f"{found.n_tested:,} features of {found.dictionary} tested, "
        f"{_UNITS[found.unit]} one observation",
        soft_wrap=True,
    )
    line = Text(f"{found.n_significant:,} with q <= 0.05")
    if any(one.shuffled_effect is not None for one in found):
        line.append(f", {found.n_beyond_composition:,} beyond composition")
    console.print(line, soft_wrap=True)
    for note in _cautions(found):
        console.print(note, style="yellow", soft_wrap=True)
    if not found:
        return
    console.print()
    titles = ("feature", "effect", "95 %", "in +", "in -", "q", "chance", "label")
    console.print(Text(_row(titles), "dim"), soft_wrap=True)
    room = max(console.width - sum(_WIDTHS) - 2 * len(_WIDTHS), _MIN_LABEL)
    for one in found:
        label = one.label
        if len(label) > room:
            label = f"{label[: room - 3]}..."
        style = "dim" if one.is_composition_only else ""
        console.print(Text(_row((*_cells(one), label)), style), soft_wrap=True)
    for note in (
        "effect: 1 larger in every RNA of +, -1 in every RNA of - (rank-biserial)",
        "chance: the effect between the same RNAs shuffled; dim: no more than that",
    ):
        console.print(note, style="dim", soft_wrap=True)


def _cautions(found: GroupComparison) -> Iterator[str]:
    """Yields what few observations cannot tell."""
    n_units = min(found.first.n_units, found.second.n_units)
    if n_units < _FEW_UNITS:
        yield f"{n_units} observations in a group: its intervals are too narrow"
    if found.n_needed > found.n_tested:
        yield f"no p can be below {found.smallest_p:.1g}: nothing can have q <= 0.05"
    elif found.n_needed > 1:
        yield (
            f"no p can be below {found.smallest_p:.1g}: q <= 0.05 takes "
            f"{found.n_needed:,} features that differ so much"
        )


def _told(facts: GroupFacts) -> str:
    drawn = f" of {facts.n_found:,}" if facts.n_rnas < facts.n_found else ""
    units = f", {facts.n_units:,} units" if facts.n_units < facts.n_rnas else ""
    return (
        f"  {facts.n_rnas:,}{drawn} RNAs{units}, mean {facts.mean_nucleotides:.0f} nt"
    )


def _row(cells: tuple[str, ...]) -> str:
    padded = [cells[0].ljust(_WIDTHS[0])]
    padded += [
        cell.rjust(width) for cell, width in zip(cells[1:-1], _WIDTHS[1:], strict=True)
    ]
    return "  ".join([*padded, cells[-1]]).rstrip()


def _cells(one: FeatureContrast) -> tuple[str, ...]:
    shuffled = one.shuffled_effect
    return (
        f"f{one.feature}",
        f"{one.effect:+.2f}",
        f"{one.effect_low:+.2f} {one.effect_high:+.2f}",
        f"{one.first_share:.0%}",
        f"{one.second_share:.0%}",
        f"{one.q_value:.1e}",
        "-" if shuffled is None else f"{shuffled:+.2f}",
    )


def write_comparison(file: TextIO, found: GroupComparison) -> None:
    """Writes a line a feature; "NA" where nothing is known."""
    file.write("\t".join(COLUMNS) + "\n")
    for one in found:
        numbers = (
            one.effect, one.effect_low, one.effect_high, one.log_ratio,
            one.log_ratio_low, one.log_ratio_high, one.first_share, one.second_share,
        )  # fmt: skip
        shuffled = one.shuffled_effect
        row = (
            f"{one.feature}",
            " ".join(one.label.split()),
            *(f"{number:.4f}" for number in numbers),
            f"{one.p_value:.3e}",
            f"{one.q_value:.3e}",
            "NA" if shuffled is None else f"{shuffled:.4f}",
            "NA" if shuffled is None else f"{int(one.is_composition_only)}",
        )
        file.write("\t".join(row) + "\n")
