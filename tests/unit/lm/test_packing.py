"""Buckets keep every sequence once and hold the budget."""

from hypothesis import given
from hypothesis import strategies as st

from ribolex.lm.packing import bucket, collate
from ribolex.rna import tokenise


@given(st.lists(st.integers(1, 500), max_size=80), st.integers(1, 2000))
def test_every_index_comes_once_and_no_rectangle_exceeds_the_budget(
    lengths: list[int], budget: int
) -> None:
    groups = bucket(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or longest * len(group) <= budget


@given(st.lists(st.text("ACGU", min_size=1, max_size=30), min_size=1, max_size=8))
def test_collate_marks_exactly_the_nucleotides(sequences: list[str]) -> None:
    rectangle = collate([tokenise(sequence) for sequence in sequences])
    assert rectangle.is_nucleotide.sum(1).tolist() == [len(s) for s in sequences]
    if rectangle.is_token is not None:
        assert rectangle.is_token.sum(1).tolist() == [len(s) + 2 for s in sequences]
    else:
        assert len({len(s) for s in sequences}) == 1
