"""A progress bar on standard error, if somebody is there to see it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress(
    text: str, total: int | None, what: str = "RNAs"
) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number of members that were just done.

    Shows nothing where standard error is no terminal.

    Args:
        text: what is being done.
        total: members in all, or None if nobody knows.
        what: they are.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(text, total=total)
        yield lambda n_done: bar.advance(task, n_done)
