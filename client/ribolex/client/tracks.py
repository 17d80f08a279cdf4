"""Where features fire, drawn under the letters of an RNA, for a terminal.

Positions come in counted from 0 and are shown counted from 1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.text import Text

_BARS = "▁▂▃▄▅▆▇█"
_STEP = 10


@dataclass(frozen=True, slots=True)
class Track:
    """One line under a sequence: a name, and one sign for each nucleotide."""

    name: str
    signs: str
    style: str = ""
    """As rich names it: "bold cyan"."""


def marks(n_nucleotides: int, values: Mapping[int, float], *, ascii_only: bool) -> str:
    """Returns one sign a nucleotide: a bar as high as its value, else a dot.

    Args:
        n_nucleotides: length of the RNA.
        values: value by position; the largest makes a full bar.
        ascii_only: draw "#" and "." for terminals that have no bars.
    """
    highest = max(values.values(), default=1.0)
    signs = ["." if ascii_only else "·"] * n_nucleotides
    for position, value in values.items():
        level = min(int(value / highest * len(_BARS)), len(_BARS) - 1)
        signs[position] = "#" if ascii_only else _BARS[level]
    return "".join(signs)


def draw(
    tracks: Sequence[Track], width: int, around: int | None = None
) -> Iterator[Text]:
    """Yields the lines of all tracks, one below the other, wrapped to a width.

    Each block begins with the position of every tenth column.

    Args:
        tracks: of one length, the letters first.
        width: columns of the terminal; at least ten nucleotides a line are drawn.
        around: draw only the one line with this position near its middle.
    """
    margin = max(len(track.name) for track in tracks) + 2
    n_columns = max((width - margin - 1) // _STEP * _STEP, _STEP)
    length = len(tracks[0].signs)
    begin = 0
    if around is not None and length > n_columns:
        begin = min(around - (n_columns - _STEP) // 2, length - n_columns)
        begin = max(begin, 0) // _STEP * _STEP
        length = min(length, begin + n_columns)
    for start in range(begin, length, n_columns):
        if start > begin:
            yield Text()
        yield Text(" " * margin + _ruler(start, min(start + n_columns, length)), "dim")
        for track in tracks:
            line = Text(track.name.ljust(margin), "dim")
            yield line.append(
                track.signs[start : min(start + n_columns, length)], track.style
            )


def _ruler(start: int, stop: int) -> str:
    """Returns position numbers, each beginning above its column."""
    numbers = (str(column + 1) for column in range(start, stop, _STEP))
    return "".join(number.ljust(_STEP) for number in numbers).rstrip()


def ranges(positions: Iterable[int], *, limit: int = 4) -> str:
    """Returns positions as people write them, counted from 1: "8-13, 20".

    Args:
        positions: counted from 0, rising.
        limit: most ranges to write out; the rest are told by their number.
    """
    places = list(positions)
    if not places:
        return "-"
    breaks = [i for i, (a, b) in enumerate(pairwise(places), start=1) if b != a + 1]
    starts, stops = [0, *breaks], [*breaks, len(places)]
    spans = [
        f"{places[a] + 1}" if b == a + 1 else f"{places[a] + 1}-{places[b - 1] + 1}"
        for a, b in zip(starts, stops, strict=True)
    ]
    left_out = len(places) - sum(
        b - a for a, b in zip(starts[:limit], stops[:limit], strict=True)
    )
    return ", ".join(spans[:limit]) + (f" and {left_out} more" if left_out else "")
