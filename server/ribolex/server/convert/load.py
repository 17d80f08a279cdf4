"""How much a message of any kind asks to be read: its sequences, counted.

Fields are found by name in the message's own description, so that a new method is
counted without a word here. Never keeps or shows a letter.
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_ENDS = ("sequence", "sequences")
"""How the names of fields that hold letters end: "query_sequence"."""


class Load(NamedTuple):
    """What a message brings."""

    field: str
    """Where its sequences are: "sequences", "rnas.sequence"."""
    n_sequences: int
    n_nucleotides: int
    """Letters, as they came."""


def load_of(message: Message) -> Load:
    """Returns how many sequences, and of how many letters, a message brings."""
    field, n_sequences, n_nucleotides = "sequences", 0, 0
    for path in _paths(message.DESCRIPTOR):
        for letters in _values(message, path):
            if letters:
                field = ".".join(path)
                n_sequences += 1
                n_nucleotides += len(letters)
    return Load(field, n_sequences, n_nucleotides)


@cache
def _paths(descriptor: Descriptor) -> tuple[tuple[str, ...], ...]:
    """Returns where in messages of a kind there are sequences."""
    return tuple(_search(descriptor, ()))


def _search(
    descriptor: Descriptor, above: tuple[Descriptor, ...]
) -> Iterator[tuple[str, ...]]:
    for field in descriptor.fields:
        inner = field.message_type
        if field.type == FieldDescriptor.TYPE_STRING and field.name.endswith(_ENDS):
            yield (field.name,)
        elif inner is not None and inner not in above and not _is_map(inner):
            for path in _search(inner, (*above, descriptor)):
                yield (field.name, *path)


def _is_map(descriptor: Descriptor) -> bool:
    return bool(descriptor.GetOptions().map_entry)


def _values(message: Message, path: tuple[str, ...]) -> Iterator[str]:
    name, *rest = path
    field = message.DESCRIPTOR.fields_by_name[name]
    value = getattr(message, name)
    many = value if field.is_repeated else (value,)
    if not rest:
        yield from many
    elif field.is_repeated or message.HasField(name):
        for inner in many:
            yield from _values(inner, tuple(rest))
