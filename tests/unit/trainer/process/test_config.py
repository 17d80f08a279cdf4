"""A configuration names the key at fault and what was expected of it."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ribolex.errors import CorruptInputError, InvalidRequestError
from ribolex.trainer.cli import register
from ribolex.trainer.evaluation import EvaluationPlan
from ribolex.trainer.fit import FitPlan
from ribolex.trainer.process import TrainerConfig, make_config, read_config
from ribolex.trainer.process.corpora import demand
from ribolex.trainer.publish import GateLimits

LEAST = '[corpus]\nfolder = "c"\n[[dictionary]]\nname = "d"\n'


def read(tmp_path: Path, text: str) -> TrainerConfig:
    file = tmp_path / "trainer.toml"
    file.write_text(text)
    return read_config(file)


@pytest.mark.parametrize(("said", "expected"), [("threads = 5\n", 5), ("", 3)])
def test_threads_are_those_asked_for_or_what_a_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, expected: int
) -> None:
    given: list[int] = []
    monkeypatch.setattr("ribolex.lm.sensible_threads", lambda: 3)
    monkeypatch.setattr("torch.set_num_threads", given.append)
    read(tmp_path, said + LEAST)
    app = typer.Typer()
    register(app)
    file = str(tmp_path / "trainer.toml")
    result = CliRunner().invoke(app, ["trainer", "run", file, "--log-format", "json"])
    assert result.exit_code == 1, result.output
    assert given == [expected]


def test_the_example_holds_every_default(tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["trainer", "init"])
    assert result.exit_code == 0
    found = read(tmp_path, result.output)
    plain = read(
        tmp_path,
        '[corpus]\ninputs = ["rnas/*.fa"]\n'
        '[[dictionary]]\nname = "mine-l{layer}"\nlayers = [2, 4, 6]\n',
    )
    assert found == plain
    tables: dict[str, Any] = plain.model_dump()
    tables["dictionary"] = tables["dictionary"][0]
    tables["metrics"] = {"port": 9470, "host": "127.0.0.1"}
    keys = [
        key for value in tables.values() if isinstance(value, dict) for key in value
    ]
    assert [key for key in [*tables, *keys] if key not in result.output] == []


def test_several_layers_make_several_dictionaries(tmp_path: Path) -> None:
    text = LEAST.replace('"d"', '"d-l{layer}"\nlayers = [2, 4]')
    found = read(tmp_path, text).dictionaries()
    assert [(each.name, each.layer) for each in found] == [("d-l2", 2), ("d-l4", 4)]


def test_paths_go_from_the_folder_of_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, 'registry = "r"\n' + LEAST + '[model]\nname = "./m"\n')
    assert found.registry == str(tmp_path / "r")
    assert found.corpus.folder == tmp_path / "c"
    assert found.workdir == tmp_path / "training"
    assert Path(found.model.name) == tmp_path / "m"
    for place in ("redis://h/0?artefacts=/a", "bundled"):
        assert read(tmp_path, f'registry = "{place}"\n' + LEAST).registry == place


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LEAST + "kk = 3\n", "dictionary[0].kk: no such key"),
        (LEAST + "k = -1\n", "dictionary[0].k: found -1, expected greater than 0"),
        (LEAST + "k = true\n", "dictionary[0].k: found True, expected a valid integer"),
        (LEAST + 'objective = "l2"\n', "dictionary[0].objective: found 'l2', expected"),
        (LEAST + 'hook = "neat"\n', "dictionary[0].hook: found 'neat', expected"),
        (LEAST + "difference = true\n", "dictionary[0]: difference, but to which"),
        (
            LEAST + "layers = [1, 2]\n",
            "dictionary[0]: several layers, expected {layer}",
        ),
        (LEAST.replace('"d"', '"../d"'), "dictionary[0].name: found '../d', expected"),
        (LEAST + '[[dictionary]]\nname = "d"\n', "two dictionaries called d"),
        ("[corpus]\nfolder = 'c'\n", "dictionary: is missing"),
        ("dictionary = []\n[corpus]\nfolder = 'c'\n", "dictionary: "),
        ("[[dictionary]]\nname = 'd'\n", "corpus: is missing"),
        (LEAST.replace("folder", "inputs"), "corpus.inputs: found 'c', expected"),
        (LEAST.replace('folder = "c"', ""), "corpus: expected one of"),
        (LEAST.replace('"c"', '"c"\ninputs = ["x"]'), "corpus: expected one of"),
        (LEAST.replace("folder", "validation"), "corpus: expected one of"),
        (LEAST + "[gates]\nfvu = true\n", "gates.fvu: found True, expected"),
        (
            LEAST + "[watch]\nmin_growth = 2.0\n",
            "watch.min_growth: found 2.0, expected",
        ),
        ('device = "tpu"\n' + LEAST, "device: found 'tpu'"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert "trainer.toml" in str(caught.value)


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(tmp_path, "what = 1\n" + LEAST + "k = 0\n")
    assert "what: no such key" in str(caught.value)
    assert "dictionary[0].k" in str(caught.value)


@pytest.mark.parametrize("content", [b"[corpus", b"\xff\xfe"])
def test_what_is_no_toml_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "trainer.toml"
    with pytest.raises(CorruptInputError, match="cannot be read"):
        read_config(file)
    file.write_bytes(content)
    with pytest.raises(CorruptInputError, match="is no TOML"):
        read_config(file)


def test_defaults_are_those_of_the_plans() -> None:
    config = make_config(
        {"corpus": {"folder": "c"}, "dictionary": [{"name": "d"}]}, "here"
    )
    for ours, theirs in (
        (config.gates, GateLimits()),
        (config.evaluation, EvaluationPlan()),
    ):
        known = {field.name: getattr(theirs, field.name) for field in fields(theirs)}
        known.pop("seed", None)
        assert ours.model_dump() == known
    plan, said = FitPlan(1, 1, 1), config.dictionary[0]
    for name in ("objective", "batch_rows", "l1", "orthogonality", "seed"):
        assert getattr(said, name) == getattr(plan, name)
    assert said.checkpoint_steps == plan.checkpoint_steps


@pytest.mark.parametrize(
    ("corpus", "missing"),
    [
        ('train = ["here.tsv"]\nvalidation = "away.tsv"', "away.tsv"),
        ('inputs = ["here.tsv", "*.fa"]', r"\*\.fa"),
        ('inputs = ["here.tsv"]\nlabels = "away.tsv"', "away.tsv"),
        ('folder = "c"', "c/corpus.json"),
    ],
)
def test_a_check_names_the_file_that_is_not_there(
    tmp_path: Path, corpus: str, missing: str
) -> None:
    (tmp_path / "here.tsv").write_text("name\tsequence\n")
    config = read(tmp_path, f'[corpus]\n{corpus}\n[[dictionary]]\nname = "d"\n').corpus
    with pytest.raises((CorruptInputError, InvalidRequestError), match=missing):
        demand(config)
