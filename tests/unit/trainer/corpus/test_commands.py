"""`ribolex corpus build` and `show` from a shell, and `ribolex train --corpus`."""

from pathlib import Path

import pytest
import typer
from tests.unit.trainer.corpus.conftest import group_in
from typer.testing import CliRunner, Result

from ribolex.errors import InvalidRequestError
from ribolex.trainer.cli import register
from ribolex.trainer.corpus import open_corpus


def run(*words: object, columns: int = 200) -> Result:
    app = typer.Typer()
    register(app)
    arguments = [str(word) for word in words]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rnas.tsv"
    lines = ["name\tsequence\tfamily_acc\ttype"]
    for part in ("train", "validation", "test"):
        family = group_in(part, "family")
        letters = {"train": "A", "validation": "C", "test": "G"}[part]
        for i in range(1, 41):
            lines.append(f"{part}{i}\t{letters * i}GGACU\t{family}\tGene;[b]odd[/b]")
    path.write_text("\n".join([*lines, "bad\tACJU\t\t"]) + "\n")
    return path


def test_build_prints_what_became_of_the_rnas(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    result = run("corpus", "build", table, "--out", out)
    assert result.exit_code == 0, result.output
    assert "108 of 121 RNAs of rnas.tsv" in result.stdout
    assert "Gene;[b]odd[/b]: 36" in result.stdout
    assert f"{table}:122, 'bad': 'J' at position 3" in result.stdout
    assert "too short" in result.stdout
    assert result.stderr == ""
    assert open_corpus(out).manifest.n_read == 121
    assert run("corpus", "show", out).stdout == result.stdout


def test_second_build_wants_force(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    assert run("corpus", "build", table, "--out", out).exit_code == 0
    refused = run("corpus", "build", table, "--out", out)
    assert isinstance(refused.exception, InvalidRequestError)
    words = ("--force", "--test", 0, "--validation", 0, "--shortest", 1)
    assert run("corpus", "build", table, "--out", out, *words).exit_code == 0
    assert open_corpus(out).manifest.parts["train"].n_rnas == 120


@pytest.mark.parametrize("command", [["corpus", "build"], ["corpus", "show"]])
def test_help_fits_a_terminal(command: list[str]) -> None:
    result = run(*command, "--help", columns=80)
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80


def test_train_takes_a_corpus(table: Path, tmp_path: Path, tiny_model: Path) -> None:
    run("corpus", "build", table, "--out", tmp_path / "corpus", "--shortest", 1)
    model = ("--lm", tiny_model, "--layer", 1, "--features", 64, "--k", 4)
    length = ("--tokens", 400, "--batch-rows", 100, "--name", "c")
    folders = ("--registry", tmp_path / "r", "--workdir", tmp_path / "w")
    result = run("train", "--corpus", tmp_path / "corpus", *model, *length, *folders)
    assert "variance unexplained" in result.output, result.output


@pytest.mark.parametrize(
    "tables",
    [[], ["--rnas"], ["--validation"], ["--rnas", "--corpus"]]
    + [["--rnas", "--validation", "--corpus"]],
)
def test_train_wants_a_corpus_or_two_tables(table: Path, tables: list[str]) -> None:
    words = [word for option in tables for word in (option, str(table))]
    result = run("train", "--name", "c", *words)
    assert result.exit_code == 2
    assert "either --corpus, or --rnas and --validation" in result.output
