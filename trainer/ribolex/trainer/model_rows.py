"""Rows of activations as the model gives them: float16, one a nucleotide or an RNA.

CLS, EOS and letters other than A, C, G and U are left out. Knows nothing of files or
of what the rows are used for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Int32, Int64

from ribolex.dictionary.identity import Level
from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.rows import group

NO_POSITION = -1
"""The position of a row that is of a whole RNA."""

_STEP_NUCLEOTIDES = 32_768
"""The model is given so many at a time: one batch of a GPU. A longer RNA comes span
by span."""
_LETTERS = np.frombuffer(b"ACGU", np.uint8)
_LARGEST = float(np.finfo(np.float16).max)

LayerRows = dict[int, Float16[np.ndarray, "_row d_model"]]


@dataclass(frozen=True, slots=True)
class ModelRows:
    """What the model makes of RNAs; computed anew whenever asked for."""

    lm: LanguageModel
    rnas: Sequence[Rna]
    """Of any length."""
    hook: Hook
    level: Level
    """"sequence" for one row an RNA: the mean over its nucleotides, in float64."""

    def count(self) -> Int64[np.ndarray, " rna"]:
        """Returns how many rows each RNA has, without the model."""
        counts = [sum(map(rna.sequence.count, "ACGU")) for rna in self.rnas]
        most = 1 if self.level == "sequence" else None
        return np.clip(np.array(counts, np.int64), 0, most)

    def positions(self, i: int) -> Int32[np.ndarray, " _row"]:
        """Returns which nucleotides of an RNA its rows are of, from 0."""
        found = _kept(self.rnas[i].sequence)
        if self.level == "sequence":
            return np.full(min(1, len(found)), NO_POSITION, np.int32)
        return found

    def steps(self, rnas: Sequence[int]) -> list[list[int]]:
        """Returns RNAs in the same order, in lists to be computed at once."""
        lengths = [len(self.rnas[i].sequence) for i in rnas]
        return [[rnas[i] for i in part] for part in group(lengths, _STEP_NUCLEOTIDES)]

    def compute(
        self, step: Sequence[int], layers: Sequence[int]
    ) -> Iterator[LayerRows]:
        """Yields the rows of one step in order, in one part or more.

        Raises:
            InvalidRequestError: a layer that the model does not have, or an activation
                that float16 cannot hold.
        """
        if len(self.rnas[step[0]].sequence) > _STEP_NUCLEOTIDES:
            yield from self._compute_long(self.rnas[step[0]].sequence, layers)
            return
        sequences = [self.rnas[i].sequence for i in step]
        found = self.lm.activations(sequences, layers, self.hook)
        kept = [_kept(sequence) for sequence in sequences]
        out: LayerRows = {}
        for layer in layers:
            rows = [own[layer][k] for own, k in zip(found, kept, strict=True)]
            if self.level == "sequence":
                width = self.lm.config.d_model
                means = [_mean(x.sum(0, np.float64), len(x)) for x in rows if len(x)]
                rows = [np.empty((0, width), np.float32), *means]
            out[layer] = self._shorten(np.concatenate(rows), layer)
        yield out

    def _compute_long(
        self, sequence: str, layers: Sequence[int]
    ) -> Iterator[LayerRows]:
        sums = {layer: np.zeros(self.lm.config.d_model) for layer in layers}
        n_rows = 0
        (tokens,) = self.lm.prepare([sequence])
        for span in self.lm.spans(tokens, layers, self.hook):
            stop = span.start + len(span.states[layers[0]])
            kept = _kept(sequence[span.start : stop])
            n_rows += len(kept)
            found = {layer: x.cpu().numpy()[kept] for layer, x in span.states.items()}
            if self.level == "nucleotide":
                yield {layer: self._shorten(x, layer) for layer, x in found.items()}
            for layer, x in found.items():
                sums[layer] += x.sum(0, np.float64)
        if self.level == "sequence" and n_rows:
            yield {
                layer: self._shorten(_mean(total, n_rows), layer)
                for layer, total in sums.items()
            }

    def _shorten(
        self, rows: Float32[np.ndarray, "row d_model"], layer: int
    ) -> Float16[np.ndarray, "row d_model"]:
        largest = float(max(rows.max(initial=0), -rows.min(initial=0)))
        if not largest <= _LARGEST:  # so that NaN is refused, too
            raise InvalidRequestError(
                "hook",
                f"{self.hook} activations of layer {layer} of {self.lm.name} reach "
                f"{largest:g}, expected at most {_LARGEST:g}, the largest of float16",
            )
        return rows.astype(np.float16)


def _mean(total: np.ndarray, n_rows: int) -> Float32[np.ndarray, "1 d_model"]:
    return (total / n_rows).astype(np.float32)[None]


def _kept(sequence: str) -> Int32[np.ndarray, " _row"]:
    letters = np.frombuffer(sequence.encode("ascii"), np.uint8)
    return np.flatnonzero(np.isin(letters, _LETTERS)).astype(np.int32)
