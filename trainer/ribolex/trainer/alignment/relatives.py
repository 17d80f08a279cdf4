"""Pairs of relatives that no longer look alike, and what to tell them from.

From the alignment rows of families: two members that share less than 60 % of the
letters of their columns. Knows nothing of models or scores.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ribolex.errors import InvalidRequestError
from ribolex.rna import AlignmentRow
from ribolex.rna.alphabet import GAPS
from ribolex.rna.shuffle import shuffle
from ribolex.rna.tables import read_alignment_rows
from ribolex.trainer.pretraining.retrieval import ALIKE, identities

_MEMBERS = 12
"""Of a family, of which pairs are drawn."""
_PAIRS = 3
"""Of a family at most."""


@dataclass(frozen=True, slots=True)
class Relatives:
    """Pairs of RNAs of one family each, and the second ones shuffled."""

    queries: Sequence[str]
    targets: Sequence[str]
    """As many."""
    decoys: Sequence[str]
    """The targets, shuffled so that neighbours stay (Altschul and Erickson 1985)."""
    families: Sequence[str]
    """Of each pair."""


def read_relatives(
    rows: Path, n_pairs: int, longest: int = 512, seed: int = 0
) -> Relatives:
    """Returns pairs of the table of alignment rows, families in turn.

    Args:
        rows: table with columns `family_acc`, `name`, `aligned`.
        n_pairs: to draw at most.
        longest: RNA that is used.
        seed: of what is drawn.

    Raises:
        InvalidRequestError: there is no such pair.
        CorruptInputError: the table is not what it should be.
    """
    found = draw_relatives(read_alignment_rows(rows), n_pairs, longest, seed)
    if not found.queries:
        raise InvalidRequestError(
            "aligned", f"{rows} has no two members that are less than 60 % alike"
        )
    return found


def draw_relatives(
    rows: Iterable[AlignmentRow], n_pairs: int, longest: int, seed: int
) -> Relatives:
    """Returns pairs of alignment rows; see `read_relatives`."""
    generator = np.random.default_rng(seed)
    families: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        aligned = row.aligned.upper().replace("T", "U")
        sequence = "".join(letter for letter in aligned if letter not in GAPS)
        if sequence and len(sequence) <= longest:
            families[row.family_acc].setdefault(sequence, aligned)
    by_rank: list[list[tuple[str, str, str]]] = [[] for _ in range(_PAIRS)]
    for family, members in sorted(families.items()):
        pairs = _pairs_of(list(members.items()), generator)
        for rank, pair in enumerate(pairs[:_PAIRS]):
            by_rank[rank].append((family, *pair))
    for same_rank in by_rank:
        generator.shuffle(same_rank)
    drawn = [pair for same_rank in by_rank for pair in same_rank][:n_pairs]
    return Relatives(
        [query for _, query, _ in drawn],
        [target for _, _, target in drawn],
        [shuffle(target, generator) for _, _, target in drawn],
        [family for family, _, _ in drawn],
    )


def _pairs_of(
    members: Sequence[tuple[str, str]], generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Returns pairs of sequences that are not alike, in random order."""
    chosen = [members[i] for i in generator.permutation(len(members))[:_MEMBERS]]
    if len(chosen) < 2 or len({len(aligned) for _, aligned in chosen}) > 1:
        return []
    alike = identities([aligned for _, aligned in chosen])
    places = [
        (int(i), int(j))
        for i, j in np.argwhere(alike < ALIKE)
        if i != j and alike[i, j] > 0
    ]
    return [
        (chosen[i][0], chosen[j][0])
        for i, j in (places[k] for k in generator.permutation(len(places)))
    ]
