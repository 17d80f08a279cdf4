"""Votes for diagonals: which pieces probably align with a query, and where.

Each nucleotide of a query votes, with every feature and word that it shares with a
stored nucleotide, for the diagonal (position in the RNA - position in the query) on
which they lie, as BLAST and MMseqs2 do with words alone. Knows blocks and numbers;
nothing of how blocks came to be, or of alignment.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8, UInt16

from ribolex.dictionary import Codes
from ribolex.server.index.position_blocks import (
    N_WORDS,
    WORD,
    Block,
    Layout,
    strongest,
)
from ribolex.server.index.position_kernels import take_best, vote, words

MAX_QUERY = 1024
"""Nucleotides of a query at most; a longer one is for the caller to cut."""

_MOST_VOTES = 32767
"""What a diagonal can get: with its neighbour it fits in 16 bits."""

_MOST_BALLOTS = _MOST_VOTES // 2
"""Of features; each weighs 1 at least."""


@dataclass(frozen=True, slots=True, eq=False)
class Franchise:
    """What shared features and words are worth, and how much voting may cost."""

    features: Float32[np.ndarray, " n_features"]
    """>= 0 of each feature; 0: does not vote."""
    word: float
    """Of the weight that all ballots of a query have, the part of words: 0 to 1."""
    density: float
    """Pairs of a nucleotide of the query and a stored one that may vote by features,
    as a part of all pairs: the cost of a search. The weightiest do."""


class Ballots(NamedTuple):
    """The votes of one query, list by list."""

    n_nucleotides: int
    lists: Int32[np.ndarray, " group"]
    firsts: Int32[np.ndarray, " group_boundary"]
    """Group g owns ballots firsts[g] .. firsts[g + 1] - 1."""
    positions: Int32[np.ndarray, " ballot"]
    """In the query."""
    weights: UInt16[np.ndarray, " ballot"]


class Candidates(NamedTuple):
    """Pieces in which a query got most votes, most first."""

    blocks: Int32[np.ndarray, " candidate"]
    """Place of the block in the list that was searched."""
    pieces: Int32[np.ndarray, " candidate"]
    """In the block."""
    votes: Float32[np.ndarray, " candidate"]
    """Over the logarithm of the piece's length; comparable within a query."""
    diagonals: Int32[np.ndarray, " candidate"]
    """Position in the piece - position in the query."""

    @classmethod
    def none(cls) -> "Candidates":
        """Returns no candidates."""
        whole = np.empty(0, np.int32)
        return cls(whole, whole, np.empty(0, np.float32), whole)

    def best(self, limit: int) -> "Candidates":
        """Returns those with most votes; of equals the first come first."""
        order = np.lexsort((self.pieces, self.blocks, -self.votes))[:limit]
        return Candidates(*(column[order] for column in self))


def draw_ballots(
    codes: Codes,
    letters: UInt8[np.ndarray, " nucleotide"],
    layout: Layout,
    franchise: Franchise,
    sizes: Int64[np.ndarray, " list"],
    n_slots: int,
) -> Ballots:
    """Returns the votes of a query.

    Args:
        codes: of the query, one row a nucleotide.
        letters: of the query, MAX_QUERY at most.
        layout: of the blocks.
        franchise: what votes are worth.
        sizes: of each list, in all blocks together.
        n_slots: in use in all blocks together.
    """
    positions, features = strongest(codes, layout)
    worths = franchise.features[features].astype(np.float64)
    order = np.argsort(-worths, kind="stable")
    cost = np.cumsum(sizes[features[order]])
    order = order[cost <= franchise.density * n_slots * len(letters)][:_MOST_BALLOTS]
    of_words = words(letters, WORD)
    begins = np.flatnonzero(of_words >= 0)
    return _bundle(
        np.concatenate([features[order], of_words[begins] + layout.n_lists - N_WORDS]),
        np.concatenate([positions[order], begins]),
        _share(worths[order], _rarity(of_words[begins], sizes), franchise.word),
        len(letters),
    )


def _rarity(
    of_words: Int32[np.ndarray, " word"], sizes: Int64[np.ndarray, " list"]
) -> Float64[np.ndarray, " word"]:
    """Returns what words are worth beside each other: rare ones more."""
    seen = sizes[len(sizes) - N_WORDS :] + 1.0
    rarity: Float64[np.ndarray, " word"] = np.log(1 + seen.sum() / seen)[of_words]
    return rarity


def _share(
    by_features: Float64[np.ndarray, " ballot"],
    by_words: Float64[np.ndarray, " word"],
    part: float,
) -> Float64[np.ndarray, " both"]:
    """Returns weights of both kinds, of which words have their part."""
    sums = by_features.sum(), by_words.sum()
    parts = (1 - part, part) if all(sums) else (1.0, 1.0)
    return np.concatenate(
        [
            weights * (part / (whole or 1.0))
            for weights, part, whole in zip(
                (by_features, by_words), parts, sums, strict=True
            )
        ]
    )


def _bundle(
    lists: Int64[np.ndarray, " ballot"],
    positions: Int64[np.ndarray, " ballot"],
    weights: Float64[np.ndarray, " ballot"],
    n_nucleotides: int,
) -> Ballots:
    """Returns ballots by list, their weights as whole numbers that cannot overflow."""
    order = np.argsort(lists, kind="stable")
    lists, positions, weights = lists[order], positions[order], weights[order]
    scale = (_MOST_VOTES - len(weights)) / max(weights.sum(), 1e-30)
    whole = np.ceil(weights * scale).astype(np.uint16)
    distinct, firsts = np.unique(lists, return_index=True)
    return Ballots(
        n_nucleotides,
        distinct.astype(np.int32),
        np.append(firsts, len(lists)).astype(np.int32),
        positions.astype(np.int32),
        whole,
    )


class Electorate(NamedTuple):
    """The blocks to search, and which of their pieces count."""

    blocks: Sequence[Block]
    is_allowed: Callable[[Block], Bool[np.ndarray, " piece"]]


def count_votes(
    ballots: Ballots,
    electorate: Electorate,
    limit: int,
    check: Callable[[], None],
    threads: tuple[Executor, int] | None = None,
) -> Candidates:
    """Returns the pieces with most votes; pieces without any are none.

    Args:
        ballots: of the query.
        electorate: where to search.
        limit: candidates at most, 1 or more.
        check: called between blocks, in any thread; what it raises ends the search.
        threads: who counts, and how many at once; None for the caller alone.
    """
    if threads is None:
        return _count(ballots, electorate, range(len(electorate.blocks)), limit, check)
    executor, n_threads = threads
    shares = [range(i, len(electorate.blocks), n_threads) for i in range(n_threads)]
    jobs = [
        executor.submit(_count, ballots, electorate, share, limit, check)
        for share in shares
    ]
    found = [job.result() for job in jobs]
    return Candidates(*map(np.concatenate, zip(*found, strict=True))).best(limit)


def _count(
    ballots: Ballots,
    electorate: Electorate,
    places: range,
    limit: int,
    check: Callable[[], None],
) -> Candidates:
    blocks = electorate.blocks
    if not places or not len(ballots.lists):
        return Candidates.none()
    counter = _Counter(ballots, [blocks[place] for place in places])
    kept, floor = Candidates.none(), 0.0
    fresh: list[Candidates] = []
    for place in places:
        check()
        block = blocks[place]
        is_allowed = electorate.is_allowed(block)
        if not is_allowed.any():
            continue
        fresh.append(counter.count(block, place, is_allowed, floor))
        if sum(len(each.votes) for each in fresh) > limit:
            kept, fresh = _merge([kept, *fresh]).best(limit), []
            floor = float(kept.votes[-1]) if len(kept.votes) == limit else 0.0
    return _merge([kept, *fresh]).best(limit)


def _merge(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(*map(np.concatenate, zip(*parts, strict=True)))


class _Counter:
    """The accumulator of one query in one thread, with room for the largest block."""

    def __init__(self, ballots: Ballots, blocks: Sequence[Block]) -> None:
        self._ballots = ballots
        n = ballots.n_nucleotides
        self._cells = np.empty(max(block.n_slots for block in blocks), np.uint32)
        n_votes = max(block.n_slots + n * len(block) for block in blocks)
        self._votes = np.zeros(n_votes, np.uint16)
        room = max(len(block) for block in blocks)
        self._scores = np.empty(room, np.float32)
        self._pieces = np.empty(room, np.int32)
        self._diagonals = np.empty(room, np.int32)

    def count(
        self,
        block: Block,
        place: int,
        is_allowed: Bool[np.ndarray, " piece"],
        floor: float,
    ) -> Candidates:
        """Returns the allowed pieces of a block with votes above `floor`."""
        n, lists, firsts, positions, weights = self._ballots
        slots = block.piece_slots
        vote(
            block.bounds, block.postings, slots, n,
            lists, firsts, positions, weights, self._cells, self._votes,
        )  # fmt: skip
        found = self._scores, self._pieces, self._diagonals
        k = take_best(
            self._votes, slots, n, block.corrections, is_allowed, floor, *found
        )
        scores, pieces, diagonals = (column[:k].copy() for column in found)
        return Candidates(np.full(k, place, np.int32), pieces, scores, diagonals)


def windows(n_nucleotides: int) -> Iterator[tuple[int, int]]:
    """Yields start and stop of the parts that a query is searched in.

    Neighbours share half of MAX_QUERY; a short query is one part.
    """
    start = 0
    while True:
        stop = min(start + MAX_QUERY, n_nucleotides)
        yield start, stop
        if stop == n_nucleotides:
            return
        start += MAX_QUERY // 2
