"""Labels of nucleotides and RNAs are those that a look at them would give."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.trainer.annotation.conftest import Drawn, draw_rnas, rows_of

from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.rna.elements import ELEMENTS, find_loops
from ribolex.trainer.annotation.labels import label_nucleotides, label_rnas
from ribolex.trainer.annotation.loops import mark_loops
from ribolex.trainer.annotation.material import arrange

structures = st.recursive(
    st.text(".[A", max_size=4),
    lambda inner: (
        st.builds("({})".format, inner)
        | st.builds(str.__add__, inner, inner)
        | st.builds(".{}".format, inner)
    ),
    max_leaves=20,
)


@given(st.lists(structures, max_size=4))
def test_compiled_elements_are_those_of_the_simple_twin(found: list[str]) -> None:
    signs = np.frombuffer("".join(found).encode(), np.uint8)
    bounds = np.cumsum([0, *map(len, found)]).astype(np.int64)
    elements = np.full(len(signs), 255, np.uint8)
    partners, sizes = np.zeros((2, len(signs)), np.int32)
    assert mark_loops(signs, bounds, elements, partners, sizes) == -1
    for start, structure in zip(bounds, found, strict=False):
        own = slice(start, start + len(structure))
        if "(" not in structure:
            assert (elements[own] == 255).all()
            continue
        loops = find_loops(structure, "s")
        assert "".join(list(ELEMENTS)[i] for i in elements[own]) == loops.elements
        assert [p - start if p >= 0 else p for p in partners[own]] == loops.partners
        loose = [
            size for size, p in zip(sizes[own], partners[own], strict=True) if p < 0
        ]
        assert loose == [
            size for size, p in zip(loops.sizes, loops.partners, strict=True) if p < 0
        ]


def test_every_row_has_the_labels_of_its_nucleotide(drawn: Drawn) -> None:
    material, labels = drawn.material, drawn.labels
    for row in range(material.n_rows):
        rna = material.rnas[material.rna_of_row[row]]
        at = int(material.positions[row])
        found = {labels.names[i] for i in labels.slots[row] if i >= 0}
        assert f"nucleotide:{rna.sequence[at]}" in found
        window = rna.sequence[max(at - 1, 0) : at + 2]
        is_whole = len(window) == 3 and at > 0 and "N" not in window
        assert [each for each in found if each.startswith("kmer")] == (
            [f"kmer:{window}"] if is_whole else []
        )
        left, right = rna.sequence[: at + 1], rna.sequence[at:]
        letter = rna.sequence[at]
        run = len(left) - len(left.rstrip(letter)) + len(right)
        run -= len(right.lstrip(letter)) + 1
        assert (f"tract:{letter}" in found) == (run >= 4)
        if "(" not in (rna.structure or ""):
            assert (labels.slots[row, 1:4] == -2).all()
            continue
        loops = find_loops(rna.structure or "", "s")
        assert f"structure:{ELEMENTS[loops.elements[at]]}" in found
        partner = loops.partners[at]
        pair = rna.sequence[at] + rna.sequence[partner]
        pairs = {each for each in found if each.startswith("pair:")}
        is_canonical = pair in ("AU", "CG", "GC", "GU", "UA", "UG")
        assert pairs == ({f"pair:{pair}"} if partner >= 0 and is_canonical else set())
        if loops.elements[at] == "H":
            size = loops.sizes[at]
            assert f"loop:hairpin of {size}" in found or size < 3


def test_partners_are_rows(drawn: Drawn) -> None:
    partners = drawn.pairing.partners
    paired = np.flatnonzero(partners >= 0)
    assert len(paired)
    assert (partners[partners[paired]] == paired).all()


def test_relatives_lie_side_by_side(drawn: Drawn) -> None:
    material = drawn.material
    assert (np.diff(material.clans) >= 0).all()
    assert (np.diff(material.families) >= 0).all()
    kin = [
        (rna.metadata.get("clan"), rna.metadata["family_acc"]) for rna in material.rnas
    ]
    for i, j in combinations(range(len(kin)), 2):
        assert (kin[i][1] == kin[j][1]) == (
            material.families[i] == material.families[j]
        )
        is_clan = kin[i] == kin[j] or (kin[i][0] is not None and kin[i][0] == kin[j][0])
        assert is_clan == (material.clans[i] == material.clans[j])


def test_rnas_have_types_families_and_clans_of_several() -> None:
    rnas = draw_rnas(3, 400)
    material = arrange(rnas, rows_of(rnas))
    labels = label_rnas(material)
    for i, rna in enumerate(material.rnas):
        found = {labels.names[each] for each in labels.slots[i] if each >= 0}
        words = rna.metadata["type"].split(";")
        expected = {f"type:{';'.join(words[: n + 1])}" for n in range(len(words))}
        expected.add(f"family:{rna.metadata['family_acc']}")
        if "clan" in rna.metadata:
            expected.add(f"clan:{rna.metadata['clan']}")
        assert found == expected
    sizes = {name: int(n) for name, n in zip(labels.names, labels.totals, strict=True)}
    assert sizes["type:Gene"] == sum("Gene" in rna.metadata["type"] for rna in rnas)


def test_what_is_no_structure_is_refused_by_name() -> None:
    for structure, message in (("...", "3 signs"), ("((..", "never closed")):
        rnas = [Rna("fine", "ACGU", "(..)"), Rna("odd", "ACGU", structure)]
        with pytest.raises(InvalidRequestError, match=f"structure of odd.*{message}"):
            label_nucleotides(arrange(rnas, rows_of(rnas)))
