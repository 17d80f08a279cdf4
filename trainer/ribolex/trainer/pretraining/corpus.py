"""Pretraining data in memory: framed RNAs, their alignment columns and pairs.

Knows nothing of masking, batches or models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16, Int32, Int64, UInt8

from ribolex.rna import AlignmentRow, Rna, normalise, tokenise
from ribolex.rna.alphabet import GAPS
from ribolex.rna.elements import pair_partners

UNPAIRED, UNKNOWN = 0, -(2**15)
"""Spans of a nucleotide without a partner, and of one of which it is not known."""


@dataclass(frozen=True, slots=True)
class FramedRnas:
    """Framed token arrays one after the other, read-only.

    `offsets` [rna+1] delimits them; `families` [rna] numbers their families;
    `columns` [token] is each nucleotide's alignment column, -1 where there is none;
    `spans` [token] the distance in tokens to the one it pairs with (negative:
    upstream), UNPAIRED or UNKNOWN.
    """

    tokens: UInt8[np.ndarray, " token"]
    offsets: Int64[np.ndarray, " boundary"]
    families: Int32[np.ndarray, " rna"]
    columns: Int32[np.ndarray, " token"]
    spans: Int16[np.ndarray, " token"]

    def __len__(self) -> int:
        return len(self.families)

    @property
    def lengths(self) -> Int64[np.ndarray, " rna"]:
        """Tokens of each RNA, frame included."""
        return np.diff(self.offsets)

    @classmethod
    def of_rnas(cls, tables: Iterable[Iterable[Rna]]) -> "FramedRnas":
        """Returns the RNAs of all tables, without columns.

        A family is a `family_acc` of one table, so that a large table of a family
        does not crowd out another table's members.
        """
        families, arrays, spans = [], [], []
        for table, rnas in enumerate(tables):
            for rna in rnas:
                families.append(f"{table}/{rna.metadata.get('family_acc', '')}")
                arrays.append(tokenise(rna.sequence))
                spans.append(_spans(rna.sequence, rna.structure, rna.name))
        columns = [np.full(len(tokens), -1, np.int32) for tokens in arrays]
        return cls._concatenate(families, arrays, columns, spans)

    @classmethod
    def of_alignments(
        cls, rows: Iterable[AlignmentRow], structures: Mapping[str, str]
    ) -> "FramedRnas":
        """Returns family members with the alignment column of each nucleotide.

        Args:
            rows: aligned members.
            structures: dot-bracket by sequence, of those whose structure is known.
        """
        families, arrays, columns, spans = [], [], [], []
        for row in rows:
            sequence = normalise(
                row.aligned, f"{row.family_acc} {row.name}", degap=True
            )
            places = [i for i, letter in enumerate(row.aligned) if letter not in GAPS]
            families.append(row.family_acc)
            arrays.append(tokenise(sequence))
            columns.append(np.array([-1, *places, -1], dtype=np.int32))
            spans.append(_spans(sequence, structures.get(sequence), row.name))
        return cls._concatenate(families, arrays, columns, spans)

    @classmethod
    def _concatenate(
        cls,
        families: Sequence[str],
        arrays: Sequence[UInt8[np.ndarray, " _token"]],
        columns: Sequence[Int32[np.ndarray, " _token"]],
        spans: Sequence[Int16[np.ndarray, " _token"]],
    ) -> "FramedRnas":
        numbers = {family: i for i, family in enumerate(sorted(set(families)))}
        offsets = np.cumsum([0, *(len(tokens) for tokens in arrays)], dtype=np.int64)
        return cls(
            np.concatenate(arrays),
            offsets,
            np.array([numbers[family] for family in families], dtype=np.int32),
            np.concatenate(columns),
            np.concatenate(spans),
        )

    def member_weights(self, power: float) -> Float64[np.ndarray, " rna"]:
        """Returns probabilities that weigh a family of n members by n ** power."""
        counts = np.bincount(self.families)
        weights = counts[self.families].astype(np.float64) ** (power - 1)
        probabilities: Float64[np.ndarray, " rna"] = weights / weights.sum()
        return probabilities


def _spans(
    sequence: str, structure: str | None, name: str
) -> Int16[np.ndarray, " token"]:
    """Returns each token's span; a structure without a pair says nothing."""
    spans = np.full(len(sequence) + 2, UNKNOWN, dtype=np.int16)
    if structure and "(" in structure:
        partners = np.array(pair_partners(structure, name))
        distances = partners - np.arange(len(partners))
        spans[1:-1] = np.where(partners < 0, UNPAIRED, distances)
    return spans
