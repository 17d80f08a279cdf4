"""What of an RNA lies in a Milvus, and how conditions ask for it there.

Metadata are kept as numbers that stand for "this key has this value", so that no text
of a caller gets into an expression, whatever letters it has. An expression lets
through what passes the conditions, and in rare cases more: who asks looks again. Knows
nothing of connections, or of when anything is asked.
"""

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from jaxtyping import Bool

from ribolex.server.index.forward import WeightedCode
from ribolex.server.index.metadata import (
    LENGTH,
    AnyOf,
    Between,
    Condition,
    NoneOf,
    number_of,
    parts_of_value,
)
from ribolex.server.index.stored_codes import Stored

FORMAT = 1
"""Of the rows; those of another one are made anew."""

ID, CHANGE, NAME, LENGTH_FIELD = "id", "change", "name", "length"
TAGS, NUMBERS, CODE = "tags", "numbers", "code"

_MAX_NAME_BYTES = 1024
_MAX_TAGS = 4096
"""What an array of a Milvus holds."""
_MANY = 0
"""Stands for all tags of an RNA that has too many."""
_MOST_ASKED = 1024
"""Tags in an expression; beyond it RNAs are asked for by their ids."""
_MOST_IDS = 8192
"""In one expression."""
_LONGEST = 1 << 40
_ENTRY_BYTES = 8
_ROW_BYTES = 256

Row = dict[str, Any]


def stem_of(prefix: str, collection: str, generation: str) -> str:
    """Returns what the name of an index begins with, and no other's does.

    Args:
        prefix: of everything of the server.
        collection: its name.
        generation: "" or "g1" and so on.
    """
    return f"{alias_of(prefix, collection)}_{generation or 'g0'}_"


def alias_of(prefix: str, collection: str) -> str:
    """Returns the name under which others find what is searched now."""
    # A Milvus takes letters, digits and '_': each name still has one of its own.
    slug = collection.replace("_", "__").replace(".", "_d").replace("-", "_h")
    return f"{prefix}{slug}"


def row_of(stored: Stored, code: WeightedCode, n_features: int) -> Row:
    """Returns what is kept of an RNA."""
    known = {**stored.metadata, LENGTH: str(stored.n_nucleotides)}
    entries = dict(zip(code.features.tolist(), code.weights.tolist(), strict=True))
    numbers = {}
    for key, value in stored.metadata.items():
        number = number_of(value)
        if number is not None:
            numbers[_key(key)] = _finite(number)
    return {
        ID: stored.rna_id,
        CHANGE: stored.change,
        NAME: stored.name,
        LENGTH_FIELD: stored.n_nucleotides,
        TAGS: _tags(known),
        NUMBERS: numbers,
        # A code of nothing is refused: it gets what no query has.
        CODE: entries or {n_features: 1.0},
    }


def size_of(row: Row) -> int:
    """Returns about how many bytes a row is on its way."""
    return _ROW_BYTES + _ENTRY_BYTES * (len(row[CODE]) + len(row[TAGS]))


def expressions(
    where: Sequence[Condition], allowed: Bool[np.ndarray, " id"] | None
) -> list[str]:
    """Returns expressions that together let through what passes all conditions.

    Args:
        where: the conditions.
        allowed: by id, what passes them; None if there are none.
    """
    n_asked = sum(len(one.values) for one in where if not isinstance(one, Between))
    if n_asked > _MOST_ASKED and allowed is not None:
        ids = np.flatnonzero(allowed).tolist()
        starts = range(0, len(ids), _MOST_IDS)
        return [f"{ID} in {ids[start : start + _MOST_IDS]}" for start in starts]
    return [" and ".join(_expression(one) for one in where)]


def _expression(condition: Condition) -> str:
    if isinstance(condition, Between):
        low, high = _finite(condition.minimum), _finite(condition.maximum)
        if condition.key == LENGTH:
            least = math.ceil(min(max(low, 0), _LONGEST))
            most = math.floor(min(max(high, -1), _LONGEST))
            return f"({LENGTH_FIELD} >= {least} and {LENGTH_FIELD} <= {most})"
        field = f'{NUMBERS}["{_key(condition.key)}"]'
        return f"({field} >= {low!r} and {field} <= {high!r})"
    tags = sorted({_tag(condition.key, value) for value in condition.values})
    if isinstance(condition, AnyOf):
        return f"array_contains_any({TAGS}, {[_MANY, *tags]})"
    assert isinstance(condition, NoneOf)  # the only other one
    return f"(not array_contains_any({TAGS}, {tags}))" if tags else f"{ID} >= 0"


def _tags(known: dict[str, str]) -> list[int]:
    tags = {
        _tag(key, text)
        for key, value in known.items()
        for text in parts_of_value(value)
    }
    if len(tags) > _MAX_TAGS:
        return [_MANY]
    return sorted(tags)


def _tag(key: str, value: str) -> int:
    digest = blake2b(value.encode(), digest_size=8, key=_digest(key)).digest()
    return int.from_bytes(digest) >> 1  # a signed number of 64 bits, without a sign


def _key(key: str) -> str:
    return "k" + _digest(key).hex()


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=16).digest()


def _finite(number: float) -> float:
    largest = np.finfo(np.float64).max
    return float(np.clip(number, -largest, largest)) if not math.isnan(number) else 0.0


def fields_of(schema: Any, types: Any) -> None:
    """Adds the fields of a row to a schema of pymilvus.

    Args:
        schema: of no fields.
        types: pymilvus.DataType.
    """
    schema.add_field(ID, types.INT64, is_primary=True)
    schema.add_field(CHANGE, types.INT64)
    schema.add_field(NAME, types.VARCHAR, max_length=_MAX_NAME_BYTES)
    schema.add_field(LENGTH_FIELD, types.INT64)
    schema.add_field(
        TAGS, types.ARRAY, element_type=types.INT64, max_capacity=_MAX_TAGS
    )
    schema.add_field(NUMBERS, types.JSON)
    schema.add_field(CODE, types.SPARSE_FLOAT_VECTOR)
