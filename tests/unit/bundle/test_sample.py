"""The sample in the box is what its card says."""

from pathlib import Path

import pytest

from ribolex.rna import Rna, read_rnas
from ribolex_bundle import sample_path


@pytest.fixture(scope="module")
def sample() -> list[Rna]:
    return list(read_rnas(sample_path()))


def test_counts_are_those_of_the_card(sample: list[Rna]) -> None:
    card = (Path(sample_path()).parent / "README.md").read_text()
    families = {rna.metadata["family_acc"] for rna in sample}
    lengths = [len(rna.sequence) for rna in sample]
    assert f"{len(sample):,} real RNAs of {len(families)} Rfam families" in card
    assert f"{min(lengths)} to {max(lengths)} nucleotides" in card
    assert f"({sum(lengths):,} in all)" in card
    assert f"the {sum(rna.structure is None for rna in sample)} RNAs that keep" in card
    assert f"({sum('clan' in rna.metadata for rna in sample)} RNAs)" in card


def test_names_and_sequences_are_unique(sample: list[Rna]) -> None:
    assert len({rna.name for rna in sample}) == len(sample)
    assert len({rna.sequence for rna in sample}) == len(sample)


def test_every_rna_has_family_and_type(sample: list[Rna]) -> None:
    needed = {"family_acc", "family", "type"}
    assert [rna.name for rna in sample if not needed <= rna.metadata.keys()] == []


def test_structures_are_balanced_and_fit(sample: list[Rna]) -> None:
    for rna in sample:
        if rna.structure is not None:
            depth = 0
            for sign in rna.structure:
                depth += {"(": 1, ")": -1, ".": 0}[sign]
                assert depth >= 0, rna.name
            assert depth == 0, rna.name
            assert len(rna.structure) == len(rna.sequence), rna.name
