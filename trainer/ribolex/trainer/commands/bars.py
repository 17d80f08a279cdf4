"""Progress of a run with stages, a bar each.

Knows nothing of what the stages do.
"""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


class StageBars:
    """Shows each stage as a bar of its own, for as long as it is entered."""

    def __init__(self, console: Console, is_shown: bool = True) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not is_shown,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "StageBars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Moves the bar of a stage, which is new if its name is."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=None, note="")
        self._bars.update(
            self._tasks[stage], completed=done, total=total or None, note=note
        )
