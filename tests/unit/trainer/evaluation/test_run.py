"""From tables and a published dictionary to tables, JSON, card and picture."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ribolex.errors import (
    CorruptInputError,
    IncompatibleDictionaryError,
    InvalidRequestError,
)
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna, write_rnas
from ribolex.trainer.cli import register
from ribolex.trainer.evaluation import read_evaluation
from ribolex.trainer.evaluation.run import EvaluationRun, evaluate_dictionary

DrawRnas = Callable[..., list[Rna]]


@pytest.fixture
def run(tmp_path: Path, draw_rnas: DrawRnas) -> EvaluationRun:
    held_out = [
        replace(rna, metadata={**rna.metadata, "clan": f"CL{i % 8}"})
        for i, rna in enumerate(draw_rnas(24, seed=1))
    ]
    write_rnas(tmp_path / "train.tsv.gz", draw_rnas(40))
    write_rnas(tmp_path / "validation.tsv.gz", held_out)
    return EvaluationRun(tmp_path / "validation.tsv.gz", tmp_path / "train.tsv.gz")


def silent(stage: str, done: int, total: int) -> None:
    assert done <= total


def test_command_writes_all_and_finds_its_fits_again(
    run: EvaluationRun, tiny_model: Path, tiny_registry: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    register(app)
    out, work = tmp_path / "out", tmp_path / "work"
    arguments = ["evaluate", "tiny@1", "--registry", tiny_registry, "--lm", tiny_model]
    arguments += ["--validation", run.validation, "--training", run.training]
    arguments += ["--controls", "--control-rows", 1000, "-o", out, "--workdir", work]
    texts = [str(argument) for argument in arguments]
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, texts)
    assert result.exit_code == 0, result.output
    for told in ("variance unexplained", "random model", "paired or not"):
        assert told in result.output
    found = read_evaluation(out / "evaluation.json")
    names = [control.name for control in found.controls]
    assert names == ["neurons", "pca", "random decoder", "random model"]
    assert all(len(c.probes) == len(found.probes) == 9 for c in found.controls)
    assert found.stability is not None
    assert found.stability.mean_cosine < 0.9
    assert found.data.n_clans == 8
    assert "## Limits" in (out / "README.md").read_text()
    assert (out / "evaluation.svg").read_text().lstrip().startswith("<?xml")
    assert (out / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    fits = {file: file.stat().st_mtime_ns for file in work.glob("control-*")}
    assert len(fits) == 3
    before = (out / "evaluation.json").read_bytes()
    assert CliRunner().invoke(app, texts).exit_code == 0
    assert {file: file.stat().st_mtime_ns for file in work.glob("control-*")} == fits
    assert (out / "evaluation.json").read_bytes() == before


def test_without_training_clans_are_halved(
    run: EvaluationRun, lm: LanguageModel, tiny_registry: Path
) -> None:
    tiny = FolderRegistry(tiny_registry).get("tiny@1")
    other = FolderRegistry(tiny_registry).get("tiny@2")
    run = replace(run, training=None, other=other)
    found = evaluate_dictionary(tiny, lm, run, None, silent)
    assert found.data.fitted == "half of the held-out clans"
    assert found.data.n_shared_clans == 0
    assert found.data.n_fitted < found.data.n_nucleotides
    assert {score.task for score in found.probes} >= {"paired", "element"}
    assert found.stability is not None
    assert found.stability.other == "tiny"
    assert np.isfinite(list(found.headline().values())).all()


def test_what_does_not_fit_is_refused(
    run: EvaluationRun, lm: LanguageModel, tiny_registry: Path, tmp_path: Path
) -> None:
    registry = FolderRegistry(tiny_registry)
    tiny, stranger = registry.get("tiny@1"), registry.get("other@1")
    with pytest.raises(IncompatibleDictionaryError, match="lm_digest"):
        evaluate_dictionary(stranger, lm, run, None, silent)
    with pytest.raises(IncompatibleDictionaryError, match="lm_digest"):
        evaluate_dictionary(tiny, lm, replace(run, other=stranger), None, silent)
    fitted = replace(run, training=None, control_rows=10)
    with pytest.raises(InvalidRequestError, match="controls"):
        evaluate_dictionary(tiny, lm, fitted, None, silent)
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps({"schema_version": 2}))
    with pytest.raises(CorruptInputError, match="no evaluation"):
        read_evaluation(file)
