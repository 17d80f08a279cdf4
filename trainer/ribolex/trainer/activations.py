"""A cache of activations on disk: rows of several layers, with where they are from.

The language model runs over each RNA once, for all layers that are not there yet. A
run that was killed goes on with the first shard that is not whole. Knows nothing of
what the rows are used for.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from ribolex.dictionary.identity import Level
from ribolex.lm import Hook, LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.corpus import digest
from ribolex.trainer.model_rows import ModelRows
from ribolex.trainer.rows import Rows, group
from ribolex.trainer.shards import ShardedRows, ShardFolder, locked

log = logging.getLogger(__name__)

_FORMAT = 2
_SHARD_NUCLEOTIDES = 262_144
"""What a kill costs at most, and what a shard is of, one longer RNA aside."""
_ORIGINS = "rnas.npy", "positions.npy"

Progress = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Activations:
    """Rows of activations of one layer in the order of their RNAs; read-only."""

    rows: Rows
    """[row, d_model], float16."""
    rnas: Int32[np.ndarray, " row"]
    """Which RNA a row is from, rising."""
    positions: Int32[np.ndarray, " row"]
    """Which nucleotide of it, counted from 0; -1 if the row is of the whole RNA."""
    offsets: Int64[np.ndarray, " boundary"]
    """[rna + 1], the first row of each RNA."""

    def __len__(self) -> int:
        return len(self.rows)

    def of_rna(self, i: int) -> slice:
        """Returns where the rows of one RNA are."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))


class _Part(NamedTuple):
    """What one shard is of."""

    file: str
    rnas: range
    n_rows: int


def cache_activations(
    lm: LanguageModel,
    rnas: Sequence[Rna],
    layers: Sequence[int],
    hook: Hook,
    folder: Path,
    progress: Progress,
    level: Level = "nucleotide",
) -> dict[int, Activations]:
    """Returns all activations of some layers, computing only what is not on disk yet.

    What is there is checked by size and CRC-32, and made anew where it is damaged. No
    more rows are in memory than the model is given at once. Other processes that want
    the same cache wait.

    Args:
        lm: the language model.
        rnas: of any length.
        layers: 1-based.
        hook: which vector of the layer.
        folder: where caches are kept, each in a folder of its own.
        progress: is told about RNAs.
        level: "sequence" for one row an RNA, the mean over its nucleotides.

    Returns:
        By layer; all share the arrays that tell where rows are from.

    Raises:
        InvalidRequestError: a layer that the model does not have, or an activation
            that float16 cannot hold.
        OSError: the disk is full or gone.
    """
    source = ModelRows(lm, rnas, hook, level)
    identity = _identify(source)
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    place = folder / f"activations-{key[:16]}"
    place.mkdir(parents=True, exist_ok=True)
    offsets = np.concatenate([[0], np.cumsum(source.count())])
    parts = list(_parts(source, offsets))
    with locked(place):
        origins = ShardFolder(place / "origins", identity)
        _write_origins(origins, source, int(offsets[-1]))
        known = {
            layer: ShardFolder(place / f"layer-{layer}", {**identity, "layer": layer})
            for layer in layers
        }
        for part in parts:
            absent = {
                layer: shards
                for layer, shards in known.items()
                if part.n_rows and part.file not in shards.whole
            }
            if absent:
                log.info("caching %s of layers %s in %s", part.file, [*absent], place)
                _write_shards(absent, source, part, progress)
            progress(part.rnas.stop, len(rnas))
    rna_of_row, positions = (_open(place / "origins" / file) for file in _ORIGINS)
    return {
        layer: Activations(
            ShardedRows(
                ((place / f"layer-{layer}" / part.file, part.n_rows) for part in parts),
                lm.config.d_model,
            ),
            rna_of_row,
            positions,
            offsets,
        )
        for layer in layers
    }


def _identify(source: ModelRows) -> dict[str, str | int]:
    """Returns all that decides the rows of a layer, and how they are cut."""
    return {
        "format": _FORMAT,
        "lm_name": source.lm.name,
        "lm_digest": source.lm.digest,
        "precision": str(source.lm.dtype).removeprefix("torch."),
        "hook": source.hook,
        "level": source.level,
        "rnas_digest": digest(source.rnas),
        "n_rnas": len(source.rnas),
        "shard_nucleotides": _SHARD_NUCLEOTIDES,
    }


def _parts(
    source: ModelRows, offsets: Int64[np.ndarray, " boundary"]
) -> Iterator[_Part]:
    lengths = [len(rna.sequence) for rna in source.rnas]
    for number, rnas in enumerate(group(lengths, _SHARD_NUCLEOTIDES)):
        n_rows = int(offsets[rnas.stop] - offsets[rnas.start])
        yield _Part(f"{number:06d}.npy", rnas, n_rows)


def _write_origins(origins: ShardFolder, source: ModelRows, n_rows: int) -> None:
    """Writes the RNA and the position of every row; all layers share them."""
    if n_rows == 0 or set(_ORIGINS) <= origins.whole.keys():
        return
    with ExitStack() as stack:
        writers = [
            stack.enter_context(origins.writing(file, (n_rows,), np.dtype(np.int32)))
            for file in _ORIGINS
        ]
        for i in range(len(source.rnas)):
            positions = source.positions(i)
            writers[0].append(np.full(len(positions), i, np.int32))
            writers[1].append(positions)


def _write_shards(
    absent: dict[int, ShardFolder], source: ModelRows, part: _Part, progress: Progress
) -> None:
    """Writes the same shard of several layers in one pass of the model."""
    shape, dtype = (part.n_rows, source.lm.config.d_model), np.dtype(np.float16)
    with ExitStack() as stack:
        writers = {
            layer: stack.enter_context(shards.writing(part.file, shape, dtype))
            for layer, shards in absent.items()
        }
        for step in source.steps(part.rnas):
            for found in source.compute(step, list(absent)):
                for layer, rows in found.items():
                    writers[layer].append(rows)
            progress(step[-1] + 1, len(source.rnas))


def _open(file: Path) -> Int32[np.ndarray, " row"]:
    """Returns the array, memory-mapped; without any row there is no file."""
    if not file.exists():
        return np.empty(0, np.int32)
    found: Int32[np.ndarray, " row"] = np.load(file, mmap_mode="r")
    return found
