"""What the commands print: features and lists, for people; anything as JSON.

People count positions from 1, as on a page; JSON keeps the contract's count from 0.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ribolex.client import hits as values
from ribolex.client import records


def has_ascii_only(console: Console) -> bool:
    """Returns whether the terminal cannot be trusted with more than ASCII."""
    return not console.encoding.lower().startswith("utf")


def to_json(value: object) -> str:
    """Returns a value of ours as one line of JSON; what is not finite becomes null."""
    return json.dumps(_plain(value), allow_nan=False)


def hits_to_json(query: str, collection: str, hits: values.Hits) -> str:
    """Returns the answer to one query as one line of JSON."""
    answer = {one.name: getattr(hits, one.name) for one in fields(hits)}
    return to_json({"query": query, "collection": collection, **answer})


def _plain(value: object) -> object:
    """Returns the value in JSON's own types."""
    if isinstance(value, records.DictionaryRef):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_dictionaries(
    console: Console, dictionaries: Iterable[records.Dictionary]
) -> None:
    """Prints one line a dictionary version; "*" marks the server's default."""
    measures = (">features", ">k", ">fvu", ">l0", ">dead")
    table = columns("dictionary", "model", "layer", *measures)
    for one in dictionaries:
        metrics = [one.metrics.get(name) for name in ("fvu", "l0", "dead_fraction")]
        table.add_row(
            Text(f"{one.ref}{' *' if one.is_default else ''}"),
            Text(one.model_name),
            f"{one.layer} {one.hook}",
            f"{one.n_features}",
            f"{one.k}",
            *("-" if value is None else f"{value:.3g}" for value in metrics),
        )
    console.print(table)


def print_collections(
    console: Console, collections: Iterable[records.Collection]
) -> None:
    """Prints one line a collection."""
    table = columns("collection", ">RNAs", "dictionary", "pooling", "made (UTC)")
    for one in collections:
        made = datetime.fromtimestamp(one.created_at_s, UTC)
        table.add_row(
            Text(one.name),
            f"{one.n_rnas:,}",
            Text(str(one.dictionary)),
            one.pooling,
            f"{made:%Y-%m-%d %H:%M}",
        )
    console.print(table)


def print_collection(console: Console, one: records.Collection) -> None:
    """Prints what there is to know of a collection."""
    made = datetime.fromtimestamp(one.created_at_s, UTC)
    table = columns("collection", one.name)
    table.add_row("dictionary", Text(str(one.dictionary)))
    table.add_row("pooling", one.pooling)
    table.add_row("made", f"{made:%Y-%m-%d %H:%M} UTC")
    table.add_row("RNAs", f"{one.n_rnas:,}")
    told = one.details
    if told is not None:
        table.add_row("nucleotides", f"{told.n_nucleotides:,}")
        sizes = f"{_mib(told.records_bytes)}; index {_mib(told.index_bytes)}"
        table.add_row("on disk", sizes)
        if told.coming is not None:
            about = f"{told.coming}, {_mib(told.coming_bytes)} so far"
            table.add_row("on its way to", Text(about))
        if told.kept is not None:
            table.add_row("kept", Text(f"{told.kept}, {_mib(told.kept_bytes)}"))
        for key in told.keys:
            kind = "numbers" if key.is_number else "values"
            about = f"{key.n_values:,} {kind}, of {key.n_rnas:,} RNAs"
            table.add_row(Text(f"  {key.key}"), about)
    console.print(table)


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB"


def columns(*names: str) -> Table:
    """Returns an empty table; ">" before a column's name sets it flush right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in names:
        justify: Literal["left", "right"] = "right" if name[0] == ">" else "left"
        table.add_column(
            name.removeprefix(">"),
            justify=justify,
            overflow="fold",
            # What a thing is named by is to be found and copied whole.
            no_wrap=name == names[0],
        )
    return table
