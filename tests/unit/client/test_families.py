"""The demo's measure, on RNAs whose neighbours are plain to see."""

from ribolex.client import Rna
from ribolex.client.families import draw_queries, rate_by_kmers


def _rna(name: str, sequence: str, family: str) -> Rna:
    return Rna(name, sequence, None, {"family": family})


RNAS = [
    _rna("a", "ACACACACACACACAC", "first"),
    _rna("b", "CACACACACACANACA", "first"),
    _rna("c", "GUUGGUUGGUUGGUUG", "second"),
    _rna("d", "GGUUGGUUGGUUGGUU", "second"),
    _rna("e", "ACACACACACACACGC", "alone"),
    _rna("f", "AC", "short"),
    _rna("g", "CA", "short"),
]


def test_only_rnas_with_a_relative_are_drawn() -> None:
    drawn = draw_queries(RNAS, 100, seed=0)
    assert [RNAS[place].name for place in drawn] == ["a", "b", "c", "d", "f", "g"]


def test_the_same_seed_draws_the_same() -> None:
    assert draw_queries(RNAS, 2, seed=3) == draw_queries(RNAS, 2, seed=3)
    assert len(draw_queries(RNAS, 2, seed=3)) == 2


def test_kmers_find_relatives_that_look_alike() -> None:
    assert rate_by_kmers(RNAS, [2, 3]) == 1.0


def test_kmers_are_misled_by_a_stranger_that_looks_alike() -> None:
    assert rate_by_kmers(RNAS, [0, 2]) == 0.5


def test_rna_without_a_family_is_nobodys_relative() -> None:
    assert draw_queries([Rna("a", "ACGU"), Rna("b", "ACGU")], 9, seed=0) == []
