"""Corpora hold each sequence once, and small families are not crowded out."""

from pathlib import Path

import numpy as np

from ribolex.rna import Rna, write_rnas
from ribolex.trainer.corpus import choose, digest, family_of, read_corpus


def make_rnas() -> list[Rna]:
    big = [Rna(f"b{i}", "A" * 10, None, {"family_acc": "RF1"}) for i in range(50)]
    small = [Rna(f"s{i}", "C" * 10, None, {"family_acc": "RF2"}) for i in range(3)]
    return big + small + [Rna("alone", "G" * 10)]


def test_each_sequence_comes_once_and_long_ones_not_at_all(tmp_path: Path) -> None:
    one, two = tmp_path / "one.tsv.gz", tmp_path / "two.tsv.gz"
    write_rnas(one, [Rna("a", "ACGU"), Rna("b", "ACGU"), Rna("c", "A" * 11)])
    write_rnas(two, [Rna("d", "ACGU"), Rna("e", "GG")])
    assert [rna.name for rna in read_corpus([one, two], 10)] == ["a", "e"]


def test_families_take_turns() -> None:
    chosen = choose(make_rnas(), 60, np.random.default_rng(0))
    families = [family_of(rna) for rna in chosen]
    assert families.count("RF2") == 3
    assert "name:alone" in families
    assert len(chosen) in (6, 7)


def test_asking_for_more_than_there_is_gives_all_in_order() -> None:
    rnas = make_rnas()
    assert choose(rnas, 10_000, np.random.default_rng(0)) == rnas


def test_the_same_seed_chooses_the_same() -> None:
    one, two = (choose(make_rnas(), 100, np.random.default_rng(3)) for _ in range(2))
    assert one == two


def test_digest_follows_names_and_letters() -> None:
    rnas = [Rna("a", "ACGU"), Rna("b", "GG")]
    assert digest(rnas) == digest(list(rnas))
    assert digest(rnas) != digest(rnas[::-1])
