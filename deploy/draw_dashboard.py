"""Draws a dashboard of Grafana's from what Prometheus keeps, without Grafana.

For reports, and to look at a dashboard after changing it. Panels lie where Grafana has
them, with their queries, units and legends; it knows lines and single values, and of
colours no more than those of values that mean good or bad. Needs `ribolex[plot]`.

    python deploy/draw_dashboard.py deploy/grafana/dashboards/service.json service.png
"""

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, PercentFormatter

_COLUMNS = 24
_COLUMN_INCHES, _ROW_INCHES = 0.62, 0.31
_POINTS = 240
"""Of a line."""

Panel = Mapping[str, Any]


def _ask(prometheus: str, path: str, **query: object) -> list[Any]:
    text = urllib.parse.urlencode(query)
    with urllib.request.urlopen(f"{prometheus}/api/v1/{path}?{text}") as answer:
        return list(json.load(answer)["data"]["result"])


def expression(panel_query: str, rate_s: int) -> str:
    """Returns a query as Prometheus takes it: Grafana's variables filled in."""
    return panel_query.replace("$__rate_interval", f"{rate_s}s").replace(
        "$instance", ".*"
    )


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Returns the name of a line: "{{label}}" replaced by the label's value."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), template)


def chosen_panels(
    panels: Sequence[Panel], rows: Sequence[str]
) -> list[tuple[Panel, int]]:
    """Returns panels, and where each begins: all, or those of some rows moved up."""
    chosen: list[tuple[Panel, int]] = []
    first, height, is_chosen = 0, 0, not rows
    for panel in panels:
        at = panel["gridPos"]
        if panel["type"] == "row":
            is_chosen = not rows or panel["title"] in rows
            first = at["y"] - height
        if is_chosen:
            chosen.append((panel, at["y"] - first))
            height = max(height, at["y"] - first + at["h"])
    return chosen


def unit_format(unit: str) -> Formatter:
    """Returns how numbers of a unit of Grafana's are written."""
    if unit == "percentunit":
        return PercentFormatter(1.0)
    written = EngFormatter({"s": "s", "bytes": "B"}.get(unit, ""))
    if unit in ("s", "bytes"):
        return written
    # A thousandth of a call is no "1 m".
    return FuncFormatter(lambda x, _: written(x) if abs(x) >= 1000 else f"{x:.3g}")


class Drawer:
    """One picture of one dashboard. Blocks while it asks Prometheus."""

    def __init__(self, prometheus: str, minutes: float, rate_s: int) -> None:
        self._prometheus, self._rate_s = prometheus, rate_s
        self._stop = time.time()
        self._start = self._stop - 60 * minutes

    def draw(self, dashboard: Mapping[str, Any], rows: Sequence[str]) -> Figure:
        """Returns the picture of a dashboard, or of some of its rows."""
        panels = chosen_panels(dashboard["panels"], rows)
        height = max(y + panel["gridPos"]["h"] for panel, y in panels)
        size = (_COLUMNS * _COLUMN_INCHES, height * _ROW_INCHES)
        figure = Figure(size, facecolor="white")
        for panel, y in panels:
            at = panel["gridPos"]
            # Within the panel's cells: room for its title above, its times below.
            is_lines = panel["type"] == "timeseries"
            box = (
                (at["x"] + (1.2 if is_lines else 0.1)) / _COLUMNS,
                1 - (y + at["h"] - (1.0 if is_lines else 0.2)) / height,
                (at["w"] - (1.5 if is_lines else 0.2)) / _COLUMNS,
                (at["h"] - (2.2 if is_lines else 1.2)) / height,
            )
            if panel["type"] == "row":
                where = (0.1 / _COLUMNS, 1 - (y + 0.8) / height)
                figure.text(*where, panel["title"], weight="bold", size=12)
                continue
            axes = figure.add_axes(box)
            axes.set_title(panel["title"], size=9, loc="left", pad=3)
            (self._draw_lines if is_lines else self._draw_value)(axes, panel)
        return figure

    def _lines(self, panel: Panel) -> Iterator[tuple[str, list[float], list[float]]]:
        step = (self._stop - self._start) / _POINTS
        for target in panel["targets"]:
            query = expression(target["expr"], self._rate_s)
            asked = {"start": self._start, "end": self._stop, "step": step}
            for line in _ask(self._prometheus, "query_range", query=query, **asked):
                times = [(at - self._stop) / 60 for at, _ in line["values"]]
                values = [float(value) for _, value in line["values"]]
                yield legend(target["legendFormat"], line["metric"]), times, values

    def _draw_lines(self, axes: Axes, panel: Panel) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        highest = 0.0
        for name, times, values in self._lines(panel):
            axes.plot(times, values, linewidth=1, label=name)
            highest = max([highest, *filter(math.isfinite, values)])
        axes.set_xlim((self._start - self._stop) / 60, 0)
        axes.xaxis.set_major_formatter("{x:g} min")
        axes.set_ylim(0, 1.08 * (defaults.get("max") or highest or 1))
        axes.yaxis.set_major_formatter(unit_format(defaults["unit"]))
        axes.locator_params("x", nbins=5)
        axes.tick_params(labelsize=7, length=2)
        axes.grid(color="0.9", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(fontsize=6, loc="upper left", framealpha=0.6, ncols=2)
        else:
            axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center")

    def _draw_value(self, axes: Axes, panel: Panel) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        axes.set_xticks([])
        axes.set_yticks([])
        (target,) = panel["targets"]
        query = expression(target["expr"], self._rate_s)
        told = _ask(self._prometheus, "query", query=query, time=self._stop)
        texts = [
            legend(target["legendFormat"], each["metric"])
            if panel["options"]["textMode"] == "name"
            else _value_text(float(each["value"][1]), defaults)
            for each in told
        ]
        text = "\n".join(texts) or "no data"
        axes.text(0.5, 0.5, text, ha="center", va="center", size=13, color="#1a7f37")


def _value_text(value: float, defaults: Mapping[str, Any]) -> str:
    for mapping in defaults["mappings"]:
        if f"{value:g}" in mapping["options"]:
            return str(mapping["options"][f"{value:g}"]["text"])
    if defaults["unit"] == "s":
        return f"{value / 60:.0f} min"
    return str(unit_format(defaults["unit"])(value))


def main() -> None:
    """Draws what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dashboard", type=Path, help="JSON of the dashboard")
    parser.add_argument("output", type=Path, help=".png, .svg or .pdf")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=60.0, help="till now")
    parser.add_argument("--rate-s", type=int, default=60, help="span of rates")
    parser.add_argument("--row", action="append", default=[], help="only this row")
    parser.add_argument("--dpi", type=int, default=80)
    given = parser.parse_args()
    drawer = Drawer(given.prometheus, given.minutes, given.rate_s)
    figure = drawer.draw(json.loads(given.dashboard.read_text()), given.row)
    figure.savefig(given.output, dpi=given.dpi)


if __name__ == "__main__":
    main()
