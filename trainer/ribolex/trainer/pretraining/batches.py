"""Draws pretraining batches: crops of one length, masked, with aligned pairs.

All rows of a batch are cropped to one length, so that no batch has padding. A pair
batch holds two members of a family in neighbouring rows (2i, 2i+1), cropped around
a shared alignment column. Masking is RiNALMo's: 15 % of the nucleotides, of which
80 % become MASK, 10 % a random letter, 10 % stay. Knows nothing of models.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int16, Int64, UInt8
from torch import Tensor

from ribolex.rna.alphabet import CLS, EOS, MASK
from ribolex.trainer.pretraining.corpus import FramedRnas

_SHORTEST = 24
_MASKED_SHARE = 0.15
_LETTERS = np.array([5, 6, 7, 8], dtype=np.uint8)  # A C G T
_FAMILY_POWER = 0.5
_JITTER = 6  # a pair's second crop moves by up to a sixth of the length
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch.

    `inputs` and `targets` are token ids [row, token]; `is_target` marks where the
    masked-language-model loss is taken. Token `anchors[i]` and token `partners[i]`
    of the flattened batch share an alignment column; both are empty without pairs.
    `spans` [row, token] is the distance to the one a nucleotide pairs with, see
    `FramedRnas`; the partner may lie outside the crop.
    """

    inputs: UInt8[np.ndarray, "row token"]
    targets: UInt8[np.ndarray, "row token"]
    is_target: Bool[np.ndarray, "row token"]
    spans: Int16[np.ndarray, "row token"]
    anchors: Int64[np.ndarray, " pair"]
    partners: Int64[np.ndarray, " pair"]

    def tensors(self) -> tuple[Tensor, ...]:
        """Returns inputs, targets, is_target, spans and the pairs if there are any."""
        letters = (
            torch.from_numpy(self.inputs).long(),
            torch.from_numpy(self.targets).long(),
            torch.from_numpy(self.is_target),
            torch.from_numpy(self.spans).long(),
        )
        if not len(self.anchors):
            return letters
        pairs = torch.from_numpy(self.anchors), torch.from_numpy(self.partners)
        return (*letters, *pairs)


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How large batches are and how many of them hold aligned pairs."""

    n_tokens: int = 1024
    longest: int = 512
    pair_share: float = 0.6
    n_anchors: int = 256


class _Crop(NamedTuple):
    """A stretch of one RNA."""

    letters: UInt8[np.ndarray, " token"]
    columns: Int64[np.ndarray, " token"]
    spans: Int16[np.ndarray, " token"]


class BatchSource:
    """Endless batches from a corpus; state is the generator that is passed in."""

    def __init__(
        self,
        rnas: FramedRnas,
        aligned: FramedRnas,
        plan: BatchPlan,
        generator: np.random.Generator,
    ) -> None:
        self._plan = plan
        self._generator = generator
        self._rnas = _Ranked(rnas)
        self._aligned = _Ranked(aligned)

    def draw(self) -> Batch:
        """Returns the next batch: aligned pairs or single RNAs, by the plan's share."""
        if self._generator.random() < self._plan.pair_share:
            batch = self._draw_pairs()
            if batch is not None:
                return batch
        return self._draw_singles()

    def _draw_singles(self) -> Batch:
        ranked, generator = self._rnas, self._generator
        first = ranked.draw(generator)
        length = self._crop_length(int(ranked.lengths[first]))
        crops = []
        for _ in range(max(1, self._plan.n_tokens // length)):
            rna = ranked.draw_near(first, length, generator)
            start = generator.integers(0, ranked.lengths[rna] - length + 1)
            crops.append(ranked.crop(rna, int(start), length))
        none = np.empty(0, dtype=np.int64)
        return self._mask(crops, none, none)

    def _crop_length(self, length: int) -> int:
        return min(length, self._plan.longest)

    def _draw_pairs(self) -> Batch | None:
        ranked, generator = self._aligned, self._generator
        first = ranked.draw(generator)
        length = self._crop_length(int(ranked.lengths[first]))
        wanted = max(1, self._plan.n_tokens // length // 2)
        crops: list[_Crop] = []
        for _ in range(wanted * _TRIES):
            rna = ranked.draw_near(first, length, generator)
            mate = ranked.draw_relative(rna, length, generator)
            if mate is None:
                continue
            crops += self._crop_pair(rna, mate, length)
            if len(crops) == 2 * wanted:
                break
        if not crops:
            return None
        anchors, partners = _match_columns(np.stack([crop.columns for crop in crops]))
        chosen = generator.permutation(len(anchors))[: self._plan.n_anchors]
        return self._mask(crops, anchors[chosen], partners[chosen])

    def _crop_pair(self, rna: int, mate: int, length: int) -> list[_Crop]:
        ranked, generator = self._aligned, self._generator
        start = int(generator.integers(0, ranked.lengths[rna] - length + 1))
        first = ranked.crop(rna, start, length)
        places = first.columns
        whole = ranked.columns_of(mate)
        middle = places[length // 2] if places[length // 2] >= 0 else places.max()
        place = int(np.searchsorted(whole[1:-1], middle)) + 1
        jitter = int(generator.integers(-(length // _JITTER), length // _JITTER + 1))
        latest = int(ranked.lengths[mate]) - length
        other = ranked.crop(
            mate, int(np.clip(place - length // 2 + jitter, 0, latest)), length
        )
        return [first, other]

    def _mask(
        self,
        crops: list[_Crop],
        anchors: Int64[np.ndarray, " pair"],
        partners: Int64[np.ndarray, " pair"],
    ) -> Batch:
        targets = np.stack([crop.letters for crop in crops])
        spans = np.stack([crop.spans for crop in crops])
        generator = self._generator
        chosen = generator.random(targets.shape) < _MASKED_SHARE
        is_target = chosen & (targets != CLS) & (targets != EOS)
        fate = generator.random(targets.shape)
        inputs = np.where(is_target & (fate < 0.8), np.uint8(MASK), targets)
        letters = _LETTERS[generator.integers(0, 4, targets.shape)]
        inputs = np.where(is_target & (fate >= 0.9), letters, inputs)
        return Batch(inputs, targets, is_target, spans, anchors, partners)


class _Ranked:
    """RNAs sorted by length, so that rows of similar length are drawn together."""

    def __init__(self, rnas: FramedRnas) -> None:
        keep = np.flatnonzero(rnas.lengths >= _SHORTEST)
        self._order = keep[np.argsort(rnas.lengths[keep], kind="stable")]
        self._rnas = rnas
        self.lengths = rnas.lengths[self._order]
        self._families = rnas.families[self._order]
        weights = rnas.member_weights(_FAMILY_POWER)[self._order]
        self._cumulative = np.cumsum(weights) / weights.sum()
        self._by_family = np.argsort(self._families, kind="stable")
        bounds = np.arange(self._families.max() + 2)
        self._starts = np.searchsorted(self._families[self._by_family], bounds)

    def draw(self, generator: np.random.Generator) -> int:
        """Returns a rank, drawn by family weight."""
        return int(np.searchsorted(self._cumulative, generator.random()))

    def draw_near(self, rank: int, length: int, generator: np.random.Generator) -> int:
        """Returns a rank of an RNA at least `length` long and not much longer."""
        low = int(np.searchsorted(self.lengths, length))
        high = min(len(self.lengths) - 1, max(rank, low) + len(self.lengths) // 7)
        floor = self._cumulative[low - 1] if low else 0.0
        point = floor + (self._cumulative[high] - floor) * generator.random()
        return int(np.clip(np.searchsorted(self._cumulative, point), low, high))

    def draw_relative(
        self, rank: int, length: int, generator: np.random.Generator
    ) -> int | None:
        """Returns another member of the family, `length` long at least, or None."""
        family = self._families[rank]
        start, stop = self._starts[family], self._starts[family + 1]
        for _ in range(_TRIES):
            mate = int(self._by_family[generator.integers(start, stop)])
            if mate != rank and self.lengths[mate] >= length:
                return mate
        return None

    def columns_of(self, rank: int) -> Int64[np.ndarray, " token"]:
        """Returns the alignment column of each token."""
        rna = self._order[rank]
        start, stop = self._rnas.offsets[rna], self._rnas.offsets[rna + 1]
        return self._rnas.columns[start:stop].astype(np.int64)

    def crop(self, rank: int, start: int, length: int) -> _Crop:
        """Returns `length` tokens from `start` on."""
        first = self._rnas.offsets[self._order[rank]] + start
        span = slice(first, first + length)
        rnas = self._rnas
        columns = rnas.columns[span].astype(np.int64)
        return _Crop(rnas.tokens[span], columns, rnas.spans[span])


def _match_columns(
    columns: Int64[np.ndarray, "row token"],
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Returns flat indices of tokens of rows 2i and 2i+1 that share a column."""
    anchors, partners = [], []
    width = columns.shape[1]
    for row in range(0, len(columns), 2):
        _, mine, theirs = np.intersect1d(
            columns[row], columns[row + 1], return_indices=True
        )
        real = columns[row][mine] >= 0
        mine, theirs = mine[real] + row * width, theirs[real] + (row + 1) * width
        anchors += [mine, theirs]
        partners += [theirs, mine]
    return np.concatenate(anchors), np.concatenate(partners)
