"""Commands write what was found of a dictionary and of all that it must beat."""

import csv
import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from ribolex.dictionary import Sae
from ribolex.errors import IncompatibleDictionaryError
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna, write_rnas
from ribolex.trainer.activations import Activations
from ribolex.trainer.annotation.measuring import Steps, label, measure, silent
from ribolex.trainer.annotation.significance import assess
from ribolex.trainer.cli import register
from ribolex.trainer.evaluation.sample import Sample
from ribolex.trainer.findings import Look, look
from ribolex.trainer.findings.arms import neurons, of_sae
from ribolex.trainer.findings.best import find_best
from ribolex.trainer.findings.sampling import sample

DrawRnas = Callable[..., list[Rna]]
ARMS = [
    "dictionary",
    "neurons",
    "strongest neurons",
    "random decoder",
    "random model",
    "shuffled RNAs",
    "coin flips",
]


def invoke(*arguments: object) -> str:
    app = typer.Typer()
    register(app)
    runner = CliRunner(env={"COLUMNS": "80"})
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def read_tsv(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


@pytest.fixture
def tables(tmp_path: Path, draw_rnas: DrawRnas) -> tuple[Path, Path]:
    others = [
        replace(rna, metadata={**rna.metadata, "family_acc": f"RF9{i % 8:04d}"})
        for i, rna in enumerate(draw_rnas(60, seed=1))
    ]
    paths = tmp_path / "rnas.tsv.gz", tmp_path / "others.tsv.gz"
    write_rnas(paths[0], draw_rnas(240))
    write_rnas(paths[1], others)
    return paths


def test_labels_of_every_arm_are_written(
    tables: tuple[Path, Path], tiny_model: Path, tiny_registry: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = invoke(
        *("findings", "labels", "tiny@1", "--registry", tiny_registry),
        *("--rnas", tables[0], "--held-out", tables[1], "--lm", tiny_model),
        *("--control-rows", 500, "-o", out, "--workdir", tmp_path / "work"),
    )
    assert "tiny@1: features that go with" in told
    arms = read_tsv(out / "arms.tsv")
    assert [row["arm"] for row in arms] == ARMS
    by_arm = {row["arm"]: row for row in arms}
    assert float(by_arm["neurons"]["density_50"]) == pytest.approx(0.5, abs=0.1)
    assert by_arm["random decoder"]["n_features"] == by_arm["dictionary"]["n_features"]
    kinds = read_tsv(out / "kinds.tsv")
    assert {row["kind"] for row in kinds} >= {"structure", "tract", "type", "family"}
    best = read_tsv(out / "labels.tsv")
    scored = [row for row in best if row["feature"] != "-1"]
    assert {row["label"] for row in scored} >= {"structure:stem", "nucleotide:A"}
    assert not any(row["label"].startswith("family") for row in scored)
    assert all(0 <= float(row["held_out_average_precision"]) <= 1 for row in scored)
    features = read_tsv(out / "features.tsv.gz")
    assert len(features) == sum(int(row["n_features"]) for row in arms)
    assert (out / "findings.svg").read_text().lstrip().startswith("<?xml")
    assert (out / "findings.png").read_bytes().startswith(b"\x89PNG")


def test_terms_are_written_with_what_chance_gives(
    tables: tuple[Path, Path], tiny_model: Path, tiny_registry: Path, tmp_path: Path
) -> None:
    mine, obo, out = tmp_path / "mine.tsv", tmp_path / "so.obo", tmp_path / "out"
    mine.write_text("RF00001\tT:1\nRF00002\tT:1\n")
    obo.write_text("[Term]\nid: T:1\nname: one\nis_a: T:2\n[Term]\nid: T:2\n")
    told = invoke(
        *("findings", "terms", "tiny@1", "--registry", tiny_registry, "--deals", 1),
        *("--rnas", tables[0], "--terms", mine, "--obo", obo, "--lm", tiny_model),
        *("--control-rows", 500, "-o", out),
    )
    assert "papers' rule" in told
    counts = read_tsv(out / "counts.tsv")
    assert [row["arm"] for row in counts] == ARMS
    # 8 families, 2 types of 2 parts each, and the term of the file with its parent.
    assert {row["n_terms"] for row in counts} == {"14"}
    assert (out / "terms.tsv.gz").exists()


def test_a_dictionary_of_another_model_is_refused(
    tables: tuple[Path, Path], lm: LanguageModel, tiny_registry: Path
) -> None:
    other = FolderRegistry(tiny_registry).get("other@1")
    with pytest.raises(IncompatibleDictionaryError, match="lm_digest"):
        look([other], lm, Look([tables[0]]), None, lambda *_: None)


def planted(rnas: list[Rna], noise: int) -> Sample:
    """Gives rows of which one says unpaired, among others that say nothing."""
    generator = np.random.default_rng(noise)
    lengths = [len(rna.sequence) for rna in rnas]
    rows = generator.random((sum(lengths), 9)) - 0.5
    signs = "".join(rna.structure or "" for rna in rnas)
    rows[:, 4] = np.array([sign == "." for sign in signs]) - 0.5
    read = Activations(
        rows.astype(np.float16),
        np.repeat(np.arange(len(rnas), dtype=np.int32), lengths),
        np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
        np.cumsum([0, *lengths]),
    )
    return Sample(rnas, read, read.rows)


def test_neurons_fire_above_and_below_their_mean(draw_rnas: DrawRnas) -> None:
    given = planted(draw_rnas(40), 0)
    sae = neurons(given)
    x = torch.from_numpy(given.read.rows[:].astype(np.float32))
    codes = torch.zeros(len(x), sae.n_features)
    top = sae.encode(x)
    codes.scatter_(1, top.indices, top.values)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    torch.testing.assert_close(codes[:, :9], z.relu(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(codes[:, 9:], (-z).relu(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(sae.decode(*top), x, atol=1e-3, rtol=1e-3)


def test_the_planted_feature_is_chosen_and_holds_on_other_families(
    draw_rnas: DrawRnas,
) -> None:
    given, other = planted(draw_rnas(120), 0), planted(draw_rnas(80, seed=5), 1)
    sae: Sae = neurons(given)
    on, held_out = (label(each.rnas, each.read) for each in (given, other))
    steps = Steps(silent, silent, silent)
    measured = measure(sae, on, steps)
    tests = assess(measured, on.material)
    best = find_best(of_sae(sae), measured, tests, held_out, steps)
    scores = {each.label: each for each in best}
    hairpin, letter = scores["structure:hairpin"], scores["nucleotide:A"]
    assert hairpin.feature == 4
    assert hairpin.held_out.recall == 1.0
    assert hairpin.held_out.average_precision > 0.55
    # Chosen as the best of 18 that say nothing: other families say so.
    assert letter.held_out.average_precision == pytest.approx(
        letter.held_out.base, abs=0.05
    )


def test_half_of_a_sample_is_of_families_in_turn_and_half_of_full_ones(
    draw_rnas: DrawRnas,
) -> None:
    rnas = draw_rnas(1400, n_families=40)
    found = sample(rnas, 20_000, np.random.default_rng(0))
    assert sum(len(rna.sequence) for rna in found) <= 20_000 + 20
    assert found == [rna for rna in rnas if rna in found]
    sizes = np.unique([rna.metadata["family_acc"] for rna in found], return_counts=True)
    assert len(sizes[0]) == 40
    assert sorted(sizes[1])[-10:] == [25] * 10
