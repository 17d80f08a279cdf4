"""The picture of a comparison: all features by effect and q-value, the surest in order.

Needs matplotlib, which comes with ribolex[plot]. Knows nothing of servers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ribolex.client.errors import InvalidRequestError
from ribolex.client.groups import FeatureContrast, GroupComparison
from ribolex.client.groups_view import Names
from ribolex.client.pictures import check_suffix, plotting, save

_FIRST, _SECOND, _CHANCE = "#0b6fa4", "#c4622d", "#b0b0b0"
_N_LISTED = 20
_SIGNIFICANT = 0.05
_LABEL = 44


def write_volcano(path: Path, names: Names, found: GroupComparison) -> None:
    """Writes the picture: a volcano, and a forest of the strongest of the surest.

    Args:
        path: ends in .svg, .png or .pdf.
        names: of the groups.
        found: with all features that are to be drawn.

    Raises:
        InvalidRequestError: there are none, or the suffix is another one.
        NotReadyError: matplotlib is not installed.
    """
    check_suffix(path)
    if not found.features:
        raise InvalidRequestError("plot: no feature was tested")
    listed = [one for one in found if one.q_value <= _SIGNIFICANT]
    listed = [one for one in listed if not one.is_composition_only] or listed
    listed = sorted(listed, key=lambda one: -abs(one.effect))[:_N_LISTED]
    with plotting() as figure_of:
        figure = figure_of(
            figsize=(11.5, 1.6 + 0.24 * max(len(listed), 14)), layout="constrained"
        )
        volcano, forest = figure.subplots(1, 2, width_ratios=(1, 1))
        _draw_volcano(volcano, found.features, found)
        _draw_forest(forest, sorted(listed, key=lambda one: one.effect))
        figure.suptitle(
            f"{names.first} (+, {found.first.n_rnas:,} RNAs) against {names.second} "
            f"(−, {found.second.n_rnas:,}), by {found.dictionary}",
            x=0.01,
            ha="left",
        )
        save(figure, path)


def _draw_volcano(
    axis: Any, features: Sequence[FeatureContrast], found: GroupComparison
) -> None:
    effects = np.array([one.effect for one in features])
    heights = -np.log10(np.maximum([one.q_value for one in features], 1e-300))
    is_chance = np.array([one.is_composition_only for one in features])
    is_sure = heights >= -np.log10(_SIGNIFICANT)
    groups = (
        (is_sure & ~is_chance & (effects > 0), _FIRST, "more in +"),
        (is_sure & ~is_chance & (effects <= 0), _SECOND, "more in −"),
        (is_sure & is_chance, _CHANCE, "no more than composition"),
        (~is_sure, "#dedede", "q > 0.05"),
    )
    for mask, colour, label in groups[::-1]:
        axis.scatter(
            effects[mask], heights[mask], s=9, color=colour, linewidths=0,
            label=f"{label}: {int(mask.sum())}",
        )  # fmt: skip
    axis.axhline(-np.log10(_SIGNIFICANT), color="#888888", linewidth=0.8, ls=":")
    axis.set_xlim(-1.05, 1.05)
    axis.set_xlabel("effect (rank-biserial)")
    axis.set_ylabel("−log10 q")
    shown = (
        f" ({len(features):,} of them drawn)" if len(features) < found.n_tested else ""
    )
    axis.set_title(f"{found.n_tested:,} features tested{shown}")
    axis.legend(frameon=False, fontsize=7, loc="upper center")


def _draw_forest(axis: Any, listed: Sequence[FeatureContrast]) -> None:
    axis.set_title("effect with 95 % interval, · the same RNAs shuffled")
    for height, one in enumerate(listed):
        colour = _FIRST if one.effect > 0 else _SECOND
        axis.plot([one.effect_low, one.effect_high], [height] * 2, color=colour, lw=1.5)
        axis.plot(one.effect, height, "o", color=colour, markersize=4)
        if one.shuffled_effect is not None:
            axis.plot(one.shuffled_effect, height, ".", color="#777777", markersize=4)
    labels = [f"f{one.feature} {one.label}" for one in listed]
    axis.set_yticks(
        range(len(listed)),
        [text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…" for text in labels],
        fontsize=7,
    )
    axis.axvline(0, color="#888888", linewidth=0.8)
    axis.set_xlim(-1.05, 1.05)
    axis.set_xlabel("effect (rank-biserial)")
    if not listed:
        axis.text(0, 0, "none with q <= 0.05", ha="center")
