"""Cards of features say what a biologist asks, at any width."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from ribolex.client import cards, records

LETTERS = records.Logo(
    "ACGU", -2, ((0.25,) * 4, (0, 0, 1, 0), (0, 0, 1, 0), (0.5, 0, 0.5, 0), (0,) * 4)
)
ELEMENTS = records.Logo("SH", -2, ((1, 0), (0.5, 0.4), (0, 1), (0, 0), (0, 0)))
PROFILE = records.FeatureProfile(
    1234, 56, 7, "periodic", 2, 11, 0.81, 0.2, "Gene;tRNA", 0.95, True, LETTERS,
    ELEMENTS, records.Suggestion("likes loops", 0.5, -0.25),
)  # fmt: skip
EVIDENCE = (
    records.Evidence(
        "structure:hairpin", "precision", 0.82, 1e-9, 0.14, 40, 5, 0.7, 0.9
    ),
    records.Evidence("structure:hairpin", "enrichment", 5.9, 1e-9, 1.0, 40, 5, 5, 6.6),
    records.Evidence("structure:hairpin", "auroc", 0.77, 1e-9, 0.5, 40, 5),
    records.Evidence("structure:hairpin", "mcc", 0.4, 1e-9, 0.0, 40, 5, percentile=0.9),
    records.Evidence("structure:hairpin", "f1_gain", 0.3, 1e-9, 0.2, 40, 5),
    records.Evidence("pairing:both partners", "share", 0.5, 0.01, 0.1, None),
)
FEATURE = records.Feature(3, "fires on G", 0.01, 1.0, 2.0, 3.0, EVIDENCE, 0.97, PROFILE)
EXAMPLE = records.FeatureExample(
    "r", 2.0, (40, 41), "ACGU" * 20, {}, (0.5, 2.0), "(..)" * 20
)
CARD = records.FeatureCard(
    records.DictionaryRef("mine", 2), FEATURE, (EXAMPLE,), (),
    {"RNAs": "9", "nucleotides": "99", "structures predicted by X": "4", "tests": "12"},
)  # fmt: skip


def printed(card: records.FeatureCard, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    cards.print_card(console, card)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_facts_are_told_in_words() -> None:
    text = printed(CARD)
    assert "sure to 97%" in text
    assert "1,234 in 56 RNAs of 7 families" in text
    assert "periodic, every 11 nt; prefers Gene;tRNA" in text
    assert "0.95 times as often: composition only" in text
    assert "a language model says: likes loops (predicts r = 0.50" in text
    assert "measured on 99 nucleotides, 9 RNAs" in text
    assert "4 structures predicted by X" in text


def test_it_says_what_labels_of_rnas_are_held_against() -> None:
    name, what = "types, families and clans against", "RNAs of about the same length"
    assert name not in printed(CARD)
    basis = {**CARD.basis, name: what}
    text = " ".join(printed(replace(CARD, basis=basis)).split())
    assert f"{name} {what}" in text


def test_evidence_is_a_line_a_label() -> None:
    rows = [line.split() for line in printed(CARD).splitlines()]
    hairpin = "structure:hairpin 82% 14% 5.9 5.0-6.6 0.77 0.40 90% +0.30 1e-09 40 5"
    assert hairpin.split() in rows
    pairing = "pairing:both partners 50% 10% - - - - - - 1e-02 - -"
    assert pairing.split() in rows


def test_logo_is_as_high_as_it_is_informative() -> None:
    lines = [line[4:] for line in printed(CARD).splitlines()]
    start = next(i for i, line in enumerate(lines) if "GG" in line)
    # 2 bits of G twice, then A or G: one bit.
    assert [line.rstrip() for line in lines[start : start + 4]] == [
        " GG",
        " GG",
        " GGG",
        " GGA",
    ]
    assert lines[start + 4].startswith("SsH..")
    assert lines[start + 5].startswith("  ^  ")


def test_the_window_around_the_peak_is_drawn_with_values_and_structure() -> None:
    lines = printed(CARD, 40).splitlines()
    ruler = next(line for line in lines if line.strip().startswith("31"))
    at = lines.index(ruler)
    letters, structure, values = lines[at + 1 : at + 4]
    column = ruler.index("41")
    assert letters[column : column + 4] == "ACGU"
    assert structure[column : column + 4] == "(..)"
    assert values[column - 1 : column + 3] == "·▃█·"


def test_what_was_never_measured_is_not_told() -> None:
    bare = replace(FEATURE, profile=None, label_confidence=None, evidence=())
    text = printed(replace(CARD, feature=bare, examples=(), basis={}))
    assert text.splitlines()[0] == "f3 of mine@2  fires on G"
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize("width", [40, 80, 99, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, printed(CARD, width).splitlines())) <= width


def test_lists_have_a_line_a_feature() -> None:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    listed = records.ListedFeature(replace(FEATURE, evidence=()), EVIDENCE[1])
    empty = records.ListedFeature(replace(FEATURE, label_confidence=None), None)
    cards.print_features(console, [listed, empty])
    assert isinstance(console.file, io.StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert lines[1][:7] == [
        "f3", "1.00%", "periodic", "0.97", "structure:hairpin", "5.9", "1e-09",
    ]  # fmt: skip
    assert lines[2][3:7] == ["-"] * 4
