"""What is known of nucleotides and of RNAs: labels that a feature may go with.

Labels come in slots: a nucleotide or RNA has at most one label of each slot, so that
a row of small numbers tells all of them. Knows nothing of features.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Int16, Int32, Int64, UInt8

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.rna.elements import ELEMENTS, find_loops
from ribolex.trainer.annotation.loops import mark_loops
from ribolex.trainer.annotation.material import Material

LETTERS = "ACGU"
NONE = -1
"""No label of a slot."""
UNKNOWN = -2
"""Not known whether there is one."""
LETTER_SLOT, ELEMENT_SLOT = 0, 1
"""Of nucleotides."""

_LOOP_SIZES = {"H": range(3, 9), "B": range(1, 4), "I": range(2, 7)}
"""The last of each stands for larger ones, too."""
SHORTEST_TRACT = 4
"""Equal letters in a row that make a tract."""
_PAIRS = ("AU", "CG", "GC", "GU", "UA", "UG")
_MIN_MEMBERS = 20
_MIN_FAMILIES = 3


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of rows or of RNAs; read-only."""

    names: Sequence[str]
    """Kind first: "structure:hairpin"."""
    slots: Int16[np.ndarray, "member slot"] | Int32[np.ndarray, "member slot"]
    """Number of the label, NONE or UNKNOWN."""
    slot_of: Int32[np.ndarray, " label"]
    totals: Int64[np.ndarray, " label"]
    """Members with the label."""
    known: Int64[np.ndarray, " label"]
    """Members of which it is known whether they have it."""
    is_tested: np.ndarray
    """[label], whether it is common enough to be tested, whatever features do."""

    def __len__(self) -> int:
        return len(self.names)

    def kind_of(self, label: int) -> str:
        """Returns "structure" of "structure:hairpin"."""
        return self.names[label].partition(":")[0]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which rows pair with which."""

    partners: Int32[np.ndarray, " row"]
    """Row of the partner, NONE where unpaired; UNKNOWN without a structure."""


def label_nucleotides(material: Material) -> tuple[Labels, Pairing]:
    """Returns the labels of all rows: letter, element, pair, loop, 3-mer and tract.

    Rows of whole RNAs have none; elements, pairs and loops are UNKNOWN where an RNA
    has no pair.

    Raises:
        InvalidRequestError: a structure is none, or not as long as its sequence.
    """
    rnas = material.rnas
    nucleotides = _Nucleotides.of(rnas)
    n_rows = material.n_rows
    kept = material.positions >= 0
    places = material.positions + nucleotides.offsets[material.rna_of_row]
    names, columns = list[str](), list[np.ndarray]()
    for kind, texts, numbers in nucleotides.tell():
        column = np.full(n_rows, UNKNOWN, np.int16)
        column[kept] = numbers[places[kept]]
        column[column >= 0] += len(names)
        names += [f"{kind}:{text}" for text in texts]
        columns.append(column)
    row_of = np.full(len(nucleotides.letters) + 1, NONE, np.int32)
    row_of[places[kept]] = np.flatnonzero(kept)
    partners = np.full(n_rows, UNKNOWN, np.int32)
    partners[kept] = nucleotides.partners[places[kept]]
    is_paired = partners >= 0
    partners[is_paired] = row_of[partners[is_paired]]
    labels = _labels(names, np.stack(columns, axis=1), material, material.rna_of_row)
    return labels, Pairing(partners)


def label_rnas(material: Material) -> Labels:
    """Returns the labels of all RNAs: type and what it is part of, family, clan.

    "Gene;tRNA" is also "Gene". A clan is a label if it has several families here.
    Labels too rare to be tested are left out.
    """
    slots: list[dict[int, str]] = [{}, {}, {}, {}, {}]
    n_families: dict[str, set[int]] = {}
    for i, rna in enumerate(material.rnas):
        words = [word for word in rna.metadata.get("type", "").split(";") if word]
        for depth in range(min(len(words), 3)):
            last = depth + 1 if depth < 2 else len(words)
            slots[depth][i] = f"type:{';'.join(words[:last])}"
        if family := rna.metadata.get("family_acc"):
            slots[3][i] = f"family:{family}"
        if clan := rna.metadata.get("clan"):
            slots[4][i] = f"clan:{clan}"
            n_families.setdefault(f"clan:{clan}", set()).add(int(material.families[i]))
    single = {clan for clan, members in n_families.items() if len(members) < 2}
    slots[4] = {i: clan for i, clan in slots[4].items() if clan not in single}
    names = list(
        dict.fromkeys(name for slot in slots for name in sorted(set(slot.values())))
    )
    numbers = {name: i for i, name in enumerate(names)}
    columns = np.full((len(material.rnas), len(slots)), NONE, np.int32)
    for column, slot in enumerate(slots):
        for i, name in slot.items():
            columns[i, column] = numbers[name]
    every = np.arange(len(material.rnas), dtype=np.int32)
    found = _labels(names, columns, material, every)
    number = np.full(len(names) + 1, NONE, np.int32)
    number[:-1][found.is_tested] = np.arange(found.is_tested.sum())
    kept = [
        name for name, is_kept in zip(names, found.is_tested, strict=True) if is_kept
    ]
    return _labels(kept, number[columns], material, every)


def _labels(
    names: Sequence[str],
    slots: np.ndarray,
    material: Material,
    rna_of_member: Int32[np.ndarray, " member"],
) -> Labels:
    n = len(names)
    totals, known = np.zeros(n, np.int64), np.zeros(n, np.int64)
    n_rnas, n_families = np.zeros(n, np.int64), np.zeros(n, np.int64)
    slot_of = np.zeros(n, np.int32)
    for column in range(slots.shape[1]):
        own = slots[:, column]
        has = own >= 0
        counts = np.bincount(own[has], minlength=n)
        slot_of[counts > 0] = column
        totals += counts
        known[counts > 0] = (own != UNKNOWN).sum()
        rnas = rna_of_member[has].astype(np.int64)
        for group, out in ((rnas, n_rnas), (material.families[rnas], n_families)):
            pairs = np.unique(group.astype(np.int64) * n + own[has])
            out += np.bincount(pairs % n, minlength=n) if n else 0
    groups = [name.startswith(("family:", "clan:")) for name in names]
    one_family = np.array(groups, bool)
    is_tested = (
        (n_rnas >= _MIN_MEMBERS)
        & ((n_families >= _MIN_FAMILIES) | one_family)
        & (totals < known)
    )
    return Labels(names, slots, slot_of, totals, known, is_tested)


@dataclass(frozen=True, slots=True)
class _Nucleotides:
    """All nucleotides of all RNAs in a row, those included that have no activation."""

    offsets: Int64[np.ndarray, " rna"]
    letters: UInt8[np.ndarray, " nucleotide"]
    """Index in LETTERS; 4 for any other."""
    rna_of: Int32[np.ndarray, " nucleotide"]
    elements: UInt8[np.ndarray, " nucleotide"]
    """Index in ELEMENTS; 255 where there is no structure."""
    partners: Int32[np.ndarray, " nucleotide"]
    sizes: Int32[np.ndarray, " nucleotide"]

    @classmethod
    def of(cls, rnas: Sequence[Rna]) -> "_Nucleotides":
        lengths = np.array([len(rna.sequence) for rna in rnas], np.int64)
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        number = np.full(256, len(LETTERS), np.uint8)
        number[np.frombuffer(LETTERS.encode(), np.uint8)] = np.arange(len(LETTERS))
        letters = number[_bytes(rna.sequence for rna in rnas)]
        for rna in rnas:
            if rna.structure and len(rna.structure) != len(rna.sequence):
                raise InvalidRequestError(
                    f"structure of {rna.name}",
                    f"{len(rna.structure)} signs, expected {len(rna.sequence)} as "
                    "nucleotides",
                )
        signs = _bytes(rna.structure or " " * len(rna.sequence) for rna in rnas)
        n = len(letters)
        elements = np.full(n, 255, np.uint8)
        partners = np.full(n, UNKNOWN, np.int32)
        sizes = np.zeros(n, np.int32)
        bad = mark_loops(signs, bounds, elements, partners, sizes)
        if bad >= 0:  # the same again, with a message
            find_loops(rnas[bad].structure or "", f"structure of {rnas[bad].name}")
        rna_of = np.repeat(np.arange(len(rnas), dtype=np.int32), lengths)
        return cls(bounds[:-1], letters, rna_of, elements, partners, sizes)

    def tell(self) -> list[tuple[str, list[str], np.ndarray]]:
        """Returns each slot: its kind, its labels, and their numbers."""
        is_known = self.elements != 255
        elements = np.where(is_known, self.elements.astype(np.int16), UNKNOWN)
        letters = self.letters.astype(np.int16)
        letters[letters == len(LETTERS)] = NONE
        return [
            ("nucleotide", list(LETTERS), letters),
            ("structure", list(ELEMENTS.values()), elements),
            ("pair", list(_PAIRS), self._pairs(is_known)),
            ("loop", *self._loops(is_known)),
            (
                "kmer",
                ["".join(word) for word in product(LETTERS, repeat=3)],
                self._kmers(),
            ),
            ("tract", list(LETTERS), self._tracts()),
        ]

    def _pairs(self, is_known: np.ndarray) -> np.ndarray:
        out = np.where(is_known, NONE, UNKNOWN).astype(np.int16)
        table = np.full((5, 5), NONE, np.int16)
        for number, pair in enumerate(_PAIRS):
            table[LETTERS.index(pair[0]), LETTERS.index(pair[1])] = number
        at = np.flatnonzero(self.partners >= 0)
        out[at] = table[self.letters[at], self.letters[self.partners[at]]]
        return out

    def _loops(self, is_known: np.ndarray) -> tuple[list[str], np.ndarray]:
        out = np.where(is_known, NONE, UNKNOWN).astype(np.int16)
        names: list[str] = []
        for letter, sizes in _LOOP_SIZES.items():
            at = np.flatnonzero(self.elements == list(ELEMENTS).index(letter))
            known = np.clip(self.sizes[at], sizes.start, sizes.stop - 1) - sizes.start
            # No hairpin is smaller than its smallest size, but for noise in data.
            out[at] = np.where(self.sizes[at] < sizes.start, NONE, known + len(names))
            more = [f"{size}" for size in sizes[:-1]] + [f"{sizes[-1]} or more"]
            names += [f"{ELEMENTS[letter]} of {size}" for size in more]
        return names, out

    def _kmers(self) -> np.ndarray:
        out = np.full(len(self.letters), NONE, np.int16)
        if len(out) < 3:
            return out
        left, middle, right = self.letters[:-2], self.letters[1:-1], self.letters[2:]
        is_whole = (left < 4) & (middle < 4) & (right < 4)
        is_whole &= self.rna_of[:-2] == self.rna_of[2:]
        words = left.astype(np.int16) * 16 + middle * 4 + right
        out[1:-1] = np.where(is_whole, words, NONE)
        return out

    def _tracts(self) -> np.ndarray:
        is_new = np.ones(len(self.letters), bool)
        is_new[1:] = self.letters[1:] != self.letters[:-1]
        is_new[1:] |= self.rna_of[1:] != self.rna_of[:-1]
        run = np.cumsum(is_new) - 1
        is_long = np.bincount(run, minlength=1)[run] >= SHORTEST_TRACT
        is_long &= self.letters < len(LETTERS)
        return np.where(is_long, self.letters.astype(np.int16), NONE)


def _bytes(texts: Iterable[str]) -> UInt8[np.ndarray, " sign"]:
    return np.frombuffer("".join(texts).encode("latin-1", "replace"), np.uint8)
