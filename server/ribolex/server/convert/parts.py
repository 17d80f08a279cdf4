"""Answers larger than a message: their results in parts that each fit into one.

Knows how large results are; nothing of what they hold.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

from ribolex.server.portions import portions

PART_BYTES = 3 << 18
"""Of results in a message: with what is around them below the smallest limit, 1 MiB."""

Result = TypeVar("Result", bound=Message)


def in_parts(results: Iterable[Result]) -> Iterator[list[Result]]:
    """Yields results in their order, in lists of at most PART_BYTES.

    They are drawn as the lists are taken. One that is larger makes a list of its own;
    of none there is one list, empty.
    """
    parts = portions(results, lambda result: result.ByteSize(), PART_BYTES)
    yield next(parts, [])
    yield from parts
