"""The picture of findings: what features go with, layer by layer, beside controls.

Knows nothing of how anything was measured.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ribolex.trainer.evaluation.plot import STYLE
from ribolex.trainer.findings.tables import LabelRow, Tables

_ARMS = {
    "dictionary": ("#0b6fa4", "o", 2.2),
    "neurons": ("#8c8c8c", "s", 1.2),
    "strongest neurons": ("#3d3d3d", "D", 1.2),
    "random decoder": ("#c4622d", "^", 1.2),
    "random model": ("#7a5195", "v", 1.2),
    "shuffled RNAs": ("#c9a227", "P", 1.2),
    "coin flips": ("#2a9d5c", "X", 1.2),
}
_KINDS = {
    "structure": "structure elements",
    "tract": "tracts of one letter",
    "type": "RNA types",
    "family": "families",
}
_SCORED = {"structure": "structure elements", "tract": "tracts", "type": "RNA types"}


def write_plot(tables: Tables, folder: Path) -> None:
    """Writes findings.svg and findings.png to a folder."""
    with mpl.rc_context(STYLE):
        figure = draw(tables)
        figure.savefig(folder / "findings.svg", metadata={"Date": None})
        figure.savefig(folder / "findings.png", dpi=130, metadata={"Software": None})


def draw(tables: Tables) -> Figure:
    """Returns the figure: shares of features above, sparsity and best ones below."""
    figure = Figure(figsize=(13, 6.8), layout="constrained")
    axes = figure.subplots(2, 4)
    for axis, (kind, title) in zip(axes[0], _KINDS.items(), strict=True):
        values = {
            (row.dictionary, row.arm): row.share
            for row in tables.kinds
            if row.kind == kind
        }
        _draw(axis, tables, values, f"Go with {title}")
        axis.set_ylim(0, 1.03)
    axes[0, 0].set_ylabel("share of features")
    selectivity = {(row.dictionary, row.arm): row.selectivity_50 for row in tables.arms}
    _draw(axes[1, 0], tables, selectivity, "Type selectivity, median")
    axes[1, 0].set_ylabel("share of the first type")
    for axis, (kind, title) in zip(axes[1, 1:], _SCORED.items(), strict=True):
        _draw(axis, tables, gains(tables, kind), f"Best feature: {title}")
    axes[1, 1].set_ylabel("average precision over\nchance, other families")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False)
    return figure


def gains(tables: Tables, kind: str) -> dict[tuple[str, str], float]:
    """Returns each arm's mean average precision above chance on other families.

    Of the feature chosen for each label of a kind; 1 is perfect, 0 knows nothing.
    """

    def gain(row: LabelRow) -> float:
        base = row.held_out_base
        return (row.held_out_average_precision - base) / (1 - base)

    return _means(tables.labels, lambda row: row.label.startswith(f"{kind}:"), gain)


def _means(
    rows: Sequence[LabelRow],
    is_wanted: Callable[[LabelRow], bool],
    value: Callable[[LabelRow], float],
) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.feature >= 0 and is_wanted(row):
            found.setdefault((row.dictionary, row.arm), []).append(value(row))
    return {key: float(np.mean(values)) for key, values in found.items()}


def _draw(
    axis: Axes, tables: Tables, values: dict[tuple[str, str], float], title: str
) -> None:
    axis.set_title(title)
    names = list(dict.fromkeys(row.dictionary for row in tables.arms))
    layers = {row.dictionary: row.layer for row in tables.arms}
    for arm in dict.fromkeys(row.arm for row in tables.arms):
        colour, marker, width = _ARMS[arm]
        points = [values.get((name, arm), np.nan) for name in names]
        style: dict[str, Any] = {"color": colour, "marker": marker, "linewidth": width}
        axis.plot(range(len(names)), points, label=arm, markersize=5, **style)
    axis.set_xticks(range(len(names)), [f"layer {layers[name]}" for name in names])
    axis.margins(x=0.08)
    axis.set_ylim(bottom=0)
