"""What commands do with RNAs on their way: count them, and say which were refused."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import typer

from ribolex.client.errors import InvalidRequestError
from ribolex.client.fasta import FastaRecord
from ribolex.client.records import Rejection


def noted(fasta: Iterable[FastaRecord], names: deque[str]) -> Iterator[str]:
    """Yields the sequences, and notes the name of each that was taken."""
    for record in fasta:
        names.append(record.name)
        yield record.sequence


def drawn(names: deque[str], n: int) -> list[str]:
    """Returns the first names, which leave the queue."""
    return [names.popleft() for _ in range(n)]


def report_batch(
    rejections: Sequence[Rejection],
    names: Sequence[str],
    skip_rejected: bool,
    what: str = "RNAs",
) -> None:
    """Says which members of a batch were refused; raises unless they may be skipped."""
    named = [replace(one, name=names[one.index]) for one in rejections]
    report(named, skip_rejected, what)


def count(members: Iterable[object]) -> int:
    """Returns how many there are; finds a broken file before any work is done."""
    return sum(1 for _ in members)


def report(
    rejections: Sequence[Rejection], skip_rejected: bool, what: str = "RNAs"
) -> None:
    """Says which of them were refused; raises unless they were to be skipped."""
    for one in rejections:
        typer.echo(f"refused: {one.name}: {one.message}", err=True)
    if rejections and not skip_rejected:
        message = f"{what} were refused; --skip-rejected goes on without them"
        raise InvalidRequestError(message)
