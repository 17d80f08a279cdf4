"""The picture of a saturated stretch: a cell a substitution, as SVG, PNG or PDF.

Needs matplotlib, which comes with ribolex[plot]. Knows nothing of servers.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ribolex.client.errors import InvalidRequestError
from ribolex.client.pictures import check_suffix, plotting, save
from ribolex.client.variants import VariantScan

_LETTERS = "ACGU"
_PER_ROW = 80
"""Nucleotides side by side."""


def write_heat_map(path: Path, name: str, scan: VariantScan) -> None:
    """Writes the picture: above what the model expects, below how the code changes.

    Args:
        path: ends in .svg, .png or .pdf.
        name: of the reference.
        scan: has substitutions.

    Raises:
        InvalidRequestError: it has none, or the suffix is another one.
        NotReadyError: matplotlib is not installed.
    """
    check_suffix(path)
    marginal, change = scan.grid("masked_marginal"), scan.grid("change")
    places = np.flatnonzero(np.isfinite(change).any(0))
    if not len(places):
        raise InvalidRequestError(
            "heat map: the scan has no substitution of one nucleotide by another"
        )
    first, last = int(places[0]), int(places[-1]) + 1
    grids = (
        (marginal, "masked marginal, nats (red: less expected)", "RdBu", True),
        (100 * change / (scan.code_sum or 1), "code changed, %", "viridis", False),
    )
    with plotting() as figure_of:
        starts = range(first, last, _PER_ROW)
        width = min(last - first, _PER_ROW)
        figure = figure_of(
            figsize=(2.2 + 0.16 * width, 1.0 + 2.5 * len(starts)), layout="constrained"
        )
        axes = figure.subplots(2 * len(starts), 1, squeeze=False)[:, 0]
        for kind, (grid, title, colours, is_signed) in enumerate(grids):
            highest = float(np.nanmax(np.abs(grid))) if np.isfinite(grid).any() else 1.0
            limits = (-highest if is_signed else 0.0, highest or 1.0)
            own = axes[kind::2]
            for axis, start in zip(own, starts, strict=True):
                stop = min(start + _PER_ROW, last)
                image = _draw(axis, scan.sequence, grid, start, stop, limits, colours)
                axis.set_xlim(start - 0.5, start + width - 0.5)
            own[0].set_title(title)
            figure.colorbar(image, ax=list(own), shrink=0.8, pad=0.01)
        figure.suptitle(f"{name}, by {scan.dictionary}", x=0.01, ha="left")
        save(figure, path)


def _draw(
    axis: Any,
    sequence: str,
    grid: Any,
    start: int,
    stop: int,
    limits: tuple[float, float],
    colours: str,
) -> Any:
    image = axis.imshow(
        grid[:, start:stop],
        extent=(start - 0.5, stop - 0.5, 3.5, -0.5),
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
    )
    axis.set_facecolor("#bdbdbd")
    axis.set_yticks(range(4), list(_LETTERS))
    labels = [
        f"{letter}\n{place + 1}" if place == start or (place + 1) % 10 == 0 else letter
        for place, letter in enumerate(sequence[start:stop], start=start)
    ]
    axis.set_xticks(range(start, stop), labels, fontsize=7)
    axis.tick_params(length=0)
    return image
