"""The RNAs that features are described on, relatives side by side.

Clans follow one another, within them families, within them RNAs: whoever walks along
the rows meets each clan once. Knows nothing of labels or features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32, Int64
from torch import Tensor

from ribolex.rna import Rna
from ribolex.trainer.activations import Activations
from ribolex.trainer.corpus import family_of, group_of

_ROWS_A_PART = 16_384


@dataclass(frozen=True, slots=True)
class Material:
    """RNAs with the places of their rows, in an order of their own; read-only."""

    rnas: Sequence[Rna]
    sources: Int64[np.ndarray, " rna"]
    """Which RNA of the activations each is."""
    offsets: Int64[np.ndarray, " boundary"]
    """[rna + 1], the first row of each RNA in this order."""
    rna_of_row: Int32[np.ndarray, " row"]
    positions: Int32[np.ndarray, " row"]
    """Which nucleotide, counted from 0; -1 for the row of a whole RNA."""
    families: Int32[np.ndarray, " rna"]
    """Rising; an RNA without a family is one of its own."""
    clans: Int32[np.ndarray, " rna"]
    """Rising; a family without a clan is one of its own."""
    family_names: Sequence[str]

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return int(self.offsets[-1])

    @property
    def lengths(self) -> Float64[np.ndarray, " rna"]:
        """Nucleotides of each RNA, those without a row included."""
        return np.array([len(rna.sequence) for rna in self.rnas], np.float64)

    @property
    def n_clans(self) -> int:
        """Clans, families without one included."""
        return int(self.clans[-1]) + 1 if len(self.clans) else 0


def arrange(rnas: Sequence[Rna], activations: Activations) -> Material:
    """Returns the RNAs of some activations with relatives side by side."""
    kin = [(group_of(rna.name, rna.metadata), family_of(rna)) for rna in rnas]
    sources = np.array(sorted(range(len(rnas)), key=lambda i: (*kin[i], i)), np.int64)
    ordered = [kin[i] for i in sources]
    is_new = np.ones((2, len(ordered)), np.int32)
    for i, (before, after) in enumerate(pairwise(ordered), start=1):
        is_new[:, i] = before[0] != after[0], before != after
    clans, families = np.cumsum(is_new, axis=1, dtype=np.int32) - is_new[:, :1]
    lengths = np.diff(activations.offsets)[sources]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    starts = activations.offsets[:-1][sources]
    n_rows = int(offsets[-1])
    rna_of_row = np.repeat(np.arange(len(rnas), dtype=np.int32), lengths)
    places = np.arange(n_rows) + np.repeat(starts - offsets[:-1], lengths)
    positions = np.asarray(activations.positions)[places].astype(np.int32)
    first = np.flatnonzero(is_new[1])
    return Material(
        [rnas[i] for i in sources],
        sources,
        offsets,
        rna_of_row,
        positions,
        families,
        clans,
        [ordered[i][1] for i in first],
    )


def read_parts(
    material: Material, activations: Activations
) -> Iterator[tuple[slice, Float32[Tensor, "_row d_in"]]]:
    """Yields all rows in the order of the material, some thousands at a time.

    Each part comes with the places of its rows in that order.
    """
    start, n_rnas = 0, len(material.rnas)
    while start < n_rnas:
        limit = material.offsets[start] + _ROWS_A_PART
        stop = int(np.searchsorted(material.offsets, limit, "right")) - 1
        stop = min(max(stop, start + 1), n_rnas)
        sources = material.sources[start:stop].tolist()
        slices = _joined([activations.of_rna(i) for i in sources])
        rows = [np.asarray(activations.rows[part], np.float32) for part in slices]
        place = slice(int(material.offsets[start]), int(material.offsets[stop]))
        yield place, torch.from_numpy(np.concatenate(rows))
        start = stop


def _joined(slices: Sequence[slice]) -> list[slice]:
    """Returns the same places with slices that adjoin made one."""
    out: list[slice] = []
    for part in slices:
        if out and out[-1].stop == part.start:
            out[-1] = slice(out[-1].start, part.stop)
        else:
            out.append(part)
    return out
