"""Shuffling keeps neighbours, and reaches every order equally often."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ribolex.rna.shuffle import shuffle


@given(sequence=st.text("ACGUN", max_size=60), seed=st.integers(0, 1000))
def test_neighbours_and_ends_stay(sequence: str, seed: int) -> None:
    shuffled = shuffle(sequence, np.random.default_rng(seed))
    assert Counter(pairwise(shuffled)) == Counter(pairwise(sequence))
    assert shuffled[:1] + shuffled[-1:] == sequence[:1] + sequence[-1:]


def test_every_order_is_equally_likely() -> None:
    generator = np.random.default_rng(0)
    counts = Counter(shuffle("ACGACUACA", generator) for _ in range(6000))
    # AC three times, CG, GA, CU, UA, CA once each: three loops at A in any order.
    assert len(counts) == 6
    assert min(counts.values()) > 850
    assert max(counts.values()) < 1150


def test_a_long_sequence_is_really_shuffled() -> None:
    generator = np.random.default_rng(0)
    sequence = "".join(generator.choice(list("ACGU"), 400))
    shuffled = shuffle(sequence, generator)
    assert np.mean([a == b for a, b in zip(sequence, shuffled, strict=True)]) < 0.4
