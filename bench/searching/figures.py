"""How good a method's answers are: means over families, near and remote, by class."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ribolex.trainer.pretraining.retrieval import Case, measure_order
from searching.cases import Setting
from searching.ranking import Ranking


class Figures(NamedTuple):
    """Means over families of means over their queries."""

    p_at_1: float
    recall_at_10: float
    map_at_100: float
    recall_at_300: float
    recall_at_1000: float


COLUMNS = ("P@1", "R@10", "mAP", "R@300", "R@1000")


def measure(setting: Setting, ranking: Ranking, kind: str) -> Figures:
    """Returns the figures of the near or of the remote cases."""
    return _mean(_by_family(setting, ranking, kind))


def measure_classes(
    setting: Setting, ranking: Ranking, kind: str
) -> dict[str, tuple[int, Figures]]:
    """Returns families and figures of each class of RNAs, the largest first."""
    groups: dict[str, dict[str, list[Figures]]] = defaultdict(dict)
    for family, found in _by_family(setting, ranking, kind).items():
        groups[setting.classes[family]][family] = found
    sizes = {name: len(families) for name, families in groups.items()}
    order = sorted(groups, key=lambda name: (-sizes[name], name))
    return {name: (sizes[name], _mean(groups[name])) for name in order}


def row(name: str, numbers: Sequence[float], ms: float | None = None) -> str:
    """Returns a line of a Markdown table."""
    cells = [f"{number:.3f}".lstrip("0") for number in numbers]
    if ms is not None:
        cells.append("" if np.isnan(ms) else f"{ms:,.1f}")
    return f"| {name} | {' | '.join(cells)} |"


def _by_family(
    setting: Setting, ranking: Ranking, kind: str
) -> dict[str, list[Figures]]:
    cases: Sequence[Case] = getattr(setting.cases, kind)
    lists = dict(zip(setting.cases.queries.tolist(), ranking, strict=True))
    found: dict[str, list[Figures]] = defaultdict(list)
    for case in cases:
        order = lists[case.query]
        order = order[~np.isin(order, case.excluded)]
        n = len(case.relatives)
        deep = (
            float(np.isin(order[:depth], case.relatives).sum() / min(depth, n))
            for depth in (300, 1000)
        )
        found[case.family].append(Figures(*measure_order(order, case), *deep))
    return found


def _mean(families: dict[str, list[Figures]]) -> Figures:
    if not families:
        return Figures(*[float("nan")] * 5)
    means = [np.mean(queries, axis=0) for queries in families.values()]
    return Figures(*map(float, np.mean(means, axis=0)))
