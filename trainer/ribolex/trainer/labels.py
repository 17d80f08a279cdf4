"""What is known about training RNAs and their nucleotides, as arrays.

Knows nothing of features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8
from scipy import sparse

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.rna.elements import ELEMENTS, elements
from ribolex.trainer.activations import Activations
from ribolex.trainer.corpus import family_of

LETTERS = "ACGU"
UNKNOWN = 255


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of the RNAs and rows of cached activations; read-only."""

    letters: UInt8[np.ndarray, " row"]
    """Index in `LETTERS`; UNKNOWN for the row of a whole RNA."""
    elements: UInt8[np.ndarray, " row"]
    """Index in `rna.elements.ELEMENTS`; UNKNOWN where the RNA has no structure."""
    families: Int32[np.ndarray, " rna"]
    """Index in `family_names`; an RNA without a family is one of its own."""
    family_names: Sequence[str]
    types: sparse.csr_array
    """[rna, type], 1 where an RNA is of a type: "Gene;tRNA" is also "Gene"."""
    type_names: Sequence[str]


def label_rnas(rnas: Sequence[Rna], activations: Activations) -> Labels:
    """Returns the labels of the RNAs that the activations are of, in their order.

    Raises:
        InvalidRequestError: a structure is none, or not as long as its sequence.
    """
    n_rows = len(activations)
    letters = np.full(n_rows, UNKNOWN, np.uint8)
    parts = np.full(n_rows, UNKNOWN, np.uint8)
    number = np.full(256, UNKNOWN, np.uint8)
    number[np.frombuffer(LETTERS.encode(), np.uint8)] = np.arange(4)
    element = np.full(256, UNKNOWN, np.uint8)
    element[np.frombuffer("".join(ELEMENTS).encode(), np.uint8)] = np.arange(
        len(ELEMENTS)
    )
    for i, rna in enumerate(rnas):
        rows = activations.of_rna(i)
        kept = activations.positions[rows]
        if (kept < 0).any():
            continue  # a row of the whole RNA
        letters[rows] = number[np.frombuffer(rna.sequence.encode(), np.uint8)[kept]]
        if rna.structure:
            found = _elements(rna)
            parts[rows] = element[np.frombuffer(found.encode(), np.uint8)[kept]]
    families = [family_of(rna) for rna in rnas]
    family_names = sorted(set(families))
    numbers = {name: i for i, name in enumerate(family_names)}
    type_names, types = _types(rnas)
    return Labels(
        letters,
        parts,
        np.array([numbers[name] for name in families], np.int32),
        family_names,
        types,
        type_names,
    )


def _elements(rna: Rna) -> str:
    structure = rna.structure or ""
    if len(structure) != len(rna.sequence):
        raise InvalidRequestError(
            f"structure of {rna.name}",
            f"{len(structure)} signs, expected {len(rna.sequence)} as nucleotides",
        )
    return elements(structure, f"structure of {rna.name}")


def _types(rnas: Sequence[Rna]) -> tuple[list[str], sparse.csr_array]:
    owned = [_prefixes(rna.metadata.get("type", "")) for rna in rnas]
    names = sorted({name for types in owned for name in types})
    numbers = {name: i for i, name in enumerate(names)}
    columns = [numbers[name] for types in owned for name in types]
    bounds = np.cumsum([0, *(len(types) for types in owned)])
    ones = np.ones(len(columns), np.int32)
    shape = len(rnas), len(names)
    return names, sparse.csr_array((ones, np.array(columns, int), bounds), shape=shape)


def _prefixes(kind: str) -> list[str]:
    words = [word for word in kind.split(";") if word]
    return [";".join(words[: i + 1]) for i in range(len(words))]
