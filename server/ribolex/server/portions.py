"""Anything in lists of bounded size, one after the other.

Knows how large things are said to be; nothing of what they are.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def portions(
    items: Iterable[Item], size_of: Callable[[Item], int], most: int
) -> Iterator[list[Item]]:
    """Yields items in their order, in lists that are at most so large together.

    They are drawn as the lists are taken. One that is larger makes a list of its own;
    of none there is no list.
    """
    portion: list[Item] = []
    size = 0
    for item in items:
        own = size_of(item)
        if portion and size + own > most:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += own
    if portion:
        yield portion
