"""Which of the waiting sequences make the next batch.

A pure function of lengths and keys; knows nothing of time, callers or tensors.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Waiting(NamedTuple):
    """What the plan sees of one waiting sequence."""

    key: Hashable
    """Equal for all sequences of a batch: what they are encoded with."""
    n_tokens: int
    """Nucleotides with their frame, >= 1."""


def plan(waiting: Sequence[Waiting], max_tokens: int) -> list[int]:
    """Returns the places of the next batch in `waiting`, rising.

    The oldest always goes first, so nothing starves: at most n - 1 batches come
    before the n-th in line. Its companions have its key and are those nearest to it
    in length, since a batch costs rows times its longest; that product stays within
    `max_tokens`, unless the oldest alone exceeds it and then goes alone.

    Args:
        waiting: in the order of arrival; may be empty, and then so is the batch.
        max_tokens: budget of one batch, rows times the longest.
    """
    if not waiting:
        return []
    key, longest = waiting[0]
    batch = [0]
    companions = sorted(
        (abs(n_tokens - longest), place)
        for place, (other, n_tokens) in enumerate(waiting)
        if place and other == key
    )
    for _, place in companions:
        n_tokens = max(longest, waiting[place].n_tokens)
        if n_tokens * (len(batch) + 1) <= max_tokens:
            longest = n_tokens
            batch.append(place)
    return sorted(batch)
