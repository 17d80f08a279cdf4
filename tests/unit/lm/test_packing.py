"""Groups keep every sequence once and hold the budget; a packed row keeps its order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ribolex.lm.packing import bucket, pack
from ribolex.rna import tokenise
from ribolex.rna.alphabet import MASK


@given(st.lists(st.integers(1, 500), max_size=80), st.integers(1, 2000))
def test_every_index_comes_once_and_no_group_exceeds_the_budget(
    lengths: list[int], budget: int
) -> None:
    groups = bucket(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or sum(lengths[i] for i in group) <= budget
        assert [lengths[i] for i in group] == sorted(
            (lengths[i] for i in group), reverse=True
        )


@given(st.lists(st.text("ACGU", min_size=1, max_size=30), min_size=1, max_size=8))
def test_a_row_holds_the_sequences_and_nothing_else(sequences: list[str]) -> None:
    tokens = [tokenise(sequence) for sequence in sequences]
    tokens[0][1:2] = MASK
    packed = pack(tokens)
    edges = packed.boundaries.tolist()
    assert (edges[0], edges[-1]) == (0, len(packed.tokens))
    for i, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        assert packed.lengths[i] == stop - start
        np.testing.assert_array_equal(packed.tokens[start:stop].numpy(), tokens[i])
        assert packed.places[start:stop].tolist() == list(range(stop - start))
        expected = 1 / len(tokens[0]) if i == 0 else 0.0
        np.testing.assert_allclose(packed.mask_share[start:stop].numpy(), expected)
