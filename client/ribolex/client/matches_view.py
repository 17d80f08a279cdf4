"""Answers to feature queries as people read them: positions counted from 1."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ribolex.client.matches import FeatureMatch, FeatureMatches, Stretch

_MAX_LETTERS = 12
"""Of a stretch, to be written out."""
_MARGIN = "  "


def print_matches(console: Console, query: str, found: FeatureMatches) -> None:
    """Prints what was asked, how many RNAs match, and where in those that came."""
    console.print(Text(query, "bold"))
    width = max((len(f"f{one.id}") for one in found.features), default=0)
    for one in found.features:
        line = Text(f"{_MARGIN}").append(f"f{one.id}".ljust(width), "cyan")
        _print(console, line.append(f"  {one.label or 'no label'}"))
    _print(console, Text(_count(found), "dim"))
    for match in found:
        _print_match(console, match, width)
    if found.next_page_token:
        more = "" if found.n_matching is None else _more(found)
        _print(console, Text(f"...{more} (--limit, or -o FILE for all)", "dim"))


def pointed(query: str, at: int, width: int) -> tuple[str, str]:
    """Returns the part of a query around a character, and a line with ^ below it.

    Args:
        query: the text.
        at: the character, counted from 0; may be just past the end.
        width: columns that there are.
    """
    shown = "".join(sign if sign.isprintable() else " " for sign in query)
    first = max(0, min(at - width // 2, len(shown) - width + 1))
    part = shown[first : first + width]
    return part, " " * cell_len(shown[first:at]) + "^"


def _count(found: FeatureMatches) -> str:
    n_found = len(found) if found.n_matching is None else found.n_matching
    among = f"{found.n_searched:,}"
    if found.n_searched < found.n_rnas:
        among += f" of {found.n_rnas:,}"
    verb = "matches" if n_found == 1 else "match"
    return f"{n_found:,} among {among} RNAs {verb}, by {found.dictionary}"


def _more(found: FeatureMatches) -> str:
    assert found.n_matching is not None
    return f" {found.n_matching - len(found):,} more"


def _print_match(console: Console, match: FeatureMatch, width: int) -> None:
    rna = match.rna
    line = Text(rna.name, "bold").append(f"  {len(rna.sequence):,} nt", "not bold dim")
    for key in ("family", "type"):
        if rna.metadata.get(key):
            line.append(f"  {rna.metadata[key]}", "not bold")
    _print(console, line)
    features = dict.fromkeys(one.feature for one in match.stretches)
    for feature in features:
        own = [one for one in match.stretches if one.feature == feature]
        head = Text(_MARGIN).append(f"f{feature}".ljust(width), "cyan").append("  at ")
        _print(
            console, head.append(_places(own, rna.sequence, console.width - len(head)))
        )


def _places(stretches: Sequence[Stretch], sequence: str, room: int) -> str:
    """Returns as many stretches as there is room for, strongest value last."""
    told: list[str] = []
    for i, one in enumerate(stretches):
        rest = len(stretches) - i
        tail = f" and {rest} more"
        is_last = rest == 1
        text = ", ".join([*told, _place(one, sequence)])
        if told and len(text) + (0 if is_last else len(tail)) > room:
            return ", ".join(told) + tail
        told.append(_place(one, sequence))
    return ", ".join(told)


def _place(one: Stretch, sequence: str) -> str:
    span = (
        f"{one.start + 1}"
        if one.stop == one.start + 1
        else f"{one.start + 1}-{one.stop}"
    )
    letters = sequence[one.start : one.stop]
    shown = f" {letters}" if len(letters) <= _MAX_LETTERS else ""
    return f"{span}{shown} ({one.max_activation:.2f})"


def _print(console: Console, line: Text) -> None:
    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
