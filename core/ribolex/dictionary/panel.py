"""A fixed panel of RNAs with the codes that a dictionary must give them.

Travels with the dictionary, and tells whether an encoder somewhere else, with its own
device and precision, still means the same features. Knows nothing of language models.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ribolex.dictionary.codes import Codes
from ribolex.errors import CorruptArtefactError


class PanelAgreement(NamedTuple):
    """How far codes are from those of the panel."""

    shared: float
    """Share of the panel's firings (nucleotide and feature) that are found, 0..1."""
    max_difference: float
    """Largest difference of a value among the shared firings."""


@dataclass(frozen=True, slots=True)
class Panel:
    """RNAs and their nucleotide codes, one RNA after the other."""

    names: tuple[str, ...]
    sequences: tuple[str, ...]
    codes: Codes
    """[nucleotides of all sequences, n_features]."""

    def compare(self, codes: Codes) -> PanelAgreement:
        """Returns how well an encoder's codes of `sequences` agree.

        Args:
            codes: nucleotide codes of all sequences in their order.
        """
        if len(codes) != len(self.codes) or not len(self.codes.indices):
            return PanelAgreement(0.0, float("inf"))
        _, mine, theirs = np.intersect1d(
            _keys(self.codes), _keys(codes), assume_unique=True, return_indices=True
        )
        gaps = np.abs(self.codes.values[mine] - codes.values[theirs])
        shared = len(mine) / len(self.codes.indices)
        return PanelAgreement(shared, float(gaps.max(initial=0.0)))


def write_panel(path: Path, panel: Panel) -> None:
    """Writes the panel as safetensors: codes as tensors, RNAs in the metadata."""
    codes = panel.codes
    tensors = {
        "indptr": codes.indptr,
        "indices": codes.indices,
        "values": codes.values,
    }
    rnas = {"names": panel.names, "sequences": panel.sequences}
    # One key only: safetensors writes several in any order, and bytes must repeat.
    metadata = {"panel": json.dumps(rnas | {"n_features": codes.n_features})}
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    path.write_bytes(save(arrays, metadata))


def read_panel(path: Path) -> Panel:
    """Returns the panel in a file.

    Raises:
        CorruptArtefactError: it is not such a file.
    """
    try:
        with safe_open(path, "numpy") as file:
            rnas = json.loads(file.metadata()["panel"])
            codes = Codes(
                file.get_tensor("indptr"),
                file.get_tensor("indices"),
                file.get_tensor("values"),
                rnas["n_features"],
            )
            names = tuple(rnas["names"])
            sequences = tuple(rnas["sequences"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtefactError(path, "is no panel of RNAs") from error
    return Panel(names, sequences, codes)


def _keys(codes: Codes) -> Int64[np.ndarray, " entry"]:
    features = codes.indices.astype(np.int64)
    return codes.rows_of_entries() * codes.n_features + features
