"""Tracks: every nucleotide is drawn once, in its column, within the width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.client.tracks import Track, draw, marks, ranges


@given(length=st.integers(1, 300), width=st.integers(0, 150))
def test_all_letters_are_drawn_within_the_width(length: int, width: int) -> None:
    letters = ("ACGU" * 75)[:length]
    lines = [line.plain for line in draw([Track("f7", letters)], width)]
    drawn = [line.removeprefix("f7  ") for line in lines if line.startswith("f7")]
    assert "".join(drawn) == letters
    # The last number of a ruler may need two columns more than the letters.
    assert all(len(line) <= max(width, 16) for line in lines)


def test_ruler_stands_above_the_tenth_nucleotides() -> None:
    ruler, letters = (line.plain for line in draw([Track("", "A" * 25)], 80))
    assert [letters.index("A"), ruler.index("1"), ruler.index("21")] == [2, 2, 22]


def test_bars_grow_with_values() -> None:
    assert marks(5, {1: 0.1, 2: 4.0, 4: 8.0}, ascii_only=False) == "·▁▅·█"
    assert marks(5, {1: 0.1, 2: 4.0, 4: 8.0}, ascii_only=True) == ".##.#"
    assert marks(2, {}, ascii_only=True) == ".."


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        ([], "-"),
        ([0], "1"),
        ([0, 1], "1-2"),
        ([4, 5, 6, 9], "5-7, 10"),
        ([0, 2, 4, 6], "1, 3, 5, 7"),
        ([0, 2, 4, 6, 8, 9], "1, 3, 5, 7 and 2 more"),
    ],
)
def test_ranges_count_from_one(positions: list[int], text: str) -> None:
    assert ranges(positions) == text
