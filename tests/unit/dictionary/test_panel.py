"""The panel tells how far other codes are from its own."""

import numpy as np

from ribolex.dictionary import Codes, Panel

CODES = Codes(
    np.array([0, 2, 4]),
    np.array([1, 3, 0, 3], np.uint32),
    np.array([1.0, 2.0, 3.0, 4.0], np.float32),
    5,
)
PANEL = Panel(("a",), ("GC",), CODES)


def test_share_and_difference_are_measured() -> None:
    other = Codes(
        np.array([0, 2, 4]),
        np.array([1, 4, 0, 3], np.uint32),
        np.array([1.0, 2.0, 3.0, 4.5], np.float32),
        5,
    )
    assert PANEL.compare(other) == (0.75, 0.5)


def test_codes_of_another_length_agree_in_nothing() -> None:
    assert PANEL.compare(CODES.slice(0, 1)) == (0.0, float("inf"))
