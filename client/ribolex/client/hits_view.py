"""Hits and alignments as people read them: positions counted from 1, ends included."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from ribolex.client.hits import Hit, Hits, SharedFeature
from ribolex.client.hits_tsv import e_value_text
from ribolex.client.output import has_ascii_only
from ribolex.client.records import Rna
from ribolex.client.tracks import ranges

_MAX_NAME = 34
_MAX_FAMILY = 22
_MAX_MARGIN = 24
_MIN_COLUMNS = 10
_MIN_LABEL = 24


def print_query(console: Console, query: Rna, hits: Hits) -> None:
    """Prints what was searched for, and where."""
    line = Text(query.name, "bold").append(f"  {len(query.sequence):,} nt", "dim")
    line.append(f", among {hits.n_searched:,}", "dim")
    if hits.n_searched < hits.n_rnas:
        line.append(f" of {hits.n_rnas:,}", "dim")
    line.append(" RNA" if hits.n_rnas == 1 else " RNAs", "dim")
    line.append(f", {hits.sensitivity}, by {hits.dictionary}", "dim")
    if hits.query_fvu is not None:
        line.append(f", fvu {hits.query_fvu:.2f}", "dim")
    _print(console, line)


def print_hits(console: Console, hits: Sequence[Hit]) -> None:
    """Prints hits by rank, below each what makes its score."""
    if not hits:
        console.print("  no RNA is like it")
        return
    aligned = [hit.alignment is not None for hit in hits]
    columns = [_cells(rank, hit) for rank, hit in enumerate(hits, start=1)]
    titles = _titles(any(aligned))
    widths = [
        max(len(title), *(len(cells[i]) for cells in columns))
        for i, title in enumerate(titles)
    ]
    widths[titles.index("name")] = min(widths[titles.index("name")], _MAX_NAME)
    widths[titles.index("family")] = min(widths[titles.index("family")], _MAX_FAMILY)
    _print_row(console, titles, widths, "dim")
    for cells, hit in zip(columns, hits, strict=True):
        _print_row(console, cells, widths, "bold")
        print_shared_features(console, hit)


def _titles(is_aligned: bool) -> tuple[str, ...]:
    if is_aligned:
        numbers = ("E-value", "bits", "ident", "query", "target")
        return ("", *numbers, "name", "family", "type")
    return ("", "score", "name", "family", "type")


def _cells(rank: int, hit: Hit) -> tuple[str, ...]:
    labels = (_label(hit.rna, "family"), _label(hit.rna, "type"))
    one = hit.alignment
    if one is None:
        return (f"{rank}", f"{hit.score:.3f}", hit.rna.name, *labels)
    return (
        f"{rank}",
        e_value_text(one.e_value),
        f"{one.bit_score:.1f}",
        f"{one.identity:.0%}",
        f"{one.query_start + 1}-{one.query_stop}",
        f"{one.target_start + 1}-{one.target_stop}",
        hit.rna.name,
        *labels,
    )


def _label(rna: Rna, key: str) -> str:
    return rna.metadata.get(key) or "-"


def _print_row(
    console: Console, cells: Sequence[str], widths: Sequence[int], style: str
) -> None:
    """Prints one line of columns, the last one as wide as it is."""
    line = Text(style=style)
    for cell, width in zip(cells[:-1], widths[:-1], strict=True):
        column = Text(cell)
        column.truncate(width, overflow="ellipsis", pad=True)
        line.append_text(column).append("  ")
    _print(console, line.append(cells[-1]))


def print_shared_features(console: Console, hit: Hit) -> None:
    """Prints what each feature adds to a score, and where it fires in both RNAs."""
    digits = 3 if hit.alignment is None else 1
    for shared in hit.shared_features:
        here, there = ranges(shared.query_positions), ranges(shared.target_positions)
        line = Text(f"       {shared.contribution:+.{digits}f}  ")
        line.append(f"f{shared.feature}", "cyan")
        is_known = shared.query_positions or shared.target_positions
        fires = f"at {here} | {there}" if is_known else "beside features alike"
        where = Text(f"  {fires}", "dim")
        label = Text(f"  {shared.label}".rstrip())
        # A long label leaves room for where the feature fires.
        room = max(console.width - len(line) - len(where), _MIN_LABEL)
        label.truncate(room, overflow="ellipsis")
        _print(console, line.append_text(label).append_text(where))
    others = []
    if hit.n_shared_features > len(hit.shared_features):
        n_more = hit.n_shared_features - len(hit.shared_features)
        kind = "shared features" if hit.alignment is None else "features"
        others.append((hit.other_contribution, f"{n_more:,} other {kind}"))
    if hit.alignment is not None:
        others.append((hit.alignment.letter_contribution, "the letters themselves"))
        if hit.alignment.gap_contribution:
            others.append((hit.alignment.gap_contribution, "gaps"))
    for contribution, what in others:
        _print(console, Text(f"       {contribution:+.{digits}f}  {what}", "dim"))


def print_summary(console: Console, query: Rna, hit: Hit) -> None:
    """Prints what aligns with what, and how well."""
    one = hit.alignment
    if one is None:
        _print(console, Text(f"nothing in {query.name} and {hit.rna.name} is alike"))
        return
    n_columns = sum(step.length for step in one.steps)
    n_gaps = sum(step.operation != "pair" for step in one.steps)
    line = Text(query.name, "bold")
    line.append(f" {one.query_start + 1}-{one.query_stop} of {len(query.sequence)}")
    line.append("  |  ", "dim").append(hit.rna.name, "bold")
    line.append(f" {one.target_start + 1}-{one.target_stop} of {len(hit.rna.sequence)}")
    _print(console, line)
    e_value = e_value_text(one.e_value)
    console.print(
        f"score {hit.score:.1f}, {one.bit_score:.1f} bits, E-value {e_value}; "
        f"{one.identity:.0%} of {n_columns} columns identical, "
        f"{n_gaps} gap{'' if n_gaps == 1 else 's'}",
        highlight=False,
    )


def print_alignment(console: Console, query: Rna, hit: Hit) -> None:
    """Prints two RNAs one below the other, and below them where features fire.

    "|" marks equal letters. Below it a feature fires in both RNAs (a full block, "#"),
    in the upper one (an upper half, "'") or in the lower one (a lower half, ",").
    """
    if hit.alignment is None:
        return
    for line in _draw(query, hit, console.width, has_ascii_only(console)):
        _print(console, line)


def _draw(query: Rna, hit: Hit, width: int, ascii_only: bool) -> Iterator[Text]:
    alignment = hit.alignment
    assert alignment is not None  # print_alignment has looked
    columns = list(alignment.columns())
    upper = "".join("-" if q is None else query.sequence[q] for q, _ in columns)
    lower = "".join("-" if t is None else hit.rna.sequence[t] for _, t in columns)
    middle = "".join("|" if a == b else " " for a, b in zip(upper, lower, strict=True))
    tracks = [
        (f"f{one.feature}", _marks(one, columns, ascii_only))
        for one in hit.shared_features
    ]
    names = (query.name, hit.rna.name)
    longest = max(map(len, (*names, *(name for name, _ in tracks))))
    margin = min(longest, _MAX_MARGIN, width // 4)
    digits = len(str(max(alignment.query_stop, alignment.target_stop)))
    room = max(width - margin - 2 * digits - 4, _MIN_COLUMNS)
    places = (alignment.query_start, alignment.target_start)
    for start in range(0, len(columns), room):
        part = slice(start, start + room)
        ends = (
            places[0] + len(upper[part].replace("-", "")),
            places[1] + len(lower[part].replace("-", "")),
        )
        if start:
            yield Text()
        yield _letters(names[0], upper[part], places[0], ends[0], margin, digits)
        yield Text(" " * (margin + digits + 2) + middle[part].rstrip())
        yield _letters(names[1], lower[part], places[1], ends[1], margin, digits)
        for name, signs in tracks:
            line = Text(f"{name.ljust(margin)} {' ' * digits} ", "dim")
            yield line.append(signs[part], "cyan")
        places = ends


def _letters(
    name: str, letters: str, start: int, stop: int, margin: int, digits: int
) -> Text:
    """Returns one line of an alignment: name, first place, letters, last place."""
    is_cut = len(name) > margin
    title = Text(f"{name[: margin - 1]}~" if is_cut else name.ljust(margin))
    first = start + 1 if stop > start else start
    line = title.append(f" {first:>{digits}} ", "dim")
    return line.append(letters, "bold").append(f" {stop}", "dim")


def _marks(
    shared: SharedFeature,
    columns: Sequence[tuple[int | None, int | None]],
    ascii_only: bool,
) -> str:
    """Returns one sign a column: where a feature fires."""
    above, below = set(shared.query_positions), set(shared.target_positions)
    signs = ".',#" if ascii_only else "·▀▄█"
    return "".join(signs[(q in above) + 2 * (t in below)] for q, t in columns)


def _print(console: Console, line: Text) -> None:
    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
