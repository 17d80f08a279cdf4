"""A cache of activations on disk: one float16 row a nucleotide, with where it is from.

The language model runs over each RNA once. CLS, EOS and letters other than A, C, G
and U are left out. A run that was killed goes on where it was. Knows nothing of what
the rows are used for.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Int32, Int64

from ribolex.lm import Hook, LanguageModel
from ribolex.rna import Rna
from ribolex.trainer.corpus import digest

log = logging.getLogger(__name__)

_RNAS_A_STEP = 128
_STEPS_A_FLUSH = 16
_LETTERS = np.frombuffer(b"ACGU", np.uint8)

Progress = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Activations:
    """Rows of activations in the order of their RNAs; read-only."""

    rows: Float16[np.ndarray, "row d_model"]
    """Memory-mapped."""
    rnas: Int32[np.ndarray, " row"]
    """Which RNA a row is from, rising."""
    positions: Int32[np.ndarray, " row"]
    """Which nucleotide of it, counted from 0."""
    offsets: Int64[np.ndarray, " boundary"]
    """[rna + 1], the first row of each RNA."""

    def __len__(self) -> int:
        return len(self.rows)

    def of_rna(self, i: int) -> slice:
        """Returns where the rows of one RNA are."""
        return slice(int(self.offsets[i]), int(self.offsets[i + 1]))


def cache_activations(
    lm: LanguageModel,
    rnas: Sequence[Rna],
    layer: int,
    hook: Hook,
    folder: Path,
    progress: Progress,
) -> Activations:
    """Returns all activations of a layer, computing only what is not on disk yet.

    Args:
        lm: the language model.
        rnas: no longer than the model takes.
        layer: 1-based.
        hook: which vector of the layer.
        folder: where caches are kept, each in a folder of its own.
        progress: is told about RNAs.

    Raises:
        InvalidRequestError: a layer that the model does not have.
    """
    key = f"{lm.digest} {layer} {hook} {digest(rnas)}"
    place = folder / f"activations-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    place.mkdir(parents=True, exist_ok=True)
    kept = [_kept(rna.sequence) for rna in rnas]
    offsets = np.cumsum([0, *(len(positions) for positions in kept)])
    file, marker = place / "rows.npy", place / "done.json"
    n_done = json.loads(marker.read_text())["n_rnas"] if marker.exists() else 0
    if n_done < len(rnas):
        _fill(lm, rnas, layer, hook, kept, n_done, place, progress)
    return Activations(
        np.load(file, mmap_mode="r"),
        np.repeat(np.arange(len(rnas), dtype=np.int32), np.diff(offsets)),
        np.concatenate(kept),
        offsets,
    )


def _fill(
    lm: LanguageModel,
    rnas: Sequence[Rna],
    layer: int,
    hook: Hook,
    kept: Sequence[Int32[np.ndarray, " _row"]],
    n_done: int,
    place: Path,
    progress: Progress,
) -> None:
    file, marker = place / "rows.npy", place / "done.json"
    log.info("caching activations n_rnas=%d already=%d at %s", len(rnas), n_done, place)
    rows = np.load(file, mmap_mode="r+") if n_done else None
    at = sum(len(positions) for positions in kept[:n_done])
    for step, start in enumerate(range(n_done, len(rnas), _RNAS_A_STEP), start=1):
        part = range(start, min(start + _RNAS_A_STEP, len(rnas)))
        found = lm.activations([rnas[i].sequence for i in part], [layer], hook)
        new = np.concatenate(
            [found[i - start][layer][kept[i]].astype(np.float16) for i in part]
        )
        if rows is None:
            shape = sum(map(len, kept)), new.shape[1]
            rows = np.lib.format.open_memmap(file, "w+", np.float16, shape)
        rows[at : at + len(new)] = new
        at += len(new)
        if step % _STEPS_A_FLUSH == 0 or part.stop == len(rnas):
            rows.flush()
            temporary = marker.with_suffix(".new")
            temporary.write_text(json.dumps({"n_rnas": part.stop}))
            temporary.replace(marker)
        progress(part.stop, len(rnas))


def _kept(sequence: str) -> Int32[np.ndarray, " row"]:
    letters = np.frombuffer(sequence.encode("ascii"), np.uint8)
    return np.flatnonzero(np.isin(letters, _LETTERS)).astype(np.int32)
