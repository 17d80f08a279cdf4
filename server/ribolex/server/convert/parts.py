"""Answers larger than a message: their results in parts that each fit into one.

Knows how large results are; nothing of what they hold.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

PART_BYTES = 3 << 18
"""Of results in a message: with what is around them below the smallest limit, 1 MiB."""

Result = TypeVar("Result", bound=Message)


def in_parts(results: Iterable[Result]) -> Iterator[list[Result]]:
    """Yields results in their order, in lists of at most PART_BYTES.

    They are drawn as the lists are taken. One that is larger makes a list of its own;
    of none there is one list, empty.
    """
    part: list[Result] = []
    size = 0
    for result in results:
        n_bytes = result.ByteSize()
        if part and size + n_bytes > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(result)
        size += n_bytes
    yield part
