"""From tables of RNAs to a published dictionary; a failed gate publishes nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ribolex.dictionary import load_dictionary
from ribolex.errors import DictionaryExistsError, InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.rna import Rna, write_rnas
from ribolex.trainer.begin import Target
from ribolex.trainer.cli import register
from ribolex.trainer.fit import FitPlan, ObjectiveName
from ribolex.trainer.pipeline import Stage, TrainPlan, train
from ribolex.trainer.publish import GateLimits

DrawRnas = Callable[..., list[Rna]]
# Of a random language model no layer is worth anything: nothing to recover.
GENEROUS = GateLimits(
    fvu=0.99, dead_fraction=0.99, dense_fraction=1.0, loss_recovered=None
)


def silent(_: Stage) -> None:
    pass


@pytest.fixture
def plan(tmp_path: Path, draw_rnas: DrawRnas) -> TrainPlan:
    write_rnas(tmp_path / "train.tsv.gz", draw_rnas(60))
    write_rnas(tmp_path / "validation.tsv.gz", draw_rnas(20, seed=1))
    return TrainPlan(
        name="test",
        rnas=[tmp_path / "train.tsv.gz"],
        validation=tmp_path / "validation.tsv.gz",
        layer=1,
        fit=FitPlan(64, 4, 20_000, batch_rows=100, learning_rate=3e-3),
        limits=GENEROUS,
    )


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "registry")


def test_what_passes_is_published_and_current(
    plan: TrainPlan, lm: LanguageModel, registry: FolderRegistry, tmp_path: Path
) -> None:
    outcome = train(plan, lm, registry, tmp_path / "work", silent)
    assert outcome is not None
    assert outcome.ref == "test@1"
    found = registry.get("test")
    identity = found.identity
    assert (identity.lm_digest, identity.layer, identity.k) == (lm.digest, 1, 4)
    assert (identity.d_in, identity.n_features) == (32, 64)
    assert identity.metrics["fvu"] == outcome.checked.evaluation.reconstruction.fvu
    assert identity.metrics["pca_fvu"] > 0
    assert identity.metrics["fvu"] < identity.metrics["random_decoder_fvu"]
    assert [gate.metric for gate in identity.gates] == [
        "fvu",
        "dead_fraction",
        "dense_fraction",
        "panel_differing",
    ]
    assert len(found.panel.codes) == sum(map(len, found.panel.sequences))
    with pytest.raises(DictionaryExistsError):
        train(plan, lm, registry, tmp_path / "work", silent)


@pytest.mark.parametrize(
    "limits",
    [
        {"fvu": 0.001},
        {"dead_fraction": -1.0},
        {"dense_fraction": -1.0},
        {"loss_recovered": 100.0},
        {"panel_differing": -1.0},
    ],
)
def test_failed_gate_publishes_nothing(
    plan: TrainPlan,
    lm: LanguageModel,
    registry: FolderRegistry,
    tmp_path: Path,
    limits: dict[str, Any],
) -> None:
    fields = {name: getattr(GENEROUS, name) for name in GateLimits.__slots__}
    strict = TrainPlan(
        **{
            **{name: getattr(plan, name) for name in TrainPlan.__slots__},
            "limits": GateLimits(**{**fields, **limits}),
            "fit": FitPlan(64, 4, 200, batch_rows=100),
        }
    )
    outcome = train(strict, lm, registry, tmp_path / "work", silent)
    assert outcome is not None
    assert outcome.ref is None
    assert [gate.metric for gate in outcome.checked.failed] == list(limits)
    assert registry.list() == []


@pytest.mark.parametrize("objective", ["relu", "topk", "batchtopk", "matryoshka"])
@pytest.mark.parametrize("target", ["same", "difference"])
def test_every_objective_publishes_what_can_be_loaded(
    plan: TrainPlan,
    lm: LanguageModel,
    registry: FolderRegistry,
    tmp_path: Path,
    objective: ObjectiveName,
    target: Target,
) -> None:
    fit = replace(plan.fit, objective=objective, target=target, n_rows=4000)
    other = None if target == "same" else 2
    limits = replace(GENEROUS, fvu=2.0)
    plan = replace(plan, fit=fit, target_layer=other, limits=limits)
    outcome = train(plan, lm, registry, tmp_path / "work", silent)
    assert outcome is not None
    assert outcome.ref == "test@1"
    found = registry.get("test")
    identity = found.identity
    assert identity.kind == ("sae" if other is None else "transcoder")
    is_topk = objective == "topk" and other is None
    assert identity.activation == ("topk" if is_topk else "jumprelu")
    assert ("cap_cut" in identity.metrics) != is_topk
    assert 0 <= identity.metrics.get("cap_cut", 0.0) <= 1
    if other is None:
        assert identity.target is None
    else:
        assert identity.target is not None
        assert (identity.target.layer, identity.target.is_difference) == (2, True)
        assert found.mean.tolist() != list(identity.standardisation.mean)


def test_target_layer_and_target_go_together(
    plan: TrainPlan, lm: LanguageModel, registry: FolderRegistry, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequestError, match="target_layer: 2"):
        train(replace(plan, target_layer=2), lm, registry, tmp_path, silent)


def test_second_version_knows_its_ancestors(
    plan: TrainPlan, lm: LanguageModel, registry: FolderRegistry, tmp_path: Path
) -> None:
    """Trained a little longer from the same seed, most features are found again."""
    train(plan, lm, registry, tmp_path / "work", silent)
    longer = replace(plan, fit=replace(plan.fit, n_rows=plan.fit.n_rows + 500))
    outcome = train(longer, lm, registry, tmp_path / "work", silent)
    assert outcome is not None
    assert outcome.ref == "test@2"
    first, second = registry.get("test@1"), registry.get("test@2")
    assert first.identity.ancestor == ""
    assert (first.features.ancestor == -1).all()
    assert second.identity.ancestor == first.content_id
    found = second.features.ancestor
    kept = found >= 0
    assert kept.mean() > 0.3
    assert (found[kept] == np.flatnonzero(kept)).mean() > 0.8
    assert (second.features.ancestor_confidence[kept] >= 0.5).all()
    assert (second.features.ancestor_confidence[~kept] == 0).all()
    card = (tmp_path / "registry" / "test" / "2" / "README.md").read_text()
    assert "variance unexplained" in card
    assert "random decoder" in card


def test_the_same_seed_gives_the_same_dictionary(
    plan: TrainPlan, lm: LanguageModel, tmp_path: Path
) -> None:
    ids = []
    for run in ("one", "two"):
        folder = tmp_path / run
        registry = FolderRegistry(folder / "registry")
        train(plan, lm, registry, folder / "work", silent)
        ids.append(registry.get("test").content_id)
    assert ids[0] == ids[1]


def test_command_trains_and_prints_the_table(
    plan: TrainPlan, tiny_model: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    register(app)
    options = {
        "--lm": tiny_model,
        "--rnas": plan.rnas[0],
        "--validation": plan.validation,
        "--name": "cli",
        "--layer": 1,
        "--features": 64,
        "--k": 4,
        "--tokens": 20_000,
        "--batch-rows": 100,
        "--learning-rate": 3e-3,
        "--registry": tmp_path / "registry",
        "--workdir": tmp_path / "work",
    }
    arguments = [str(part) for option in options.items() for part in option]
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["train", *arguments])
    assert "variance unexplained" in result.output, result.output
    assert "random decoder" in result.output
    if result.exit_code == 0:
        assert "published cli@1" in result.output
        load_dictionary(tmp_path / "registry" / "cli" / "1")
    else:
        assert "not published" in result.output
