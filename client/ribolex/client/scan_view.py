"""Effects of variants as people read them: tracks under the letters, and a list."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.text import Text

from ribolex.client.output import has_ascii_only
from ribolex.client.tracks import Track, draw, marks
from ribolex.client.variants import VariantEffect, VariantScan

_N_NAMED = 2
"""Features named below a variant."""
_MAX_NAME = 40


def print_scan(console: Console, name: str, scan: VariantScan, top: int) -> None:
    """Prints what a scan found.

    Args:
        console: where to.
        name: of the reference.
        scan: what to print.
        top: most variants to list: of a saturated stretch those that the model expects
            least, of others the first.
    """
    line = Text(name, "bold").append(f"  {len(scan.sequence):,} nt", "dim")
    line.append(f", {len(scan):,} variants, by {scan.dictionary}", "dim")
    line.append(f", fvu {scan.fvu:.2f}", "dim")
    console.print(line, soft_wrap=True)
    single = [one for one in scan if one.substitution is not None]
    is_saturated = len(single) == len(scan) > len(scan.sequence) / 2
    if is_saturated:
        console.print()
        _print_tracks(console, scan)
    listed = (
        sorted(single, key=_expected)[:top] if is_saturated else scan.variants[:top]
    )
    if listed:
        console.print()
        _print_list(console, scan, listed)


def _expected(one: VariantEffect) -> float:
    marginal = one.masked_marginal
    return one.log_likelihood_ratio if marginal is None else marginal


def _print_tracks(console: Console, scan: VariantScan) -> None:
    """Prints, for each nucleotide, the mean over its substitutions."""
    ascii_only = has_ascii_only(console)
    n = len(scan.sequence)
    expected, changed = scan.grid("masked_marginal"), scan.grid("change")
    tracks = [Track("", scan.sequence)]
    for label, values in (("unlikely", -_means(expected)), ("code", _means(changed))):
        found = {i: float(x) for i, x in enumerate(values) if x > 0}
        tracks.append(Track(label, marks(n, found, ascii_only=ascii_only), "cyan"))
    for line in draw(tracks, console.width):
        console.print(line, soft_wrap=True)
    for text in (
        "unlikely: how much less the model expects others than the letter there, mean",
        "code: how much the code of the RNA changes with the letter there, mean",
    ):
        console.print(text, style="dim", soft_wrap=True)


def _means(grid: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = np.isfinite(grid)
    sums = np.where(known, grid, 0.0).sum(0)
    out: npt.NDArray[np.float64] = sums / np.maximum(known.sum(0), 1)
    return out


def _print_list(
    console: Console, scan: VariantScan, listed: Sequence[VariantEffect]
) -> None:
    titles = ("variant", "masked", "ratio", "gained", "lost", "near")
    rows = [titles, *(_cells(scan, one) for one in listed)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells, one in zip(rows, (None, *listed), strict=True):
        line = cells[0].ljust(widths[0])
        for cell, width in zip(cells[1:], widths[1:], strict=True):
            line += f"  {cell:>{width}}"
        console.print(Text(line, "bold" if one else "dim"), soft_wrap=True)
        for each in one.features[:_N_NAMED] if one else ():
            amount = each.gained - each.lost
            text = f"    {amount:+6.1f}  f{each.feature}  {each.label}"
            console.print(Text(_cut(text, console.width)), soft_wrap=True)
    for note in (
        "masked, ratio: nats by which the model expects it more than the reference",
        "gained, lost: of the reference's code; near: share of that within "
        f"{scan.reach} nt",
    ):
        console.print(note, style="dim", soft_wrap=True)


def _cells(scan: VariantScan, one: VariantEffect) -> tuple[str, ...]:
    return (
        _cut(one.changes, _MAX_NAME),
        "-" if one.masked_marginal is None else f"{one.masked_marginal:.2f}",
        f"{one.log_likelihood_ratio:.2f}",
        _share(one.gained, scan.code_sum),
        _share(one.lost, scan.code_sum),
        _share(one.near_gained + one.near_lost, one.gained + one.lost),
    )


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole and math.isfinite(whole) else "-"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
