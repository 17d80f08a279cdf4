"""One method's answers: for each query the best of the database, best first.

Kept in a folder, so that a run can be resumed and methods be added.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DEPTH = 2500
"""Answers kept of a query; more than 1,000, since some are taken out as too near."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Lists of all queries, one after the other."""

    ends: np.ndarray
    """[query] int64, where each query's list ends."""
    targets: np.ndarray
    """int32, places in the database."""
    scores: np.ndarray
    """float32, falling within a list."""
    seconds: float
    """Processor time of the search, all queries; nan if it was not measured alone."""

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(np.split(self.targets, self.ends[:-1]))

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def ms_a_query(self) -> float:
        """Processor time of a query."""
        return 1000 * self.seconds / len(self.ends)

    @classmethod
    def of_lists(
        cls, lists: Iterable[tuple[np.ndarray, np.ndarray]], seconds: float
    ) -> "Ranking":
        """Returns the ranking of (targets, scores) of each query, in any order."""
        kept = [_best(targets, scores) for targets, scores in lists]
        ends = np.cumsum([len(targets) for targets, _ in kept])
        targets = np.concatenate([targets for targets, _ in kept]).astype(np.int32)
        scores = np.concatenate([scores for _, scores in kept]).astype(np.float32)
        return cls(ends, targets, scores, seconds)

    @classmethod
    def of_scores(cls, rows: Iterable[np.ndarray], seconds: float) -> "Ranking":
        """Returns the ranking of one score for each RNA of the database, a query."""
        return cls.of_lists(((np.arange(len(row)), row) for row in rows), seconds)


class Kept:
    """A folder with one file for each method."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def recall(
        self, names: Sequence[str], make: Callable[[], dict[str, Ranking]]
    ) -> dict[str, Ranking]:
        """Returns the rankings of these names, made now if one is not yet kept."""
        if not all(map(self.holds, names)):
            print(f"… {names[0]}", flush=True)
            for name, ranking in make().items():
                np.savez(
                    self._path(name),
                    ends=ranking.ends,
                    targets=ranking.targets,
                    scores=ranking.scores,
                    seconds=ranking.seconds,
                )
        return {name: self._read(name) for name in names}

    def holds(self, name: str) -> bool:
        """Returns whether a ranking of this name is kept."""
        return self._path(name).exists()

    def _read(self, name: str) -> Ranking:
        with np.load(self._path(name)) as file:
            arrays = [file[key] for key in ("ends", "targets", "scores")]
            return Ranking(*arrays, float(file["seconds"]))

    def _path(self, name: str) -> Path:
        letters = (x if x.isalnum() or x in "-.," else "_" for x in name)
        return self.folder / f"{''.join(letters)}.npz"


def _best(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best first, equals in the order of the database."""
    if len(scores) > DEPTH:
        floor = np.partition(scores, len(scores) - DEPTH)[-DEPTH]
        chosen = np.flatnonzero(scores >= floor)
        targets, scores = targets[chosen], scores[chosen]
    order = np.lexsort((targets, -scores))[:DEPTH]
    return targets[order], scores[order]
