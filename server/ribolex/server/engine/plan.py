"""Which of the waiting windows make the next batch.

A pure function of lengths, keys and turns; knows nothing of time, callers or tensors.

Windows wait in lines. Of each lane there are as many lines as there are sizes of order,
so that one sequence does not wait behind a hundred thousand nucleotides that came
before it. The lines take turns to lead a batch. A turn costs a line its price, and the
line that has paid least leads next: while all lines wait, each line of the interactive
lane leads four batches for one that a line of the bulk lane leads.

So the first of a line that waits is in a batch after at most `longest_wait` others: 7
for a line of the interactive lane, 19 for one of the bulk lane, whatever the others do.
One that comes when its line has been idle pays nothing for that and leads the next
batch, unless another line of its lane does. The n-th in line is at most n turns away.
"""

from collections.abc import Hashable, Iterable, Sequence
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

LOOK = 512
"""Windows at the head of each line that one plan looks at, at most."""

_SMALLEST = 3
"""Tokens of the shortest sequence: with less left a batch is full."""

_SIZES = (1, 16)
"""Orders of up to so many batches have a line of their own; larger ones the last."""


class Lane(IntEnum):
    """How urgent an order is."""

    INTERACTIVE = 0
    """Somebody waits for it."""
    BULK = 1
    """It is one of many, and may wait for others."""


_LANE_PRICES = (1, 4)

PRICES = tuple(price for price in _LANE_PRICES for _ in range(len(_SIZES) + 1))
"""What a turn costs each line."""


class Waiting(NamedTuple):
    """What the plan sees of one waiting window."""

    key: Hashable
    """Equal for all that may share a batch."""
    n_tokens: int
    """Nucleotides with their frame, >= 1."""


class Pick(NamedTuple):
    """One member of a batch."""

    line: int
    place: int
    """In its line, from 0."""


class Plan(NamedTuple):
    """A batch, and what the lines have paid after it."""

    picks: list[Pick]
    paid: tuple[int, ...]


def line_of(lane: Lane, n_tokens: int, batch_tokens: int) -> int:
    """Returns which line an order waits in; the lower the sooner it is served."""
    size = sum(n_tokens > batches * batch_tokens for batches in _SIZES)
    return lane * (len(_SIZES) + 1) + size


def longest_wait(line: int, prices: Sequence[int] = PRICES) -> int:
    """Returns how many batches may come before a waiting line leads one."""
    others = [price for i, price in enumerate(prices) if i != line]
    return sum(prices[line] // price + 1 for price in others)


def plan(
    lines: Sequence[Iterable[Waiting]],
    paid: Sequence[int],
    max_tokens: int,
    prices: Sequence[int] = PRICES,
) -> Plan:
    """Returns the next batch.

    Its leader is the first of the line whose turn it is. Its companions have the
    leader's key and fit into what is left of the budget: first those behind it, then
    those of the other lines, each line in its order. A batch costs what its tokens sum
    up to, since the model reads them without padding.

    Args:
        lines: each in the order of arrival; the batch is empty if they all are.
        paid: what each line has paid, as the last plan gives it; zeros at first.
        max_tokens: budget of one batch; a leader beyond it goes alone.
        prices: what a turn costs each line.
    """
    heads = [islice(line, LOOK) for line in lines]
    firsts = [next(head, None) for head in heads]
    waiting = [line for line, first in enumerate(firsts) if first is not None]
    if not waiting:
        return Plan([], tuple(paid))
    least = min(paid[line] for line in waiting)
    # Who was idle has saved nothing, and owes no more than it did.
    due = [max(0, already - least) for already in paid]
    turns = sorted(waiting, key=lambda line: (due[line], line))
    key, left = None, max_tokens
    picks: list[Pick] = []
    for line in turns:
        if picks and left < _SMALLEST:
            break
        for place, window in enumerate(_rejoined(firsts[line], heads[line])):
            if not picks:
                key = window.key
            elif window.key != key or window.n_tokens > left:
                continue
            picks.append(Pick(line, place))
            left -= window.n_tokens
            if left < _SMALLEST:
                break
    due[turns[0]] += prices[turns[0]]
    return Plan(picks, tuple(due))


def _rejoined(first: Waiting | None, rest: Iterable[Waiting]) -> Iterable[Waiting]:
    if first is not None:
        yield first
        yield from rest
