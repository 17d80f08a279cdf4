"""The picture of an evaluation: six panels, as SVG and PNG.

Knows nothing of how anything was measured.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ribolex.trainer.evaluation.card import TASKS
from ribolex.trainer.evaluation.probing import ProbeScore
from ribolex.trainer.evaluation.record import Evaluation

_OWN = "#0b6fa4"
_OTHERS = {
    "neurons": "#8c8c8c",
    "pca": "#c9a227",
    "random decoder": "#c4622d",
    "random model": "#7a5195",
}
_MARKERS = "osD^vP"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "svg.hashsalt": "ribolex",
    "svg.fonttype": "none",
}
"""Of every picture; the same bytes for the same numbers."""


def write_plots(evaluation: Evaluation, folder: Path) -> None:
    """Writes evaluation.svg and evaluation.png to a folder."""
    with mpl.rc_context(STYLE):
        figure = draw(evaluation)
        figure.savefig(folder / "evaluation.svg", metadata={"Date": None})
        figure.savefig(folder / "evaluation.png", dpi=160, metadata={"Software": None})


def draw(evaluation: Evaluation) -> Figure:
    """Returns the figure: rebuilding above, probes below."""
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    tasks = list(dict.fromkeys(score.task for score in evaluation.probes))
    axes = figure.subplots(2 if tasks else 1, 3, squeeze=False)
    _draw_fvu(axes[0, 0], evaluation)
    _draw_loss(axes[0, 1], evaluation)
    _draw_l0(axes[0, 2], evaluation)
    if tasks:
        for axis, task in zip(axes[1], tasks, strict=False):
            _draw_probe(axis, evaluation, task)
        for axis in axes[1, len(tasks) :]:
            axis.set_axis_off()
        handles, labels = axes[1, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=6, frameon=False
        )
    subject, data = evaluation.subject, evaluation.data
    figure.suptitle(
        f"{subject.name}: layer {subject.layer} of {subject.lm_name}, "
        f"{subject.n_features:,} features; {data.n_nucleotides:,} nt of "
        f"{data.n_clans:,} held-out clans",
        x=0.01,
        ha="left",
    )
    return figure


def _draw_fvu(axis: Axes, evaluation: Evaluation) -> None:
    axis.set_title("Variance unexplained")
    bars = [("dictionary", evaluation.reconstruction.fvu)]
    bars += [(c.name, c.fvu) for c in evaluation.controls if c.fvu is not None]
    names = [name for name, _ in bars]
    values = [value for _, value in bars]
    found = axis.barh(names, values, color=[_colour(name) for name in names])
    axis.bar_label(found, fmt="%.3f", padding=3)
    axis.set_xlim(0, max(1.0, *values) * 1.15)
    axis.invert_yaxis()
    axis.set_xlabel("FVU, lower is better")


def _draw_loss(axis: Axes, evaluation: Evaluation) -> None:
    loss = evaluation.loss
    if loss is None:
        axis.set_axis_off()
        return
    recovered = evaluation.loss_recovered
    told = "" if recovered is None else f": {recovered:.1%} recovered"
    axis.set_title(f"Masked-letter loss{told}")
    points = [
        ("layer as it is", loss.clean, "#5a5a5a"),
        ("rebuilt", loss.rebuilt, _OWN),
    ]
    points.append(("its mean", loss.mean, "#9a9a9a"))
    values = [value for _, value, _ in points]
    edge = max(values) - min(values) or 1.0
    for height, (_, value, colour) in enumerate(points):
        axis.plot([min(values), value], [height, height], color=colour, linewidth=2)
        axis.plot(value, height, "o", color=colour, markersize=9)
        axis.annotate(
            f"{value:.3f}", (value, height), (8, 6), textcoords="offset points"
        )
    axis.axvline(min(values), color="#cccccc", linewidth=1, zorder=0)
    axis.set_yticks(range(len(points)), [name for name, _, _ in points])
    axis.set_xlim(min(values) - 0.08 * edge, max(values) + 0.25 * edge)
    axis.set_ylim(len(points) - 0.5, -0.5)
    axis.set_xlabel(f"cross-entropy, nats (with zeros: {loss.zero:.3f})")


def _draw_l0(axis: Axes, evaluation: Evaluation) -> None:
    found = evaluation.reconstruction
    axis.set_title(f"Firing features: {found.l0:.1f} a nucleotide")
    shares = [count / found.n_nucleotides for count in found.l0_histogram]
    axis.bar(range(len(shares)), shares, width=0.9, color=_OWN)
    axis.set_xlabel("features that fire on a nucleotide")
    axis.set_ylabel("share of nucleotides")
    text = f"never fire: {found.dead_fraction:.1%}\n"
    text += f"on > 10 %: {found.dense_fraction:.1%}"
    if found.cap_cut is not None:
        text += f"\ncut by the cap: {found.cap_cut:.1%}"
    axis.text(0.03, 0.95, text, transform=axis.transAxes, va="top")


def _draw_probe(axis: Axes, evaluation: Evaluation, task: str) -> None:
    axis.set_title(f"Read off: {TASKS[task]}")
    curves: list[tuple[str, Sequence[ProbeScore]]]
    curves = [(control.name, control.probes) for control in evaluation.controls]
    curves = [("dictionary", evaluation.probes), *curves]
    for i, (name, probes) in enumerate(curves):
        scores = [score for score in probes if score.task == task]
        points = [score.auroc for score in scores]
        below = [max(0.0, score.auroc - score.low) for score in scores]
        above = [max(0.0, score.high - score.auroc) for score in scores]
        places = [j + (i - len(curves) / 2) * 0.06 for j in range(len(scores))]
        axis.errorbar(
            places,
            points,
            yerr=[below, above],
            label=name,
            color=_colour(name),
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=5,
            linewidth=2 if i == 0 else 1,
            elinewidth=1,
            capsize=2,
            zorder=10 - i,
        )
    ks = [score.k for score in evaluation.probes if score.task == task]
    axis.set_xticks(range(len(ks)), [str(k) for k in ks])
    axis.set_xlabel("features that the probe may use")
    axis.set_ylabel("AUROC, other families")
    axis.axhline(0.5, color="#cccccc", linewidth=1, linestyle=":")


def _colour(name: str) -> str:
    return _OTHERS.get(name, _OWN)
