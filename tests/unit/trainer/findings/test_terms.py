"""Planted terms are found, terms of relatives alone and of chance are not."""

import numpy as np
import pytest
from scipy import sparse, stats

from ribolex.rna import Rna
from ribolex.trainer.activations import Activations
from ribolex.trainer.annotation.material import Material, arrange
from ribolex.trainer.findings.ontology import Ontology
from ribolex.trainer.findings.terms import (
    Counts,
    assess_terms,
    deal,
    gather_terms,
)

N_FAMILIES, N_MEMBERS = 60, 10


@pytest.fixture(scope="module")
def material() -> Material:
    """Gives RNAs of 60 families; families 0 to 19 are of a type."""
    rnas = []
    for family in range(N_FAMILIES):
        for member in range(N_MEMBERS):
            labels = {
                "family_acc": f"RF{family:05d}",
                "type": "Gene;tRNA" if family < 20 else "Cis-reg",
                **({"clan": "CL1"} if family < 3 else {}),
            }
            rnas.append(Rna(f"r{family}.1/{member}", "ACGU", None, labels))
    n = len(rnas)
    activations = Activations(
        np.zeros((n, 1), np.float16),
        np.arange(n, dtype=np.int32),
        np.full(n, -1, np.int32),
        np.arange(n + 1),
    )
    return arrange(rnas, activations)


def presence_of(material: Material, families: list[set[int]]) -> sparse.csr_array:
    own = [int(rna.metadata["family_acc"][2:]) for rna in material.rnas]
    table = [[each in chosen for chosen in families] for each in own]
    return sparse.csr_array(np.array(table, np.float32))


def test_terms_come_from_labels_files_and_ontology(material: Material) -> None:
    ontology = Ontology({"T:2": "two"}, {"T:1": ("T:2",)})
    given = {f"RF{family:05d}": {"T:1"} for family in range(30, 40)}
    given |= {f"r{family}.1": {"T:3"} for family in range(40, 45)}
    given |= {"CL1": {"T:4"}, "RF00050": {"rare"}}
    terms = gather_terms(material, [given], ontology)
    sizes = np.asarray(terms.of_rna.sum(0)).ravel().astype(int)
    found = dict(zip(terms.names, sizes.tolist(), strict=True))
    assert found == {
        "type:Gene": 200,
        "type:Gene;tRNA": 200,
        "type:Cis-reg": 400,
        "clan:CL1": 30,
        "T:1": 100,
        "T:2": 100,
        "T:3": 50,
        "T:4": 30,
    }


def test_a_type_counts_by_clans_and_a_clan_by_rnas(material: Material) -> None:
    terms = gather_terms(material, [], Ontology())
    # Of the type; of one clan of it; of families here and there.
    features = [set(range(20)), {0, 1, 2}, set(range(0, 60, 3))]
    tested = assess_terms(presence_of(material, features), material, terms)
    at = {name: i for i, name in enumerate(terms.names)}
    trna, clan = at["type:Gene;tRNA"], at["clan:CL1"]
    assert tested.passes[:, trna].tolist() == [True, False, False]
    assert tested.passes[:, clan].tolist() == [True, True, False]
    # The papers' rule takes one clan's RNAs for evidence of the type.
    assert tested.passes_within[:, trna].tolist() == [True, True, False]
    expected = stats.hypergeom.sf(29, 600, 200, 30)
    assert tested.fisher[1, trna] == pytest.approx(expected, rel=1e-6)
    assert tested.enrichment[1, trna] == pytest.approx(3)


def test_dealt_terms_are_found_by_the_papers_rule_only(material: Material) -> None:
    generator = np.random.default_rng(0)
    features = [
        set(generator.choice(N_FAMILIES, 12, replace=False).tolist())
        for _ in range(200)
    ]
    presence = presence_of(material, features)
    terms = gather_terms(material, [], Ontology())
    dealt = deal(terms, material, generator)
    assert dealt.of_rna.shape == terms.of_rna.shape
    found = Counts.of(assess_terms(presence, material, dealt))
    assert found.features <= 4
    assert found.features_within > 40


@pytest.fixture(scope="module")
def mixed() -> Material:
    """Gives RNAs of 90 families of three types that differ in length but overlap."""
    generator = np.random.default_rng(1)
    rnas = []
    for family in range(90):
        middle = (70, 100, 220)[family % 3] * np.exp(generator.normal(0, 0.4))
        for member in range(N_MEMBERS):
            n = int(np.clip(middle * np.exp(generator.normal(0, 0.1)), 30, 900))
            labels = {
                "family_acc": f"RF{family:05d}",
                "type": ("Gene;tRNA", "Gene;sRNA", "Cis-reg")[family % 3],
            }
            rnas.append(Rna(f"r{family}.1/{member}", "A" * n, None, labels))
    n = len(rnas)
    rows = np.zeros((n, 1), np.float16)
    every = np.arange(n, dtype=np.int32)
    whole = Activations(rows, every, np.full(n, -1, np.int32), np.arange(n + 1))
    return arrange(rnas, whole)


def test_coin_flips_have_a_term_by_the_papers_rule_only(mixed: Material) -> None:
    """A longer RNA fires more; dealt among RNAs of a length, terms still show that."""
    generator = np.random.default_rng(0)
    chance = 1 - (1 - np.linspace(0.002, 0.01, 64)) ** mixed.lengths[:, None]
    fires = generator.random(chance.shape) < chance
    # One feature is of a type beside that: of the shortest, which fire the least.
    is_trna = [rna.metadata["type"] == "Gene;tRNA" for rna in mixed.rnas]
    more = 1 - (1 - chance[:, 0]) ** 3
    fires[:, 0] = generator.random(len(more)) < np.where(is_trna, more, chance[:, 0])
    presence = sparse.csr_array(fires.astype(np.float32))
    terms = gather_terms(mixed, [], Ontology())
    tested = assess_terms(presence, mixed, terms)
    passes = np.argwhere(tested.passes)
    assert [(f, terms.names[t]) for f, t in passes.tolist()] == [(0, "type:Gene;tRNA")]
    assert tested.passes_within[1:].any(1).mean() > 0.9
    dealt = Counts.of(assess_terms(presence, mixed, deal(terms, mixed, generator)))
    assert dealt.features == 0
    assert dealt.features_within > 50


def test_terms_are_dealt_to_rnas_of_about_their_length(mixed: Material) -> None:
    terms = gather_terms(mixed, [], Ontology())
    dealt = deal(terms, mixed, np.random.default_rng(0))
    before, after = (
        mixed.lengths @ each.of_rna / each.of_rna.sum(0) for each in (terms, dealt)
    )
    np.testing.assert_allclose(after, before, rtol=0.2)
    assert abs(terms.of_rna - dealt.of_rna).sum() > 0.5 * terms.of_rna.sum()
