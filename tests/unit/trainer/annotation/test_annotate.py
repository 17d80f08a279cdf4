"""Planted features are described as what they were planted as, and no more."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ribolex.dictionary import FeatureTable, Sae
from ribolex.errors import InvalidRequestError
from ribolex.rna import Rna
from ribolex.trainer.activations import Activations
from ribolex.trainer.annotation import Controls, annotate, in_one
from ribolex.trainer.annotation.findings import Finding
from ribolex.trainer.annotation.report import with_section
from ribolex.trainer.annotation.sentences import describe
from ribolex.trainer.labels import label_rnas

ELEMENT_CODE = {".": 0, "(": 1, ")": 1}
NAMES = {"RF00001": "f1"}


def silent(_step: str, _done: int, _total: int) -> None:
    pass


def plant(rnas: list[Rna]) -> tuple[Sae, Activations]:
    """Gives activations that say letter, pairing and type, and a dictionary of them.

    Features: 0 fires on G, 1 on unpaired nucleotides, 2 on every third nucleotide of
    tRNAs, 3 on G in family RF00001, 4 anywhere by chance, 5 never.
    """
    generator = np.random.default_rng(0)
    rows, owners, positions = [], [], []
    for i, rna in enumerate(rnas):
        for j, letter in enumerate(rna.sequence):
            is_g = letter == "G"
            row = [
                is_g,
                (rna.structure or "((((")[j % 20] == ".",
                rna.metadata["type"] == "Gene;tRNA" and j % 3 == 0,
                is_g and rna.metadata["family_acc"] == "RF00001",
                generator.random() < 0.1,
                0,
            ]
            rows.append(np.array(row, float) * (1 + generator.random()))
            owners.append(i)
            positions.append(j)
    lengths = [len(rna.sequence) for rna in rnas]
    activations = Activations(
        np.array(rows, np.float16),
        np.array(owners, np.int32),
        np.array(positions, np.int32),
        np.cumsum([0, *lengths]),
    )
    identity = torch.eye(6)
    return Sae(identity, torch.zeros(6), identity, torch.zeros(6), 5), activations


def draw(n_rnas: int) -> list[Rna]:
    generator = np.random.default_rng(1)
    out = []
    for i in range(n_rnas):
        family = i % 24
        labels = {
            "family_acc": f"RF{family:05d}",
            "family": f"f{family}",
            "type": "Gene;tRNA" if family < 12 else "Cis-reg;leader",
        }
        letters = "".join(generator.choice(list("ACGU"), 20))
        out.append(Rna(f"rna{i}", letters, "..(((((......)))))..", labels))
    return out


@pytest.fixture(scope="module")
def table() -> FeatureTable:
    rnas = draw(600)
    sae, activations = plant(rnas)
    return annotate(sae, activations, rnas, silent)


def test_labels_say_what_was_planted(table: FeatureTable) -> None:
    assert table.label[0] == "fires on G"
    assert table.label[1].startswith("fires in hairpin loops")
    assert table.label[2] == "fires in tRNA"
    # Of one family alone it could be anything of that family's: no letter is named.
    assert table.label[3] == "fires in f1 (RF00001)"


def test_what_fires_by_chance_or_never_goes_with_no_label(table: FeatureTable) -> None:
    assert table.label[4].startswith("fires on single nucleotides")
    assert table.label[5] == ""
    assert table.evidence_of(4) == table.evidence_of(5) == ()


def test_the_card_says_what_lengths_and_coins_give(table: FeatureTable) -> None:
    assert table.basis["types, families and clans against"] == (
        "RNAs of about the same length"
    )
    assert table.basis["coin flips"] == 6
    assert table.basis["coin flips with type"] == 0
    card = with_section("# a card\n", table)
    assert (
        "| goes with a | features | F1 above the constant | of 6 coin flips |" in card
    )
    assert "| type | 1 | 1 | 0 |" in card
    # Evidence from before has neither.
    old = {name: n for name, n in table.basis.items() if not name.startswith("coin")}
    card = with_section("# a card\n", replace(table, basis=old))
    assert "| goes with a | features | F1 above the constant |\n" in card


def test_evidence_carries_effect_control_certainty_and_support(
    table: FeatureTable,
) -> None:
    measures = {each.measure: each for each in table.evidence_of(0)[:7]}
    assert {each.label for each in measures.values()} == {"nucleotide:G"}
    precision = measures["precision"]
    assert precision.effect == 1.0
    assert precision.control == pytest.approx(0.25, abs=0.02)
    assert measures["enrichment"].effect == pytest.approx(4, rel=0.1)
    assert measures["f1_gain"].effect == pytest.approx(0.6, abs=0.03)
    assert measures["f1_gain"].control == pytest.approx(0.4, abs=0.03)
    assert measures["auroc"].effect == measures["average_precision"].effect == 1.0
    assert precision.q_value is not None
    assert precision.q_value < 1e-4
    assert precision.support is not None
    assert precision.support > 570
    assert precision.n_families == 24


def test_statistics_are_those_of_the_activations(table: FeatureTable) -> None:
    _, activations = plant(draw(600))
    rows = activations.rows[:].astype(np.float32)
    fires = rows > 0
    np.testing.assert_allclose(table.density, fires.mean(0), rtol=1e-6)
    np.testing.assert_allclose(table.max_activation, rows.max(0))
    np.testing.assert_allclose(
        table.mean_activation, rows.sum(0) / np.maximum(fires.sum(0), 1), rtol=1e-5
    )
    df = [len(set(activations.rnas[column])) for column in fires.T]
    np.testing.assert_allclose(
        table.idf, np.log(601 / (1 + np.array(df))), rtol=1e-6, atol=1e-7
    )


def test_examples_are_the_strongest_firings_with_positions(table: FeatureTable) -> None:
    rnas = {rna.name: rna for rna in draw(600)}
    examples = table.examples_of(3)
    assert len(examples) == 5
    strengths = [example.max_activation for example in examples]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] == table.max_activation[3]
    for example in examples:
        rna = rnas[example.rna]
        assert example.sequence == rna.sequence
        assert example.metadata["family_acc"] == "RF00001"
        is_g = [i for i, letter in enumerate(rna.sequence) if letter == "G"]
        assert list(example.positions) == is_g
    assert table.examples_of(5) == ()


def test_too_few_rnas_prove_nothing() -> None:
    rnas = draw(16)
    sae, activations = plant(rnas)
    table = annotate(sae, activations, rnas, silent)
    assert set(table.label) == {""}
    assert len(table.evidence.effect) == 0


def test_one_family_proves_nothing_of_letters_or_structure() -> None:
    rnas = [rna for rna in draw(600) if rna.metadata["family_acc"] == "RF00001"]
    sae, activations = plant(rnas)
    table = annotate(sae, activations, rnas, silent)
    assert set(table.label) == {""}


def test_rnas_without_labels_are_taken() -> None:
    rnas = [Rna(f"r{i}", "ACGU" * 5) for i in range(30)]
    lengths = np.full(30, 20)
    rows = np.tile(np.eye(4, 6, dtype=np.float16), (150, 1))
    activations = Activations(
        rows,
        np.repeat(np.arange(30, dtype=np.int32), lengths),
        np.tile(np.arange(20, dtype=np.int32), 30),
        np.cumsum([0, *lengths]),
    )
    sae, _ = plant(draw(8))
    table = annotate(sae, activations, rnas, silent)
    expected = ("the A of UAC", "the C of ACG", "the G of CGU", "the U of GUA")
    assert list(table.label[:4]) == [f"fires on {place}" for place in expected]


def test_structure_of_another_length_is_refused() -> None:
    rnas = [Rna("odd", "ACGU", "...")]
    activations = Activations(
        np.zeros((4, 6), np.float16),
        np.zeros(4, np.int32),
        np.arange(4, dtype=np.int32),
        np.array([0, 4]),
    )
    with pytest.raises(InvalidRequestError, match="structure of odd: 3 signs"):
        label_rnas(rnas, activations)


def finding(kind: str, label: str, precision: float, base: float = 0.1) -> Finding:
    return Finding(f"{kind}:{label}", 1e-5, 30, 5, precision, base)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([], ""),
        ([("nucleotide", "G", 0.14)], ""),
        ([("nucleotide", "G", 0.5)], "more often on G (5.0x)"),
        (
            [
                ("structure", "bulge", 0.5),
                ("family", "RF00001", 0.4),
                ("nucleotide", "G", 0.2),
            ],
            "more often in bulges (5.0x), in f1 (RF00001) (4.0x for its length)",
        ),
        ([("structure", "stem", 0.7)], "fires in stems"),
        (
            [("tract", "U", 0.8), ("nucleotide", "U", 0.9), ("kmer", "UUU", 0.7)],
            "fires in tracts of U",
        ),
        ([("type", "Gene;snRNA;snoRNA;CD-box", 0.6)], "fires in CD-box"),
        (
            [("family", "RF00001", 0.9), ("type", "Gene;tRNA", 0.9)],
            "fires in f1 (RF00001)",
        ),
        (
            [
                ("type", "Gene;tRNA", 0.8),
                ("nucleotide", "G", 0.7),
                ("structure", "hairpin", 0.9),
            ],
            "fires on G in hairpin loops of tRNA",
        ),
    ],
)
def test_descriptions(findings: list[tuple[str, str, float]], expected: str) -> None:
    assert describe([finding(*each) for each in findings], NAMES).text == expected


def test_a_label_that_most_have_anyway_is_not_named() -> None:
    assert describe([finding("structure", "stem", 0.7, 0.54)], NAMES).text == ""


def test_profiles_tell_shape_type_and_surroundings(table: FeatureTable) -> None:
    profiles = table.profiles
    assert profiles is not None
    assert profiles.shape[2] == "periodic"
    assert profiles.period[2] == 3
    assert profiles.shape[5] == "dead"
    assert profiles.preferred_type[2] == "Gene;tRNA"
    assert profiles.type_selectivity[2] == 1
    assert profiles.type_entropy[2] == 0
    assert profiles.type_selectivity[0] == pytest.approx(0.5, abs=0.02)
    assert profiles.letters[0, 10].tolist() == [0, 0, 255, 0]
    assert profiles.n_firings[0] == pytest.approx(table.density[0] * 12_000)
    assert profiles.label_confidence[0] == 1
    assert np.isnan(profiles.label_confidence[5])


def test_a_random_dictionary_is_beaten_by_planted_features() -> None:
    rnas = draw(600)
    sae, activations = plant(rnas)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(6, 32, generator=generator)
    control = Sae(random, torch.zeros(32), random.T.contiguous(), torch.zeros(6), 5)
    controls = Controls(random=control, random_what="noise")
    table = annotate(sae, activations, rnas, silent, controls)
    (mcc,) = (
        each
        for each in table.evidence_of(0)
        if (each.label, each.measure) == ("nucleotide:G", "mcc")
    )
    assert mcc.percentile is not None
    assert mcc.percentile > 0.9
    assert table.basis["random control"] == "noise, 32 features"


def test_steps_are_told_as_parts_of_one_whole() -> None:
    told: list[int] = []
    note = in_one(lambda done, total: told.append(done))
    rnas = draw(40)
    sae, activations = plant(rnas)
    annotate(sae, activations, rnas, note)
    assert told == sorted(told)
    assert told[-1] <= 1000
