"""The whole evaluation of a model: what it writes, keeps and admits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from pydantic import TypeAdapter
from typer.testing import CliRunner, Result

from ribolex.errors import CorruptInputError
from ribolex.lm import LanguageModel
from ribolex.rna import Rna, read_alignment_rows, read_rnas, write_rnas
from ribolex.trainer.cli import register
from ribolex.trainer.pretraining.breakdown import LetterRow, break_down
from ribolex.trainer.pretraining.evaluation import (
    EvaluationData,
    LmScores,
    random_twin,
    read_scores,
    write_scores,
)
from ribolex.trainer.pretraining.kept import KeptResults
from ribolex.trainer.pretraining.probes import ProbeScore
from ribolex.trainer.pretraining.report import put_on_card, render
from ribolex.trainer.pretraining.retrieval import (
    CasePlan,
    RetrievalScore,
    RetrievalScores,
    build_cases,
)

STRUCTURE = "..(((((......)))))..(((((......)))))...."


def table_of(path: Path, families: range, seed: int) -> list[Rna]:
    """Writes six members, of one consensus, of each family."""
    generator = np.random.default_rng(seed)
    rnas = []
    for family in families:
        consensus = generator.choice(list("ACGU"), len(STRUCTURE))
        for i in range(6):
            letters = consensus.copy()
            changed = generator.random(len(letters)) < 0.3
            letters[changed] = generator.choice(list("ACGU"), changed.sum())
            labels = {"family_acc": f"RF{family}", "type": f"Gene;t{family % 2}"}
            rnas.append(Rna(f"{family}/{i}", "".join(letters), STRUCTURE, labels))
    write_rnas(path, rnas)
    return rnas


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """Options that name three small tables."""
    table_of(tmp_path / "train.tsv.gz", range(8), 0)
    validation = table_of(tmp_path / "val.tsv.gz", range(8, 26), 1)
    lines = ["family_acc\tname\taligned"]
    for rna in validation:
        lines.append(f"{rna.metadata['family_acc']}\t{rna.name}\t{rna.sequence}")
    (tmp_path / "aligned.tsv").write_text("\n".join(lines) + "\n")
    return [
        *("--training", str(tmp_path / "train.tsv.gz")),
        *("--validation", str(tmp_path / "val.tsv.gz")),
        *("--aligned", str(tmp_path / "aligned.tsv")),
    ]


def run(*arguments: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments))


def score_lm(model: Path, *arguments: str) -> Result:
    return run("score-lm", str(model), *arguments)


def model_copy(tiny_model: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "README.md").write_text("# A model\n\nAll about it.\n")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_command_measures_everything_and_puts_it_on_the_card(
    tiny_model: Path, tables: list[str], tmp_path: Path
) -> None:
    model = model_copy(tiny_model, tmp_path / "model")
    result = score_lm(model, *tables)
    assert result.exit_code == 0, result.output
    scores = read_scores(model / "scores.json")
    assert [row.group for row in scores.letters][:3] == ["all", "paired", "unpaired"]
    assert set(scores.twin) - set(scores.model) == {
        "representation not whitened, aligned",
        "representation not whitened and letters, aligned",
    }
    assert scores.n_database == 26 * 6
    assert scores.baselines["4-mers, tf-idf cosine"].near.n_families == 18
    card = (model / "README.md").read_text()
    assert card.startswith("# A model\n\nAll about it.\n")
    assert render(scores).strip() in card
    assert not scores.is_quick


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_finished_parts_are_found_again_and_no_model_reads_anything(
    tiny_model: Path,
    tables: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_copy(tiny_model, tmp_path / "model")
    kept = tmp_path / "kept.json"
    arguments = [*tables, "--quick", "--queries", "5", "--keep", str(kept)]
    first = score_lm(model, *arguments)
    assert first.exit_code == 0, first.output
    assert "Quick figures" in first.stdout
    assert "near, 5 of 5 families" in " ".join(first.stdout.split())
    assert (model / "README.md").read_text() == "# A model\n\nAll about it.\n"
    results = kept.read_bytes()
    for name in ("activations", "logits"):
        monkeypatch.delattr(LanguageModel, name)
    assert score_lm(model, *arguments).stdout == first.stdout
    assert kept.read_bytes() == results


def test_a_corpus_gives_the_part_that_is_measured_on(
    tables: list[str], tmp_path: Path
) -> None:
    seed = tmp_path / "x.sto"
    rnas = list(read_rnas(Path(tables[1]))) + list(read_rnas(Path(tables[3])))
    families: dict[str, str] = {}
    for rna in rnas:
        family = rna.metadata["family_acc"]
        families.setdefault(family, f"# STOCKHOLM 1.0\n#=GF AC {family}\n")
        families[family] += f"{rna.name} {rna.sequence}\n"
    seed.write_text("".join(f"{text}//\n" for text in families.values()))
    shares = ["--validation", "0.3", "--test", "0.3"]
    built = run("corpus", "build", str(seed), "--out", str(tmp_path / "c"), *shares)
    assert built.exit_code == 0, built.output
    data = EvaluationData.of_corpus(tmp_path / "c", "test")
    cases = build_cases(
        read_rnas(data.training),
        read_rnas(data.validation),
        read_alignment_rows(data.aligned),
        CasePlan(),
    )
    asked = {case.family for case in cases.near}
    assert asked == {rna.metadata["family_acc"] for rna in read_rnas(data.validation)}
    assert data.validation.name == "test.tsv.gz"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "either --corpus, or"),
        (["--corpus", "c", "--training", "t"], "either --corpus, or"),
        (["--corpus", "c", "--part", "train"], "expected validation or test"),
    ],
)
def test_what_is_measured_on_is_given_once(
    options: list[str], told: str, tmp_path: Path
) -> None:
    refused = score_lm(tmp_path, *options)
    assert refused.exit_code == 2
    assert told in " ".join(refused.output.replace("│", "").split())


def test_kept_results_are_measured_once(tmp_path: Path) -> None:
    calls = []

    def measure() -> float:
        calls.append(1)
        return 0.5

    number = TypeAdapter(float)
    json = number.validate_json, number.dump_json
    for _ in range(2):
        kept = KeptResults(tmp_path / "kept.json")
        assert kept.recall("a", *json, measure) == 0.5
    assert len(calls) == 1
    kept.recall("b", *json, measure)
    assert len(calls) == 2


def test_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text("[1, 2]")
    with pytest.raises(CorruptInputError, match=r"kept\.json"):
        KeptResults(tmp_path / "kept.json")


def test_twin_is_of_one_size_reproducible_and_without_side_effects(
    lm: LanguageModel,
) -> None:
    state = torch.random.get_rng_state()
    twin = random_twin(lm)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert twin.digest == random_twin(lm).digest
    assert twin.digest not in (random_twin(lm, seed=1).digest, lm.digest)
    assert twin.config == lm.config


def test_groups_of_letters_make_up_the_whole(lm: LanguageModel, tmp_path: Path) -> None:
    rnas = table_of(tmp_path / "t.tsv.gz", range(40), 0)
    bare = [replace(rna, structure="." * 40) for rna in rnas[:60]]
    rows = break_down(lm, lm, rnas, [*rnas, *bare])
    groups = {row.group: row for row in rows}
    assert set(groups) == {"all", "paired", "unpaired", "Gene;t0", "Gene;t1"}
    types = [groups["Gene;t0"], groups["Gene;t1"]]
    n = sum(row.n_nucleotides for row in types)
    assert n == groups["all"].n_nucleotides
    mean = sum(row.lm * row.n_nucleotides for row in types) / n
    assert mean == pytest.approx(groups["all"].lm)
    pairing = groups["paired"].n_nucleotides + groups["unpaired"].n_nucleotides
    assert pairing < n  # RNAs that keep no pair belong to neither
    assert groups["all"].lm_masked == groups["all"].twin_masked


def flat(value: float) -> RetrievalScores:
    score = RetrievalScore(value, value, value, 10, 5)
    return RetrievalScores(score, replace(score, map_at_100=value / 2))


def some_scores() -> LmScores:
    row = LetterRow("all", 10, 1.2, 0.4, 1.3, 0.3, 1.35, 0.3, 2, 1.38, 1.39)
    return LmScores(
        name="m",
        digest="0" * 64,
        is_quick=False,
        n_database=7,
        n_nucleotides=70,
        width=8,
        plain_width=2,
        letters=[row],
        baselines={"letters": flat(0.5)},
        model={"representation, aligned": flat(0.6)},
        twin={"representation, aligned": flat(0.1)},
        dictionary="",
        window_probe=ProbeScore("one-hot", 0.6, 0.6, 0.5),
        probes=[ProbeScore("layer 1", 0.7, 0.7, 0.5)],
        twin_probes=[ProbeScore("layer 1", 0.6, 0.6, 0.5)],
    )


def test_scores_round_trip(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.json", some_scores())
    assert read_scores(tmp_path / "scores.json") == some_scores()


def test_card_admits_every_defeat_and_no_victory() -> None:
    assert "Nowhere, among the comparisons above." in render(some_scores())
    beaten = replace(
        some_scores(),
        baselines={"letters": flat(0.5), "4-mers": flat(0.61)},
        window_probe=ProbeScore("one-hot", 0.75, 0.6, 0.5),
    )
    _, _, told = render(beaten).partition("### Where it does not win")
    assert (
        "Representation, aligned, near, mAP, 0.600: not better than 4-mers (0.610)."
        in told
    )
    assert "best layer, AUROC, 0.700: not better than one-hot (0.750)." in told
    assert "letters (" not in told
    worse = replace(some_scores().letters[0], lm_masked=1.36)
    assert "not better than the context model (1.350)." in render(
        replace(some_scores(), letters=[worse])
    )


def test_card_holds_the_newest_figures_once(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("# m\n")
    put_on_card(card, "old figures")
    card.write_text(card.read_text() + "\n## After\n")
    put_on_card(card, "new figures")
    text = card.read_text()
    assert "old figures" not in text
    assert text.count("new figures") == 1
    assert text.startswith("# m\n")
    assert text.endswith("## After\n")
