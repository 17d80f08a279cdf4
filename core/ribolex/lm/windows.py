"""Cuts RNAs beyond the trained context into overlapping windows.

A nucleotide takes its activation from the window that it lies deepest in. Knows
token arrays only; nothing of models or devices.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ribolex.lm.configuration import MAX_NUCLEOTIDES
from ribolex.rna.alphabet import CLS, EOS

OVERLAP = 512
"""Nucleotides that neighbouring windows share, at least. At the seam a nucleotide then
has 256 to either edge; docs/benchmarks.md has what less of it does."""


class Window(NamedTuple):
    """A part of an RNA that the model reads, and the part that it answers for."""

    start: int
    """First nucleotide read, 0-based."""
    stop: int
    """One past the last nucleotide read."""
    kept_start: int
    """First nucleotide that takes its activation from here."""
    kept_stop: int
    """One past the last of them."""


class Piece(NamedTuple):
    """The tokens of one window, framed, and the RNA that they are of."""

    member: int
    """Place of the RNA in its list."""
    window: Window
    tokens: UInt8[np.ndarray, " _token"]

    @property
    def kept(self) -> slice:
        """Tokens that this window answers for."""
        _, _, kept_start, kept_stop = self.window
        return slice(
            1 + kept_start - self.window.start, 1 + kept_stop - self.window.start
        )


def cut(
    n_nucleotides: int, length: int = MAX_NUCLEOTIDES, overlap: int = OVERLAP
) -> list[Window]:
    """Returns the windows of an RNA in order; what they keep adjoins.

    Each nucleotide is kept by the window in which its distance to the nearer edge
    that is no end of the RNA is largest, by the earlier one of two equals.

    Args:
        n_nucleotides: length of the RNA; with at most `length` it is one window.
        length: of each window when there are several.
        overlap: least that neighbours share, below `length`.
    """
    n_cuts = max(0, -(-(n_nucleotides - length) // (length - overlap)))
    slack = max(0, n_nucleotides - length)
    starts = [i * slack // max(1, n_cuts) for i in range(n_cuts + 1)]
    stops = [min(start + length, n_nucleotides) for start in starts]
    seams = [
        (stop - 1 + start) // 2 + 1
        for stop, start in zip(stops[:-1], starts[1:], strict=True)
    ]
    edges = [0, *seams, n_nucleotides]
    return [
        Window(*read, *kept)
        for read, kept in zip(
            zip(starts, stops, strict=True),
            zip(edges[:-1], edges[1:], strict=True),
            strict=True,
        )
    ]


def pieces(tokens: Sequence[UInt8[np.ndarray, " _token"]]) -> list[Piece]:
    """Returns the windows of framed token arrays, RNA by RNA.

    An RNA that fits into one window keeps its own array.
    """
    out = []
    for member, sequence in enumerate(tokens):
        windows = cut(len(sequence) - 2)
        for window in windows:
            own = sequence if len(windows) == 1 else _frame(sequence, window)
            out.append(Piece(member, window, own))
    return out


def kept_rows(windows: Sequence[Piece]) -> list[slice]:
    """Returns which rows of their joined tokens each of some windows answers for."""
    starts = np.cumsum([0] + [len(piece.tokens) for piece in windows]).tolist()
    return [
        slice(start + piece.kept.start, start + piece.kept.stop)
        for start, piece in zip(starts, windows, strict=False)
    ]


def placed_rows(windows: Sequence[Piece], starts: Sequence[int]) -> list[slice]:
    """Returns where each window's answer lies when RNAs begin at `starts`."""
    return [
        slice(starts[member] + window.kept_start, starts[member] + window.kept_stop)
        for member, window, _ in windows
    ]


def hidden_rows(
    windows: Sequence[Piece], positions: Sequence[Sequence[int]]
) -> list[int]:
    """Returns which rows of their joined tokens are nucleotides of some positions.

    Args:
        windows: of RNAs; a nucleotide has a row in each window that it lies in.
        positions: 0-based, of each RNA by its member.
    """
    rows, start = list[int](), 0
    for member, window, tokens in windows:
        rows += [
            start + 1 + position - window.start
            for position in positions[member]
            if window.start <= position < window.stop
        ]
        start += len(tokens)
    return rows


def scatter(
    states: Float[np.ndarray, "token width"],
    windows: Sequence[Piece],
    out: Sequence[Float[np.ndarray, "_nucleotide width"]],
) -> None:
    """Writes what each window keeps to where it belongs in its RNA's array."""
    for (member, window, _), rows in zip(windows, kept_rows(windows), strict=True):
        out[member][window.kept_start : window.kept_stop] = states[rows]


def _frame(
    sequence: UInt8[np.ndarray, " token"], window: Window
) -> UInt8[np.ndarray, " _token"]:
    frame = np.array([CLS, EOS], dtype=np.uint8)
    letters = sequence[1 + window.start : 1 + window.stop]
    return np.concatenate([frame[:1], letters, frame[1:]])
