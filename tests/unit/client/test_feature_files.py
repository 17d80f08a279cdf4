"""Files of places: coordinates, headers, and names that formats cannot hold."""

import io
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ribolex.client import (
    DictionaryRef,
    Feature,
    FeatureMatch,
    FeatureMatches,
    Rna,
    Stretch,
    Timing,
)
from ribolex.client.feature_files import (
    Format,
    bed_name,
    gff3_seqid,
    write_matches,
)
from ribolex.client.matches_view import pointed, print_matches

LABEL = "fires in loops; of 5S=x,\ty & 50 %"


def page(*matches: FeatureMatch) -> FeatureMatches:
    features = (
        Feature(7, LABEL, 0.1, 1.0, 4.0, 1.0, ()),
        Feature(12, "", 0.1, 1.0, 0.0, 1.0, ()),
    )
    return FeatureMatches(
        matches, DictionaryRef("tiny", 1), features, 9, 9, None, "", Timing(0, 0, 0)
    )  # fmt: skip


RNA = Rna("X 1/2%\t3", "ACGUACGUAC", None, {"family": "tRNA"})
MATCH = FeatureMatch(RNA, (Stretch(7, 2, 5, 2.0), Stretch(12, 0, 1, 1.0)))


def written(form: Format, *matches: FeatureMatch) -> str:
    file = io.StringIO()
    write_matches(file, form, "7 after\n12", [page(*matches), page()])
    return file.getvalue()


def test_bed_counts_from_0_with_exclusive_stops() -> None:
    assert written("bed", MATCH) == (
        "# 7 after 12\n"
        "X%201/2%25%093\t0\t1\tf12\t1000\t+\n"
        "X%201/2%25%093\t2\t5\tf7\t500\t+\n"
    )


def test_gff3_counts_from_1_with_ends_included() -> None:
    note = "fires in loops%3B of 5S%3Dx%2C%09y %26 50 %25"
    seqid = "X%201%2F2%25%093"
    identity = "X 1/2%25%093"
    assert written("gff3", MATCH) == (
        "##gff-version 3\n"
        "# 7 after 12\n"
        f"##sequence-region {seqid} 1 10\n"
        f"{seqid}\tribolex\tsequence_feature\t1\t1\t1\t+\t.\t"
        f"ID={identity}:f12:1;Name=f12;dictionary=tiny@1\n"
        f"{seqid}\tribolex\tsequence_feature\t3\t5\t2\t+\t.\t"
        f"ID={identity}:f7:3;Name=f7;Note={note};dictionary=tiny@1\n"
    )


def test_a_table_has_the_letters_and_rnas_without_places() -> None:
    assert written("tsv", MATCH, FeatureMatch(Rna("none", "ACGU"), ())) == (
        "rna\tfeature\tstart\tend\tmax_activation\tletters\tlabel\n"
        "X 1/2% 3\tf12\t1\t1\t1\tA\t\n"
        f"X 1/2% 3\tf7\t3\t5\t2\tGUA\t{LABEL}\n".replace(",\t", ", ")
        + "none\tNA\tNA\tNA\tNA\tNA\tNA\n"
    )


@pytest.mark.parametrize("form", ["tsv", "bed", "gff3"])
def test_nothing_found_is_a_file_with_its_header(form: Format) -> None:
    assert (
        written(form).splitlines()
        == {
            "tsv": ["rna\tfeature\tstart\tend\tmax_activation\tletters\tlabel"],
            "bed": ["# 7 after 12"],
            "gff3": ["##gff-version 3", "# 7 after 12"],
        }[form]
    )


@given(st.text(min_size=1))
def test_any_name_is_one_word_that_can_be_read_back(name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    assert re.fullmatch(r"[a-zA-Z0-9.:^*$@!+_?|%-]+", gff3_seqid(name))
    assert unquote(gff3_seqid(name)) == name
    assert len(bed_name(name).split()) == 1
    assert not bed_name(name).startswith(("#", "track", "browser"))
    assert unquote(bed_name(name)) == name


@given(st.text(max_size=90), st.integers(0, 90), st.integers(20, 80))
def test_the_mark_is_below_the_character(query: str, at: int, width: int) -> None:
    shown, mark = pointed("q" * 3 + query, min(at, len(query)) + 3, width)
    assert len(shown) <= width
    assert mark.strip() == "^"
    if query.isascii():
        place = len(mark) - 1
        assert place <= len(shown)
        if min(at, len(query)) < len(query) and query.isprintable():
            assert shown[place] == query[at]


def test_what_is_printed_fits_the_terminal_and_counts_from_1() -> None:
    file = io.StringIO()
    many = tuple(Stretch(7, i, i + 1, 1.0) for i in range(0, 300, 2))
    long = FeatureMatch(Rna("long", "A" * 300), many)
    print_matches(Console(file=file, width=80), "7 after 12", page(MATCH, long))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "2 among 9 RNAs match, by tiny@1" in lines[3]
    assert "  f7   at 3-5 GUA (2.00)" in lines
    assert "  f12  at 1 A (1.00)" in lines
    assert re.fullmatch(r"  f7   at 1 A \(1.00\), 3 A.* and \d+ more", lines[-1])
