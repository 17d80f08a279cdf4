"""An alignment model is learned that tells relatives from strangers, and published."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from tests.unit.trainer.test_lineage import make_sae
from typer.testing import CliRunner

from ribolex.dictionary import Codes
from ribolex.errors import IncompatibleDictionaryError, InvalidRequestError
from ribolex.lm import LanguageModel, load_lm
from ribolex.registry import FolderRegistry
from ribolex.rna import AlignmentRow, Rna
from ribolex.rna.local_alignment import AlignmentScoring, NucleotideArrays
from ribolex.rna.tables import write_alignment_rows, write_rnas
from ribolex.trainer.alignment import AlignmentPlan, learn_alignment, read_relatives
from ribolex.trainer.alignment.metric import whiten
from ribolex.trainer.alignment.relatives import draw_relatives
from ribolex.trainer.alignment.scoring import START, Trial, measure, search
from ribolex.trainer.alignment.states import cluster
from ribolex.trainer.cli import register

LETTERS = np.array(list("ACGU"))
PLAN = AlignmentPlan(width=8, n_nucleotides=3000, n_decoys=20, n_unrelated=24)


def mutate(sequence: str, part: float, generator: np.random.Generator) -> str:
    letters = np.array(list(sequence))
    hit = generator.random(len(letters)) < part
    letters[hit] = generator.choice(LETTERS, hit.sum())
    return "".join(letters)


def draw(n: int, length: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(LETTERS, length)) for _ in range(n)]


@pytest.fixture
def rows() -> list[AlignmentRow]:
    """Gives 12 families of 4 members, half of whose letters differ."""
    generator = np.random.default_rng(3)
    return [
        AlignmentRow(f"RF{family:05d}", f"m{i}", mutate(seed, 0.65, generator))
        for family, seed in enumerate(draw(12, 60, 4))
        for i in range(4)
    ]


def codes_of(n: int, seed: int = 0) -> Codes:
    sae = make_sae(seed)
    generator = np.random.default_rng(seed)
    # Two directions in which everything varies much more than elsewhere.
    x = generator.standard_normal((n, 48)).astype(np.float32)
    x[:, :2] *= 30
    found = sae.encode(torch.from_numpy(x))
    return Codes.from_topk(found.indices.numpy(), found.values.numpy(), 200)


def test_whitening_lets_every_direction_count() -> None:
    sae, codes = make_sae(0), codes_of(4000)
    directions = whiten(sae, codes, 40)
    features, values = codes.indices.astype(int), codes.values[:, None]
    sums = np.add.reduceat(values * directions[features], codes.indptr[:-1])
    squares = sums.T @ sums / len(codes)
    np.testing.assert_allclose(squares / squares[0, 0], np.eye(40), atol=0.02)
    plain = np.add.reduceat(values * sae.W_dec.numpy()[features], codes.indptr[:-1])
    spread = np.linalg.eigvalsh(plain.T @ plain / len(codes))
    assert spread[-1] > 20 * spread[-20]


def test_clusters_are_where_vectors_lie() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(0, 10, (31, 5)).astype(np.float32)
    vectors = np.repeat(truth, 40, axis=0) + generator.normal(0, 0.1, (1240, 5))
    letters = np.zeros(1240, np.uint8)
    letters[:3] = 2
    found = cluster(letters, vectors.astype(np.float32), generator)
    near = np.linalg.norm(found[0][:, None] - truth, axis=2).min(axis=0)
    # k-means may join two of the clusters; most are found.
    assert np.sort(near)[:25].max() < 0.5
    assert (found[1] == 0).all()
    assert (np.abs(found[2] - vectors[:3].mean(axis=0)) < 1).all()


def test_relatives_are_remote_and_families_take_turns(rows: list[AlignmentRow]) -> None:
    found = draw_relatives(rows, 20, 512, 0)
    assert len(found.queries) == len(found.targets) == len(found.decoys) == 20
    assert len(set(found.families[:12])) == 12
    for query, target, decoy in zip(
        found.queries, found.targets, found.decoys, strict=True
    ):
        same = np.mean([a == b for a, b in zip(query, target, strict=True)])
        assert 0 < same < 0.6
        assert sorted(decoy) == sorted(target)


def test_a_table_of_nothing_but_twins_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "rows.tsv.gz"
    write_alignment_rows(table, [AlignmentRow("RF1", "a", "ACGUACGUAC")] * 3)
    with pytest.raises(InvalidRequestError, match="less than 60 % alike"):
        read_relatives(table, 5)


def test_the_search_finds_that_likeness_helps() -> None:
    generator = np.random.default_rng(0)
    queries, decoys = draw(20, 40, 1), draw(60, 40, 2)
    targets = [mutate(query, 0.8, generator) for query in queries]

    def arrays(sequences: list[str], vectors: np.ndarray) -> NucleotideArrays:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return NucleotideArrays.of_sequences(sequences, unit.astype(np.float32))

    # Letters say little, vectors nearly all: relatives have each other's, with noise.
    ours = generator.standard_normal((800, 6))
    trial = Trial(
        arrays(queries, ours),
        arrays(targets, ours + 0.7 * generator.standard_normal((800, 6))),
        arrays(decoys, generator.standard_normal((2400, 6))),
        np.full(20, 1 / 20),
    )
    start = AlignmentScoring(1, -0.5, -0.9, 0.2, -0.05, 2.4, 0.45)
    told: list[tuple[int, int]] = []
    kept = search(trial, lambda done, of: told.append((done, of)), start)
    ranks = [tried.reciprocal_rank for tried in kept]
    assert ranks == sorted(ranks)
    assert ranks[-1] == measure(trial, kept[-1].scoring) > ranks[0]
    assert kept[-1].scoring.similarity > 0.2
    assert told[-1][0] == told[-1][1]


def test_a_model_is_learned_published_and_read_back(
    tmp_path: Path, tiny_registry: Path, tiny_model: Path, rows: list[AlignmentRow]
) -> None:
    root, table, aligned = (
        tmp_path / "registry",
        tmp_path / "rnas.tsv.gz",
        tmp_path / "rows.tsv.gz",
    )
    shutil.copytree(tiny_registry, root)
    write_rnas(table, [Rna(f"r{i}", s) for i, s in enumerate(draw(60, 50, 7))])
    write_alignment_rows(aligned, rows)
    before = FolderRegistry(root).get("tiny@1")
    app = typer.Typer()
    register(app)
    said = CliRunner().invoke(
        app,
        [
            "dictionaries",
            "align",
            "tiny",
            "--registry",
            str(root),
            "--rnas",
            str(table),
            "--aligned",
            str(aligned),
            "--lm",
            str(tiny_model),
            "--width",
            "8",
            "--pairs",
            "12",
        ],
    )
    assert said.exit_code == 0, said.output
    assert "published tiny@3" in said.output
    registry = FolderRegistry(root)
    assert registry.current("tiny") == 3
    found = registry.get("tiny")
    model = found.alignment
    assert model is not None
    assert before.alignment is None
    assert (model.n_features, model.width) == (96, 8)
    assert model.statistics.rate > 0
    np.testing.assert_array_equal(found.features.ancestor, np.arange(96))
    assert found.identity.ancestor == before.content_id
    assert found.sae.W_enc.equal(before.sae.W_enc)


def test_without_relatives_the_scoring_is_the_one_that_served_elsewhere(
    tiny_registry: Path, lm: LanguageModel
) -> None:
    dictionary = FolderRegistry(tiny_registry).get("tiny@1")
    learned = learn_alignment(
        dictionary, lm, draw(60, 50, 7), None, PLAN, lambda step, done, of: None
    )
    assert learned.tried == []
    assert learned.n_relatives == 0
    assert learned.model.gap_open == START.gap_open
    np.testing.assert_array_equal(learned.model.letters, START.letters)


def test_what_cannot_be_aligned_is_refused(
    tiny_registry: Path, tiny_model: Path
) -> None:
    other = FolderRegistry(tiny_registry).get("other@1")
    with pytest.raises(IncompatibleDictionaryError, match="lm_digest"):
        learn_alignment(
            other, load_lm(tiny_model), ["ACGU"], None, PLAN, lambda *_: None
        )
    sound = FolderRegistry(tiny_registry).get("tiny@1")
    with pytest.raises(InvalidRequestError, match="none"):
        learn_alignment(sound, load_lm(tiny_model), [], None, PLAN, lambda *_: None)
