"""Hits as a table and alignments as drawn: what a biologist reads off them."""

import io

import pytest
from rich.console import Console

from ribolex.client import hits_view
from ribolex.client.errors import InvalidRequestError
from ribolex.client.hits import (
    Alignment,
    Between,
    Hit,
    Hits,
    NoneOf,
    SharedFeature,
    Step,
)
from ribolex.client.hits_tsv import COLUMNS, e_value_text, write_header, write_hits
from ribolex.client.records import DictionaryRef, Rna, Timing
from ribolex.client.where import parse_condition

QUERY = Rna("query-with-a-long-name", "AAGGGCUUUCCCAA")
STEPS = (
    Step("pair", 4),
    Step("query_only", 1),
    Step("pair", 3),
    Step("target_only", 2),
)
ALIGNED = Alignment(2.5e-07, 31.2, 6 / 7, 2, 10, 0, 9, STEPS, 12.5, -3.0)
SHARED = SharedFeature(812, 9.5, "stem", (2, 3, 4), (1, 2, 8))
HIT = Hit(
    Rna("t1", "GGGAUUUCC", None, {"family": "RF1", "type": "Gene;tRNA"}),
    19.5,
    (SHARED,),
    3,
    0.5,
    ALIGNED,
)


def _hits(*hits: Hit) -> Hits:
    times = Timing(0.0, 0.0, 0.0)
    return Hits(hits, DictionaryRef("d", 1), 9, 0.25, times, "sensitive", 5)


def _drawn(width: int, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, color_system=None)
    hits_view.print_alignment(console, QUERY, HIT)
    file.seek(0)
    return file.read().splitlines()


def test_alignment_is_drawn_with_the_features_under_it() -> None:
    assert _drawn(60) == [
        "query-with-a-l~  3 GGGCUUUC-- 10",
        "                   |||  ||",
        "t1               1 GGGA-UUUCC 9",
        "f812               ▀██······▄",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [30, 80])
def test_drawn_lines_fit_and_say_every_letter(width: int, encoding: str) -> None:
    lines = _drawn(width, encoding)
    assert max(map(len, lines)) <= width
    upper = "".join(line.split()[2] for line in lines if line.startswith("query"))
    lower = "".join(line.split()[2] for line in lines if line.startswith("t1"))
    assert upper.replace("-", "") == QUERY.sequence[2:10]
    assert lower.replace("-", "") == HIT.rna.sequence
    assert len(upper) == len(lower) == 10


def test_listing_shows_span_e_value_and_what_makes_the_score() -> None:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    hits_view.print_query(console, Rna("q", "ACGU" * 300), _hits(HIT))
    hits_view.print_hits(console, _hits(HIT))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "q  1,200 nt, among 5 of 9 RNAs, sensitive, by d@1, fvu 0.25"
    assert lines[1].split() == [
        "E-value", "bits", "ident", "query", "target", "name", "family", "type",
    ]  # fmt: skip
    assert lines[2].split() == [
        "1", "2.5e-07", "31.2", "86%", "3-10", "1-9", "t1", "RF1", "Gene;tRNA",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[3:]] == ["+9.5", "+0.5", "+12.5", "-3.0"]
    told = sum(float(line.split()[0]) for line in lines[3:])
    assert told == pytest.approx(HIT.score)


def test_table_counts_from_one_and_includes_ends() -> None:
    file = io.StringIO()
    write_header(file)
    fast = Hit(HIT.rna, 0.875, (), 0, 0.0)
    write_hits(file, "q", _hits(HIT, fast))
    header, aligned, pooled = (
        line.split("\t") for line in file.getvalue().splitlines()
    )
    assert tuple(header) == COLUMNS
    assert aligned == ["q", "t1", "19.5", "2.5e-07", "85.7", "3", "10", "1", "9"]
    assert pooled == ["q", "t1", "0.875", *["NA"] * 6]


@pytest.mark.parametrize(
    ("e_value", "text"),
    [
        (0.0, "0"), (9e-12, "9.0e-12"), (0.00043, "4.3e-04"), (0.0041, "0.0041"),
        (0.5, "0.5"), (1234.5, "1234"),
    ],
)  # fmt: skip
def test_e_values_are_told_as_blast_tells_them(e_value: float, text: str) -> None:
    assert e_value_text(e_value) == text


def test_columns_of_an_alignment_follow_its_steps() -> None:
    columns = list(ALIGNED.columns())
    assert columns[:5] == [(2, 0), (3, 1), (4, 2), (5, 3), (6, None)]
    assert columns[-1] == (None, 8)


def test_hits_are_columns_for_a_data_frame() -> None:
    columns = _hits(HIT, Hit(HIT.rna, 0.5, (), 0, 0.0)).columns()
    assert {len(column) for column in columns.values()} == {2}
    assert columns["target"] == ["t1", "t1"]
    assert columns["e_value"] == [2.5e-07, None]
    assert (columns["query_start"][0], columns["query_stop"][0]) == (2, 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type=tRNA", ("type", ("tRNA",))),
        (" type = tRNA | Gene;rRNA ", ("type", ("tRNA", "Gene;rRNA"))),
        ("organism!=Homo sapiens", ("organism", NoneOf(("Homo sapiens",)))),
        ("length>=50", ("length", Between(50.0, None))),
        ("own key<=1e-3", ("own key", Between(None, 0.001))),
        ("note=a=b>c", ("note", ("a=b>c",))),
    ],
)
def test_conditions_are_read_as_typed(text: str, expected: object) -> None:
    assert parse_condition(text) == expected


@pytest.mark.parametrize(
    "text", ["", "type", "=x", "type=", "length>50", "length>=many", "!=x", "a=|b"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="expected"):
        parse_condition(text)
