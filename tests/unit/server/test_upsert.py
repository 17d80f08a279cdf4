"""Parts of a message of RNAs: all of them, in order, none too large."""

from hypothesis import given
from hypothesis import strategies as st

from ribolex.server.services.upsert import _MAX_PART, _cut


@given(
    lengths=st.lists(st.integers(0, 2 * _MAX_PART), max_size=50),
    max_rnas=st.integers(1, 10),
)
def test_parts_are_bounded_by_number_and_nucleotides(
    lengths: list[int], max_rnas: int
) -> None:
    parts = list(_cut(lengths, max_rnas))
    assert [i for start, stop in parts for i in range(start, stop)] == list(
        range(len(lengths))
    )
    for start, stop in parts:
        assert 1 <= stop - start <= max_rnas
        assert stop - start == 1 or sum(lengths[start:stop]) <= _MAX_PART
