"""A database of any size: real RNAs, then ones put together anew from pieces of them.

An added RNA has the letters and codes of a real one in pieces of 16 to 32 nucleotides,
in another order: words, composition and length are as in real RNAs, the order is not,
so that it is no relative; families asked for give no pieces. Nothing is encoded anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ribolex.dictionary import Codes
from searching.codes import Encoded

_SHORTEST, _LONGEST = 16, 32


@dataclass(frozen=True, slots=True)
class Grown:
    """Real RNAs first, as they are; then added ones."""

    sequences: Sequence[str]
    n_real: int
    sources: np.ndarray
    """Of each added RNA, the real one that it was made from."""
    seed: int

    def codes(self, encoded: Encoded) -> Iterator[Codes]:
        """Yields the codes of each RNA, given those of the real ones."""
        yield from encoded
        for added, source in enumerate(self.sources):
            yield rearrange(encoded.of(int(source)), self._order(added))

    def _order(self, added: int) -> np.ndarray:
        length = len(self.sequences[self.sources[added]])
        return shuffle_pieces(length, np.random.default_rng([self.seed, added]))


def grow(real: Sequence[str], strangers: np.ndarray, size: int, seed: int = 0) -> Grown:
    """Returns a database of `size` RNAs, or of all real ones if they are more.

    Args:
        real: unique.
        strangers: places of real RNAs that may give pieces.
        size: RNAs wanted.
        seed: decides which RNAs give pieces, and their order.
    """
    generator = np.random.default_rng(seed)
    sources = generator.choice(strangers, max(0, size - len(real)))
    grown = Grown(real, len(real), sources, seed)
    letters = [np.frombuffer(sequence.encode(), np.uint8) for sequence in real]
    added = [
        letters[source][grown._order(i)].tobytes().decode()
        for i, source in enumerate(sources)
    ]
    return Grown([*real, *added], len(real), sources, seed)


def shuffle_pieces(length: int, generator: np.random.Generator) -> np.ndarray:
    """Returns the numbers below `length` in pieces that changed places."""
    n = max(1, length // _SHORTEST)
    ends = np.cumsum(generator.integers(_SHORTEST, _LONGEST + 1, n))
    cuts = ends[ends <= length - _SHORTEST]
    pieces = np.split(np.arange(length), cuts)
    return np.concatenate([pieces[i] for i in generator.permutation(len(pieces))])


def rearrange(codes: Codes, order: np.ndarray) -> Codes:
    """Returns the rows of codes in another order."""
    counts = np.diff(codes.indptr)[order]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    entries = np.arange(indptr[-1]) + np.repeat(
        codes.indptr[order] - indptr[:-1], counts
    )
    indices, values = codes.indices[entries], codes.values[entries]
    return Codes(indptr, indices, values, codes.n_features)
