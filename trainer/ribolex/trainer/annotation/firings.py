"""Every firing of every feature, by feature, on disk rather than in memory.

Knows nothing of labels.
"""

import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64

from ribolex.dictionary import Codes, Sae
from ribolex.trainer.activations import Activations, Progress
from ribolex.trainer.annotation.compiled import compiled
from ribolex.trainer.annotation.material import Material, read_parts


@dataclass(frozen=True, slots=True)
class Firings:
    """Firings of all features, one feature after the other; read-only."""

    offsets: Int64[np.ndarray, " boundary"]
    """[feature + 1]."""
    rows: Int32[np.ndarray, " firing"]
    """Rising within a feature."""
    values: Float32[np.ndarray, " firing"]
    """> 0."""

    @property
    def n_features(self) -> int:
        """Features, silent ones included."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Int64[np.ndarray, " n_features"]:
        """Firings of each feature."""
        out: Int64[np.ndarray, " n_features"] = np.diff(self.offsets)
        return out


def collect_firings(
    sae: Sae,
    material: Material,
    activations: Activations,
    progress: Progress,
    n_kept: int | None = None,
) -> Firings:
    """Returns where features fire.

    What has been found lies in unnamed files of the temporary folder (`TMPDIR`), 16
    bytes a firing while it is sorted, 8 after; memory holds one part of the rows.

    Args:
        sae: as exported: standardisation folded in.
        material: the order of the rows.
        activations: those rows.
        progress: is told about rows.
        n_kept: keep the first so many features only; all by default.

    Raises:
        OSError: the temporary folder is full.
    """
    n_kept = sae.n_features if n_kept is None else min(n_kept, sae.n_features)
    counts = np.zeros(n_kept, np.int64)
    n_found = 0
    with tempfile.TemporaryFile() as found:
        for place, rows in read_parts(material, activations):
            top = sae.encode(rows)
            fires = (top.values > 0) & (top.indices < n_kept)
            features = top.indices[fires].numpy().astype(np.int32)
            owners = np.repeat(np.arange(place.start, place.stop), fires.sum(1).numpy())
            part = np.empty(len(features), _ENTRY)
            part["feature"], part["row"] = features, owners
            part["value"] = top.values[fires].numpy()
            part.tofile(found)
            counts += np.bincount(features, minlength=n_kept)
            n_found += len(part)
            progress(place.stop, material.n_rows)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows_of = _scratch(n_found, np.int32)
        values_of = _scratch(n_found, np.float32)
        found.flush()
        if n_found:
            entries = np.memmap(found, _ENTRY, "r", shape=(n_found,))
            _sort(
                entries["feature"],
                entries["row"],
                entries["value"],
                offsets[:-1].copy(),
                rows_of,
                values_of,
            )
    return Firings(offsets, rows_of, values_of)


def encode_rows(sae: Sae, activations: Activations, rows: slice) -> Codes:
    """Returns the codes of some rows."""
    found = sae.encode(torch.from_numpy(activations.rows[rows].astype(np.float32)))
    return Codes.from_topk(found.indices.numpy(), found.values.numpy(), sae.n_features)


_ENTRY = np.dtype([("feature", np.int32), ("row", np.int32), ("value", np.float32)])


def _scratch(n: int, dtype: Any) -> Any:
    """Returns an array in an unnamed file, gone with the array."""
    if not n:
        return np.empty(0, dtype)
    with tempfile.TemporaryFile() as file:
        file.truncate(n * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, "r+", shape=(n,))


@compiled
def _sort(features, rows, values, places, rows_of, values_of):  # type: ignore[no-untyped-def]
    """Puts each entry at its feature's next place; entries come by row."""
    for i in range(len(features)):
        place = places[features[i]]
        rows_of[place], values_of[place] = rows[i], values[i]
        places[features[i]] = place + 1
