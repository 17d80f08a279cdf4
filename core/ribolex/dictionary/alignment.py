"""How RNAs are aligned by the codes of a dictionary: what travels with it.

Each feature has a vector, and a nucleotide's vector is that of the features that fire
in it, so that features which stand for the same thing match though their ids differ.
Because vectors add up, so do the shares of features in a score. For a quick look at
very many RNAs a nucleotide's letter and vector are told by one of N_STATES states, as
Foldseek tells a residue's surroundings by one of 20 (van Kempen et al. 2024). Knows
nothing of how this was learned, or of how alignments are computed.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ribolex.dictionary.codes import Codes
from ribolex.errors import CorruptArtefactError, InvalidRequestError
from ribolex.rna.extreme_value import ExtremeValue

_SHAPES = {"embedding": 2, "centroids": 3, "letters": 2, "numbers": 1}
_N_LETTERS = 5

N_CLUSTERS = 31
"""Of the vectors of each letter: with one state for unknown letters and one for no
nucleotide at all, states fit in a table of 128."""

N_STATES = 4 * N_CLUSTERS + 1
"""States of nucleotides; the last is that of unknown letters."""

_SUMMED_AT_ONCE = 4096
"""Nucleotides whose features' vectors are in memory together."""

LETTERS_OF_STATES = np.minimum(np.arange(N_STATES) // N_CLUSTERS, 4).astype(np.uint8)
"""0 to 3 for A, C, G, U; 4 for others."""


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentModel:
    """What a pair of nucleotides is worth, and how often chance gives a score.

    A pair scores `letters[its letters] + <v, w>`, v and w the `vectors` of its
    nucleotides; a gap costs `gap_open` for its first nucleotide and `gap_extend` for
    each further one (Gotoh 1982).
    """

    embedding: Float32[np.ndarray, "n_features width"]
    """A direction of each feature, to be weighed with its value."""
    similarity: float
    """What a pair gets for vectors that point the same way, >= 0."""
    letters: Float32[np.ndarray, "5 5"]
    """Query letter by target letter: A, C, G, U, any other."""
    gap_open: float
    gap_extend: float
    centroids: Float32[np.ndarray, "4 31 width"]
    """What vectors of nucleotides of each letter lie around."""
    statistics: ExtremeValue
    """Of the scores of unrelated RNAs."""

    @property
    def n_features(self) -> int:
        """Features of the dictionary."""
        return len(self.embedding)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.embedding.shape[1])

    def vectors(self, codes: Codes) -> Float32[np.ndarray, "nucleotide width"]:
        """Returns the vector of each nucleotide.

        Its length is the root of `similarity`, so that a pair gets `similarity` times
        the cosine; 0 where no feature fires.
        """
        sums = self._sums(codes)
        scaled: Float32[np.ndarray, "nucleotide width"] = sums * self._scales(sums)
        return scaled

    def parts(self, codes: Codes) -> Float32[np.ndarray, " entry"]:
        """Returns what each entry's embedding is multiplied with in the vector.

        The vector of a nucleotide is the sum of `parts * embedding[feature]` over its
        entries.
        """
        scales = self._scales(self._sums(codes)).ravel()
        of_entries: Float32[np.ndarray, " entry"]
        of_entries = codes.values * np.repeat(scales, np.diff(codes.indptr))
        return of_entries

    def states(
        self,
        letters: UInt8[np.ndarray, " nucleotide"],
        vectors: Float32[np.ndarray, "nucleotide width"],
    ) -> UInt8[np.ndarray, " nucleotide"]:
        """Returns the state of each nucleotide: its letter's centroid that is nearest.

        Args:
            letters: 0 to 3 for A, C, G, U; 4 for others.
            vectors: as `vectors` gives them.
        """
        out = np.full(len(letters), N_STATES - 1, np.uint8)
        for letter, centroids in enumerate(self.centroids):
            own = np.flatnonzero(letters == letter)
            # |v - c|² less |v|², which is the same for all.
            far = (centroids**2).sum(axis=1) - 2 * (vectors[own] @ centroids.T)
            out[own] = letter * N_CLUSTERS + far.argmin(axis=1)
        return out

    def state_scores(
        self,
        letters: UInt8[np.ndarray, " nucleotide"],
        vectors: Float32[np.ndarray, "nucleotide width"],
    ) -> Float32[np.ndarray, "nucleotide 125"]:
        """Returns what nucleotides of a query get for a pair with each state.

        That is what a pair with the state's letter and centroid is worth.
        """
        found: Float32[np.ndarray, "nucleotide 125"]
        found = self.letters[letters][:, LETTERS_OF_STATES]
        found[:, :-1] += vectors @ self.centroids.reshape(-1, self.width).T
        return found

    def _sums(self, codes: Codes) -> Float32[np.ndarray, "nucleotide width"]:
        if codes.n_features != self.n_features:
            raise InvalidRequestError(
                "codes", f"{codes.n_features} features, expected {self.n_features}"
            )
        out = np.zeros((len(codes), self.width), np.float32)
        # Not by torch: it wakes its threads for each RNA, and on a busy machine waits
        # for them a thousand times as long as this takes.
        for start in range(0, len(codes), _SUMMED_AT_ONCE):
            bounds = codes.indptr[start : start + _SUMMED_AT_ONCE + 1]
            part = slice(int(bounds[0]), int(bounds[-1]))
            weighted = self.embedding[codes.indices[part]]
            weighted *= codes.values[part, None]
            fires = start + np.flatnonzero(np.diff(bounds))
            if len(fires):
                out[fires] = np.add.reduceat(weighted, codes.indptr[fires] - part.start)
        return out

    def _scales(
        self, sums: Float32[np.ndarray, "nucleotide width"]
    ) -> Float32[np.ndarray, "nucleotide 1"]:
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        root = np.float32(np.sqrt(self.similarity))
        out: Float32[np.ndarray, "nucleotide 1"]
        out = np.where(lengths > 0, root / np.maximum(lengths, 1e-30), 0)
        return out.astype(np.float32)

    def to_bytes(self) -> bytes:
        """Returns the content of the file, the same bytes always."""
        tensors = {
            # Half precision is what was measured, and a quarter of a megabyte less.
            "embedding": self.embedding.astype(np.float16),
            "centroids": self.centroids.astype(np.float16),
            "letters": self.letters,
            "numbers": np.array(
                [self.similarity, self.gap_open, self.gap_extend], np.float64
            ),
        }
        metadata = {"statistics": json.dumps(self.statistics.to_numbers())}
        return save(
            {name: np.ascontiguousarray(array) for name, array in tensors.items()},
            metadata,
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: Path) -> "AlignmentModel":
        """Returns what `to_bytes` wrote.

        Raises:
            CorruptArtefactError: it is something else.
        """
        try:
            tensors = load(data)
            statistics = ExtremeValue.from_numbers(_metadata(data), str(where))
        except (SafetensorError, ValueError, KeyError, InvalidRequestError) as error:
            raise CorruptArtefactError(where, "is no alignment model") from error
        found = {name: array.ndim for name, array in tensors.items()}
        if found != _SHAPES or not all(np.isfinite(x).all() for x in tensors.values()):
            raise CorruptArtefactError(where, f"holds {found}, expected {_SHAPES}")
        embedding, letters = tensors["embedding"], tensors["letters"]
        if letters.shape != (_N_LETTERS,) * 2 or len(tensors["numbers"]) != 3:
            raise CorruptArtefactError(where, "has tables of the wrong size")
        expected = (4, N_CLUSTERS, embedding.shape[1])
        if tensors["centroids"].shape != expected:
            raise CorruptArtefactError(
                where, f"centroids {tensors['centroids'].shape}, expected {expected}"
            )
        similarity, gap_open, gap_extend = map(float, tensors["numbers"])
        if similarity < 0 or min(gap_open, gap_extend) <= 0:
            raise CorruptArtefactError(
                where, f"similarity {similarity}, gaps {gap_open}, {gap_extend}"
            )
        return cls(
            embedding.astype(np.float32),
            similarity,
            letters.astype(np.float32),
            gap_open,
            gap_extend,
            tensors["centroids"].astype(np.float32),
            statistics,
        )


def _metadata(data: bytes) -> dict[str, float]:
    """Returns the statistics in the header: 8 bytes of length, then JSON."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    numbers: dict[str, float] = json.loads(header["__metadata__"]["statistics"])
    return numbers
