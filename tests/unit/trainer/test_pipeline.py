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
from ribolex.dictionary.identity import Level
from ribolex.errors import InvalidRequestError
from ribolex.lm import LanguageModel
from ribolex.registry import FolderRegistry
from ribolex.registry.lineage import find_route
from ribolex.rna import Rna, write_rnas
from ribolex.trainer.begin import Target
from ribolex.trainer.cli import register
from ribolex.trainer.data import DataPlan, Source, TrainingData
from ribolex.trainer.evaluation import read_evaluation
from ribolex.trainer.fit import FitPlan, ObjectiveName
from ribolex.trainer.pipeline import Outcome, Progress, Training
from ribolex.trainer.plan import TrainPlan
from ribolex.trainer.publish import GateLimits
from ribolex.trainer.stopping import Stop

DrawRnas = Callable[..., list[Rna]]
# Of a random language model no layer is worth anything: nothing to recover.
GENEROUS = GateLimits(
    fvu=0.99, dead_fraction=0.99, dense_fraction=1.0, loss_recovered=None
)


def silent(_: Progress) -> None:
    pass


Train = Callable[..., Outcome]


@pytest.fixture
def tables(tmp_path: Path, draw_rnas: DrawRnas) -> DataPlan:
    """Gives tables of RNAs to train on and to measure on."""
    write_rnas(tmp_path / "train.tsv.gz", draw_rnas(60))
    write_rnas(tmp_path / "validation.tsv.gz", draw_rnas(20, seed=1))
    return DataPlan([tmp_path / "train.tsv.gz"], tmp_path / "validation.tsv.gz")


@pytest.fixture
def train(tables: DataPlan, lm: LanguageModel, tmp_path: Path) -> Train:
    """Gives a function that makes a dictionary from beginning to end."""

    def run(
        plan: TrainPlan,
        registry: FolderRegistry,
        workdir: Path = tmp_path / "work",
        **changes: Any,
    ) -> Outcome:
        data = TrainingData(replace(tables, **changes), lm)
        training = Training(plan, data, registry, workdir / "test")
        data.collect([plan.reading], workdir / "activations", lambda *_: None)
        outcome = training.run(silent, Stop())
        assert outcome is not None
        assert training.known() == outcome._replace(
            is_known=True,
            published=outcome.published and outcome.published._replace(is_new=False),
        )
        return outcome

    return run


@pytest.fixture
def plan() -> TrainPlan:
    return TrainPlan(
        name="test",
        layer=1,
        fit=FitPlan(64, 4, 20_000, batch_rows=100, learning_rate=3e-3),
        limits=GENEROUS,
    )


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "registry")


def test_what_passes_is_published_and_current(
    plan: TrainPlan, train: Train, lm: LanguageModel, registry: FolderRegistry
) -> None:
    outcome = train(plan, registry)
    assert outcome.published == ("test@1", True)
    found = registry.get("test")
    identity = found.identity
    assert (identity.lm_digest, identity.layer, identity.k) == (lm.digest, 1, 4)
    assert (identity.d_in, identity.n_features) == (32, 64)
    evaluation = read_evaluation(outcome.candidate / "evaluation.json")
    assert identity.metrics["fvu"] == evaluation.reconstruction.fvu
    assert identity.metrics["pca_fvu"] > 0
    assert identity.metrics["fvu"] < identity.metrics["random_decoder_fvu"]
    assert [gate.metric for gate in identity.gates] == [
        "fvu",
        "dead_fraction",
        "dense_fraction",
        "panel_differing",
    ]
    assert len(found.panel.codes) == sum(map(len, found.panel.sequences))
    assert found.features.density.max() > 0


def test_what_is_there_is_not_published_twice(
    plan: TrainPlan, train: Train, registry: FolderRegistry, tmp_path: Path
) -> None:
    train(plan, registry)
    again = train(plan, registry, tmp_path / "other")
    assert again.published == ("test@1", False)
    stricter = replace(plan, limits=replace(GENEROUS, fvu=0.9))
    assert train(stricter, registry).published == ("test@1", False)
    assert [entry.ref for entry in registry.list()] == ["test@1"]


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
    train: Train,
    registry: FolderRegistry,
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
    outcome = train(strict, registry)
    assert outcome.published is None
    assert [gate.metric for gate in outcome.failed] == list(limits)
    assert registry.list() == []
    left = load_dictionary(outcome.candidate)
    assert list(left.identity.gates)
    assert set(outcome.failed) <= set(left.identity.gates)


@pytest.mark.parametrize("objective", ["relu", "topk", "batchtopk", "matryoshka"])
@pytest.mark.parametrize("target", ["same", "difference"])
def test_every_objective_publishes_what_can_be_loaded(
    plan: TrainPlan,
    train: Train,
    registry: FolderRegistry,
    objective: ObjectiveName,
    target: Target,
) -> None:
    fit = replace(plan.fit, objective=objective, target=target, n_rows=4000)
    other = None if target == "same" else 2
    limits = replace(GENEROUS, fvu=2.0)
    plan = replace(plan, fit=fit, target_layer=other, limits=limits)
    assert train(plan, registry).published == ("test@1", True)
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


@pytest.mark.parametrize("source", ["cache", "model"])
@pytest.mark.parametrize("level", ["nucleotide", "sequence"])
def test_rows_come_from_a_cache_or_the_model(
    plan: TrainPlan,
    train: Train,
    registry: FolderRegistry,
    source: Source,
    level: Level,
) -> None:
    fit = replace(plan.fit, n_rows=4000, batch_rows=20)
    limits = replace(GENEROUS, fvu=2.0)
    plan = replace(plan, level=level, fit=fit, limits=limits)
    train(plan, registry, source=source, n_described=400)
    found = registry.get("test")
    assert found.identity.level == level
    n_firings = found.features.density.sum()
    assert n_firings == pytest.approx(4, abs=1e-3)  # k of them on every row
    examples = found.features.examples_of(int(found.features.density.argmax()))
    assert all(bool(each.positions) == (level == "nucleotide") for each in examples)


def test_target_layer_and_target_go_together(plan: TrainPlan) -> None:
    with pytest.raises(InvalidRequestError, match="target_layer: 2"):
        replace(plan, target_layer=2)


def test_second_version_knows_its_ancestors(
    plan: TrainPlan, train: Train, registry: FolderRegistry, tmp_path: Path
) -> None:
    """Trained a little longer from the same seed, most features are found again."""
    train(plan, registry)
    longer = replace(plan, fit=replace(plan.fit, n_rows=plan.fit.n_rows + 500))
    assert train(longer, registry).published == ("test@2", True)
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
    way = find_route(registry.list(), second, first)
    assert way.path == ("test@2", "test@1")
    card = (tmp_path / "registry" / "test" / "2" / "README.md").read_text()
    assert "variance unexplained" in card
    assert "random decoder" in card


def test_the_same_seed_gives_the_same_dictionary(
    plan: TrainPlan, train: Train, tmp_path: Path
) -> None:
    ids = []
    for run in ("one", "two"):
        folder = tmp_path / run
        registry = FolderRegistry(folder / "registry")
        train(plan, registry, folder / "work")
        ids.append(registry.get("test").content_id)
    assert ids[0] == ids[1]


def test_command_trains_and_prints_the_table(
    tables: DataPlan, tiny_model: Path, tmp_path: Path
) -> None:
    app = typer.Typer()
    register(app)
    options = {
        "--lm": tiny_model,
        "--rnas": tables.rnas[0],
        "--validation": tables.validation,
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
    # Of a random language model there is nothing to recover.
    assert result.exit_code == 3
    assert "cli is not published: gate loss_recovered got" in result.output
    load_dictionary(tmp_path / "work" / "dictionaries" / "cli" / "candidate")
