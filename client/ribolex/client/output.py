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
from ribolex.client.tracks import Track, draw, marks, ranges


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


def print_card(console: Console, card: records.FeatureCard) -> None:
    """Prints what is known about a feature."""
    feature = card.feature
    title = Text(f"f{feature.id}", "bold cyan").append(f" of {card.dictionary}", "dim")
    console.print(title.append(f"  {feature.label or 'no label'}", "bold"))
    console.print(
        f"  fires in {feature.density:.2%} of nucleotides, "
        f"there {feature.mean_activation:.2f} on average, "
        f"at most {feature.max_activation:.2f}; idf {feature.idf:.2f}",
        highlight=False,
    )
    if feature.evidence:
        console.print(_evidence_table(feature.evidence))
    for example in card.examples:
        print_example(console, example)
    if card.nearest:
        console.print(Text("  nearest features by decoder direction", "dim"))
    for near in card.nearest:
        line = Text(f"    {near.cosine:+.3f}  ").append(f"f{near.feature}", "cyan")
        console.print(line.append(f"  {near.label}"), no_wrap=True, overflow="ellipsis")


def _evidence_table(evidence: Iterable[records.Evidence]) -> Table:
    table = _table("  evidence", "measure", ">effect", ">control", ">q", ">RNAs")
    for one in evidence:
        table.add_row(
            Text(f"  {one.label}"),
            one.measure,
            f"{one.effect:.3g}",
            "-" if one.control is None else f"{one.control:.3g}",
            "-" if one.q_value is None else f"{one.q_value:.1g}",
            "-" if one.support is None else f"{one.support}",
        )
    return table


def print_example(console: Console, example: records.FeatureExample) -> None:
    """Prints one RNA in which a feature fires, drawn where its letters are known."""
    known = [
        example.metadata[key] for key in ("family", "type") if key in example.metadata
    ]
    line = Text("  in ", "dim").append(example.rna, "bold")
    line.append(f"  {', '.join(known)}" if known else "")
    line.append(
        f"  at {ranges(example.positions)}, at most {example.max_activation:.2f}"
    )
    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    if example.sequence and example.positions:
        values = dict.fromkeys(example.positions, 1.0)
        is_plain = has_ascii_only(console)
        signs = marks(len(example.sequence), values, ascii_only=is_plain)
        tracks = [Track("   ", example.sequence), Track("   ", signs, "cyan")]
        for drawn in draw(tracks, console.width):
            console.print(drawn, no_wrap=True, crop=True)


def print_dictionaries(
    console: Console, dictionaries: Iterable[records.Dictionary]
) -> None:
    """Prints one line a dictionary version; "*" marks the server's default."""
    measures = (">features", ">k", ">fvu", ">l0", ">dead")
    table = _table("dictionary", "model", "layer", *measures)
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
    table = _table("collection", ">RNAs", "dictionary", "pooling", "made (UTC)")
    for one in collections:
        made = datetime.fromtimestamp(one.created_at_s, UTC)
        table.add_row(
            Text(one.name),
            f"{one.n_rnas}",
            Text(str(one.dictionary)),
            one.pooling,
            f"{made:%Y-%m-%d %H:%M}",
        )
    console.print(table)


def _table(*columns: str) -> Table:
    """Returns an empty table; ">" before a column's name sets it flush right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column[0] == ">" else "left"
        table.add_column(column.removeprefix(">"), justify=justify, overflow="fold")
    return table
