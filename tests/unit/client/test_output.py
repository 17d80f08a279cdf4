"""What is printed: readable at any width, and JSON that says all."""

import io
import json
import math

import pytest
from rich.console import Console

from ribolex.client import cards, hits, hits_view, output, records

REF = records.DictionaryRef("tiny", 1)
SHARED = hits.SharedFeature(12, 0.25, "stem of a tRNA", (6, 7, 8), (5, 6))
HIT = hits.Hit(
    records.Rna("X01556.1/3-118", "ACGU" * 5, None, {"family": "tRNA", "type": "Gene"}),
    0.875,
    (SHARED,),
    4,
    0.625,
)
TIMING = records.Timing(0.1, 0.2, 0.3)
HITS = hits.Hits((HIT,), REF, 10_694, 0.31, TIMING, "fast", 10_694)
CARD = records.FeatureCard(
    REF,
    records.Feature(
        12,
        "[bold]no markup",
        0.0123,
        1.5,
        4.25,
        3.1,
        (records.Evidence("type:tRNA", "enrichment", math.inf, 1e-9, None, 40),),
    ),
    (records.FeatureExample("a", 4.25, (2, 3), "ACGUACGU", {"family": "tRNA"}),),
    (records.NearestFeature(7, 0.5, ""),),
)


def _console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, color_system=None)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_hit_shows_what_makes_its_score() -> None:
    console = _console(100)
    hits_view.print_query(console, records.Rna("mine", "ACGU"), HITS)
    hits_view.print_hits(console, HITS)
    lines = _text(console).splitlines()
    assert lines[0] == "mine  4 nt, among 10,694 RNAs, fast, by tiny@1, fvu 0.31"
    assert lines[2].split() == ["1", "0.875", "X01556.1/3-118", "tRNA", "Gene"]
    assert lines[3].strip() == "+0.250  f12  stem of a tRNA  at 7-9 | 6-7"
    assert lines[4].strip() == "+0.625  3 other shared features"


def test_no_hit_is_said() -> None:
    console = _console(80)
    hits_view.print_hits(console, [])
    assert "no RNA is like it" in _text(console)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    console = _console(width)
    hits_view.print_query(
        console, records.Rna("a name that is quite long " * 3, "A"), HITS
    )
    hits_view.print_hits(console, HITS)
    cards.print_card(console, CARD)
    assert max(map(len, _text(console).splitlines())) <= width


def test_card_shows_evidence_examples_and_neighbours() -> None:
    console = _console(80)
    cards.print_card(console, CARD)
    text = _text(console)
    assert "f12 of tiny@1  [bold]no markup" in text
    assert "fires in 1.23% of nucleotides" in text
    assert ["type:tRNA", "-", "-", "inf", "-", "-", "1e-09", "40"] in [
        line.split() for line in text.splitlines()
    ]
    assert "in a  tRNA  at 3-4, at most 4.25" in text
    assert "··██····" in text
    assert "+0.500  f7" in text


def test_json_says_all_and_counts_from_zero() -> None:
    told = json.loads(output.to_json(HITS))
    assert told["dictionary"] == "tiny@1"
    assert told["hits"][0]["rna"]["metadata"] == {"family": "tRNA", "type": "Gene"}
    assert told["hits"][0]["shared_features"][0]["query_positions"] == [6, 7, 8]


def test_json_has_no_number_that_json_does_not_know() -> None:
    card = json.loads(output.to_json(CARD))
    assert card["feature"]["evidence"][0]["effect"] is None


def test_lists_show_a_line_each() -> None:
    console = _console(100)
    made = records.Collection("rfam", REF, "max", 10_694, 0.0)
    output.print_collections(console, [made])
    dictionary = records.Dictionary(
        REF, "", "micro", "", 3, "normed", "nucleotide", "sae", "topk", 32, 192, 2048,
        "CC0-1.0", {"fvu": 0.25}, is_current=True, is_default=True,
    )  # fmt: skip
    output.print_dictionaries(console, [dictionary])
    lines = [line.split() for line in _text(console).splitlines()]
    assert lines[1] == ["rfam", "10,694", "tiny@1", "max", "1970-01-01", "00:00"]
    assert lines[3] == [
        "tiny@1", "*", "micro", "3", "normed", "2048", "32", "0.25", "-", "-",
    ]  # fmt: skip


def test_terminal_without_bars_gets_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=stream, width=80, color_system=None)
    cards.print_card(console, CARD)
    stream.seek(0)
    assert "..##...." in stream.read()
