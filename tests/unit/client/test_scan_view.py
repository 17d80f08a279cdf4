"""What a scan looks like: on a terminal, as a table, as a picture."""

import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ribolex.client import (
    FeatureChange,
    InvalidRequestError,
    NotReadyError,
    VariantEffect,
    VariantScan,
)
from ribolex.client.heat_map import write_heat_map
from ribolex.client.records import DictionaryRef
from ribolex.client.scan_tsv import write_scan
from ribolex.client.scan_view import print_scan

RNA = "GCGGAUUUAGCUCAGUUGGGAGAGC"
LABEL = "more often in the anticodon loops of tRNA and some others, a long label"


def effect(place: int, letter: str, marginal: float | None) -> VariantEffect:
    change = FeatureChange(7, LABEL, 1.0, 3.5, 0.5, 3.5, (place,), (-2.5,))
    return VariantEffect(
        place, f"{place + 1}{RNA[place]}>{letter}", (place,), marginal, -0.25,
        4.0, 6.0, 1.0, 2.0, (change,), None,
    )  # fmt: skip


def scan_of(variants: Sequence[VariantEffect]) -> VariantScan:
    ref = DictionaryRef("mine", 3)
    return VariantScan(ref, RNA, 10, 0.2, 100.0, -30.0, tuple(variants), ())


SATURATED = scan_of(
    [
        effect(place, letter, -0.1 * place)
        for place in range(len(RNA))
        for letter in "ACGU"
        if letter != RNA[place]
    ]
)


def printed(scan: VariantScan, top: int = 3, encoding: str = "utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    print_scan(Console(file=out, width=80), "tRNA", scan, top)
    out.seek(0)
    return out.read().splitlines()


def test_a_saturated_stretch_is_drawn_and_its_least_expected_listed() -> None:
    lines = printed(SATURATED)
    assert max(map(len, lines)) <= 80
    assert any(line.strip() == RNA for line in lines)
    (track,) = [line for line in lines if line.startswith("unlikely  ")]
    assert track.endswith("█")
    listed = [line.split()[0] for line in lines if "%" in line]
    assert listed == ["25C>A", "25C>G", "25C>U"]
    assert any("-2.5  f7  more often" in line for line in lines)


def test_given_variants_are_listed_in_their_order() -> None:
    odd = replace(
        effect(4, "C", None), changes="5_6del", positions=(4, 5), masked_marginal=None
    )
    lines = printed(scan_of([odd, effect(2, "A", 1.0)]), top=10)
    assert not any(line.startswith("unlikely") for line in lines)
    rows = [line.split() for line in lines if "%" in line]
    assert rows[0] == ["5_6del", "-", "-0.25", "4%", "6%", "30%"]
    assert rows[1][0] == "3G>A"
    assert printed(scan_of([]))[0].startswith("tRNA  25 nt, 0 variants")


def test_a_plain_terminal_gets_plain_signs() -> None:
    assert any("#" in line for line in printed(SATURATED, encoding="ascii")[:8])


def test_the_table_has_a_line_a_variant() -> None:
    out = io.StringIO()
    write_scan(out, scan_of([effect(0, "A", None), effect(1, "G", -1.5)]))
    header, first, second = out.getvalue().splitlines()
    assert header.split("\t")[:3] == ["variant", "positions", "masked_marginal"]
    assert first.split("\t") == [
        "1G>A", "1", "NA", "-0.2500", "4", "6", "1", "2", "f7:+1-3.5",
    ]  # fmt: skip
    assert second.split("\t")[2] == "-1.5000"


def test_the_grid_has_substitutions_alone() -> None:
    insertion = replace(effect(0, "A", None), changes="3_4insA", positions=(2, 3))
    grid = scan_of([effect(1, "G", -1.5), insertion]).grid("masked_marginal")
    assert np.argwhere(np.isfinite(grid)).tolist() == [[2, 1]]
    assert grid[2, 1] == -1.5


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_the_heat_map_is_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"map{suffix}"
    write_heat_map(path, "tRNA", SATURATED)
    start = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix]
    first = path.read_bytes()
    assert first.startswith(start)
    write_heat_map(path, "tRNA", SATURATED)
    assert path.read_bytes() == first


def test_a_heat_map_that_cannot_be_drawn_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidRequestError, match="does not end in one of"):
        write_heat_map(tmp_path / "map.gif", "tRNA", SATURATED)
    with pytest.raises(InvalidRequestError, match="no substitution"):
        write_heat_map(tmp_path / "map.svg", "tRNA", scan_of([]))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(NotReadyError, match=r"ribolex\[plot\]"):
        write_heat_map(tmp_path / "map.svg", "tRNA", SATURATED)
    assert list(tmp_path.iterdir()) == []
