"""Variants: what their notation means, and what makes one sequence of another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ribolex.errors import InvalidRequestError
from ribolex.rna.variants import parse_variant, saturation, variant_of

RNA = "GCGGAUUUAGCUC"
rnas = st.text(alphabet="ACGU", min_size=1, max_size=14)


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("1G>A", "ACGGAUUUAGCUC", "1G>A"),
        (" r.1g>t ", "UCGGAUUUAGCUC", "1G>U"),
        ("2del", "GGGAUUUAGCUC", "2del"),
        ("2_4delCGG", "GAUUUAGCUC", "2_4del"),
        ("0_1insAA", "AAGCGGAUUUAGCUC", "0_1insAA"),
        ("13_14insU", "GCGGAUUUAGCUCU", "13_14insU"),
        ("3_5delinsAU", "GCAUUUUAGCUC", "3_5delinsAU"),
        ("3_5delGGAinsAU", "GCAUUUUAGCUC", "3_5delinsAU"),
        ("3GGA>C", "GCCUUUAGCUC", "3_5delinsC"),
        ("13C>A;1G>A", "ACGGAUUUAGCUA", "1G>A;13C>A"),
        ("[1G>A;2C>U]", "AUGGAUUUAGCUC", "1G>A;2C>U"),
        ("12_13insG;13C>A", "GCGGAUUUAGCUGA", "12_13insG;13C>A"),
    ],
)
def test_notation_means_what_it_says(text: str, expected: str, shown: str) -> None:
    variant = parse_variant(text, RNA, "variants[0]")
    assert variant.sequence == expected
    assert variant.text == shown
    assert parse_variant(shown, RNA, "again") == variant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no change"),
        ("A>G", "is no change"),
        ("1G>", "is no change"),
        ("x" * 5000, "is no change"),
        ("1del" + "ins" * 500_000 + "1", "is no change"),
        ("1" + "a" * 1_000_000 + "1", "is no change"),
        ("99999999999A>G", "is no change"),
        ("²A>G", "is no change"),
        ("2G>A", "the reference has C"),
        ("2_3delAA", "the reference has CG"),
        ("0A>G", "is not within 1 to 13"),
        ("14A>G", "is not within 1 to 13"),
        ("4_2del", "is not within 1 to 13"),
        ("3_5insA", "two neighbours"),
        ("3insA", "two neighbours"),
        ("14_15insA", "two neighbours"),
        ("3_5delGGAins", "is no change"),
        ("1G>X", "is not an RNA letter"),
        ("1G>G", "changes nothing"),
        ("1_13del", "leaves no nucleotide"),
        ("2_4del;3G>A", "overlap"),
        ("0_1insA;0_1insC", "overlap"),
    ],
)
def test_what_is_no_variant_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        parse_variant(text, RNA, "variants[7]")
    assert caught.value.field == "variants[7]"
    assert len(caught.value.message) < 200


def distance(one: str, other: str) -> int:
    """The simple twin: Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for i, ours in enumerate(one, start=1):
        previous, row = row, [i]
        for j, theirs in enumerate(other, start=1):
            cheapest = min(previous[j], row[-1]) + 1
            row.append(min(cheapest, previous[j - 1] + (ours != theirs)))
    return row[-1]


@given(rnas, rnas)
def test_the_fewest_changes_make_one_sequence_of_another(one: str, other: str) -> None:
    variant = variant_of(other, one, "alternative")
    assert variant.sequence == other
    cost = sum(max(c.stop - c.start, len(c.letters)) for c in variant.changes)
    assert cost == distance(one, other)
    assert parse_variant(variant.text, one, "again") == variant


@given(rnas, rnas)
def test_each_nucleotide_of_a_variant_counts_somewhere(one: str, other: str) -> None:
    variant = variant_of(other, one, "alternative")
    anchors = variant.anchors().tolist()
    assert len(anchors) == len(other)
    assert anchors == sorted(anchors)
    assert set(anchors) <= set(range(len(one)))
    changed = set(variant.changed().tolist())
    for place in set(range(len(one))) - changed:
        # What nothing happens to stands for itself, and alone.
        (at,) = [i for i, anchor in enumerate(anchors) if anchor == place]
        assert other[at] == one[place]


def test_indels_lie_as_far_to_the_end_as_they_can() -> None:
    assert variant_of("GAAC", "GAAAC", "x").text == "4del"
    assert variant_of("GAAAAC", "GAAAC", "x").text == "4_5insA"


def test_sequences_of_nothing_in_common_are_refused_when_long() -> None:
    with pytest.raises(InvalidRequestError, match="expected a variant of it"):
        variant_of("A" * 3000, "C" * 3000, "alternative_sequences[0]")
    long = "ACGU" * 25_000
    assert variant_of(long[:60_000] + "A" + long[60_000:], long, "x").sequence[60_000]


def test_saturation_is_every_substitution_once() -> None:
    found = [one.text for one in saturation("GNA", 0, 3)]
    assert found == [
        "1G>A", "1G>C", "1G>U", "2N>A", "2N>C", "2N>G", "2N>U", "3A>C", "3A>G", "3A>U",
    ]  # fmt: skip
    assert [one.text for one in saturation("GNA", 2, 3)] == ["3A>C", "3A>G", "3A>U"]
