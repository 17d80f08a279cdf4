"""Rows straight from the model, without a cache on disk: for a fit of one epoch.

Knows nothing of files or of what the rows are used for.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from ribolex.dictionary.identity import Level
from ribolex.errors import InvalidRequestError
from ribolex.lm import Hook, LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.model_rows import ModelRows
from ribolex.trainer.rows import Batch, Layers, Pool, draw_seed, group, mix

BUDGET_BYTES = 2**27
"""Memory for a pool unless told otherwise: RNAs come in random order, so a small one
mixes well, and the first batch waits for a whole one."""


class StreamedRows:
    """Rows that the model makes while they are given out; a `RowSource`.

    RNAs come in random order; the rows of as many as fit the budget are mixed. The
    model runs in the calling thread, between two batches: nobody else may use it in
    another thread meanwhile.
    """

    def __init__(
        self,
        lm: LanguageModel,
        rnas: Sequence[Rna],
        layers: Sequence[int],
        hook: Hook,
        level: Level = "nucleotide",
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        """Takes RNAs of any length, and what `cache_activations` takes of them.

        Raises:
            InvalidRequestError: no layer.
        """
        if not layers:
            raise InvalidRequestError("layers", "name at least one layer")
        self._source = ModelRows(lm, rnas, hook, level)
        self._layers = list(layers)
        self._counts = self._source.count()
        self._pool_rows = max(1, budget_bytes // (2 * self.d_in * self.n_layers))

    @property
    def d_in(self) -> int:
        """Width of a row."""
        return self._source.lm.config.d_model

    @property
    def n_layers(self) -> int:
        """Tensors of a batch."""
        return len(self._layers)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def batches(
        self,
        batch_rows: int,
        generator: np.random.Generator,
        device: str = "cpu",
        start: int = 0,
    ) -> Iterator[Batch]:
        """Returns the batches of one epoch; see `RowSource`.

        Raises:
            InvalidRequestError: while batches are drawn: a layer that the model does
                not have, or an activation that float16 cannot hold.
        """
        order = generator.permutation(len(self._counts))
        chosen = order[self._counts[order] > 0].tolist()
        pools = []
        for part in group(self._counts[chosen].tolist(), self._pool_rows):
            rnas = [chosen[i] for i in part]
            n_rows = int(self._counts[rnas].sum())
            load = partial(self._compute, rnas, n_rows)
            pools.append(Pool(n_rows, draw_seed(generator), load))
        return mix(pools, batch_rows, device, start)

    def _compute(self, rnas: Sequence[int], n_rows: int) -> Layers:
        out = {
            layer: np.empty((n_rows, self.d_in), np.float16) for layer in self._layers
        }
        at = 0
        for step in self._source.steps(rnas):
            for found in self._source.compute(step, self._layers):
                end = at + len(found[self._layers[0]])
                for layer, rows in found.items():
                    out[layer][at:end] = rows
                at = end
        return tuple(out[layer] for layer in self._layers)
