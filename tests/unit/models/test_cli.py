"""`ribolex models`: what a user types, and what is there then."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from tests.unit.models.conftest import GOLDEN, NAME, OFFICIAL, Publisher
from typer.testing import CliRunner, Result

from ribolex.errors import (
    CorruptArtefactError,
    CorruptInputError,
    InvalidRequestError,
    ModelNotFoundError,
)
from ribolex.lm import load_lm
from ribolex.models.cli import register


def run(*arguments: object, columns: int = 80) -> Result:
    """Gives what `ribolex models ARGUMENTS` does on a terminal so wide."""
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    texts = ["models", *map(str, arguments)]
    return CliRunner().invoke(app, texts, env={"COLUMNS": str(columns)})


def facts(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("cache")
def test_list_tells_what_is_known_and_what_is_here() -> None:
    before = {row["model"]: row for row in facts("list")}
    assert list(before)[:5] == ["bundled", "rinalmo-nano", "rinalmo-micro",
                                "rinalmo-mega", "rinalmo-giga"]  # fmt: skip
    assert before["rinalmo-giga"]["n_parameters"] == 650_901_793
    assert before[NAME]["here"] is None
    assert [s["name"] for s in before[NAME]["sources"]] == ["official", "multimolecule"]
    assert run("pull", NAME).exit_code == 0
    after = {row["model"]: row for row in facts("list")}
    assert after[NAME]["here"] == "official"
    assert after[NAME]["size_bytes"] == OFFICIAL.stat().st_size
    lines = run("list").stdout.splitlines()
    assert len(lines) == 1 + len(after)
    assert all(len(line.rstrip()) <= 80 for line in lines)


@pytest.mark.usefixtures("cache")
def test_pull_says_where_it_lies_and_what_was_verified(publisher: Publisher) -> None:
    done = run("pull", NAME)
    assert f"{NAME} is in the cache" in done.stdout
    assert f"md5 {publisher.md5}, as stated by {publisher.url}/api" in done.stdout
    assert "CC BY 4.0" in done.stdout
    assert "was in the cache already, undamaged" in run("pull", NAME).stdout


@pytest.mark.usefixtures("cache")
def test_pull_from_a_file_asks_nobody(publisher: Publisher) -> None:
    assert run("pull", NAME, "--from", OFFICIAL).exit_code == 0
    assert publisher.asked == []
    assert load_lm(NAME).config.d_model == 80


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "x", "--source", "official"], "goes without"),
        (["--sha256", "abc"], "64 hexadecimal digits"),
        (["--source", "nobody"], "multimolecule"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_options_that_cannot_be_are_refused(arguments: list[str], told: str) -> None:
    done = run("pull", NAME, *arguments)
    assert done.exit_code == 2
    assert told in done.output


def test_info_of_a_pulled_model_finds_later_damage(cache: Path) -> None:
    run("pull", NAME)
    told = facts("info", NAME)
    assert told["weights_digest"] == load_lm(NAME).digest
    assert told["verified"][0]["algorithm"] == "md5"
    assert "CC BY 4.0" in told["licence"]
    assert "Penić" in told["credit"]
    file = Path(told["here"])
    assert file.is_relative_to(cache)
    assert told["weights_digest"] in run("info", NAME).stdout
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = run("info", NAME)
    assert isinstance(damaged.exception, CorruptArtefactError)


@pytest.mark.usefixtures("cache")
def test_info_of_a_model_that_is_not_here_says_how_to_get_it() -> None:
    assert "ribolex models pull rinalmo-giga" in facts("info", "rinalmo-giga")["here"]
    assert "nobody publishes them" in facts("info", "rinalmo-nano")["here"]
    assert isinstance(run("info", "nan").exception, ModelNotFoundError)


def test_info_of_a_path_reads_it(tmp_path: Path) -> None:
    told = facts("info", GOLDEN / "multimolecule_layout")
    assert (told["layout"], told["d_model"], told["n_layers"], told["n_heads"]) == (
        "multimolecule", 80, 3, 20,
    )  # fmt: skip
    assert told["weights_digest"] == facts("info", OFFICIAL)["weights_digest"]
    (tmp_path / "x.pt").write_bytes(b"x")
    assert isinstance(run("info", tmp_path / "x.pt").exception, CorruptInputError)
    assert facts("info", "bundled")["model"] == "ribolex-mini"


@pytest.mark.parametrize("source", [OFFICIAL, GOLDEN / "multimolecule_layout"])
def test_converted_weights_are_the_same_model(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "new" / "golden"
    assert run("convert", source, out).exit_code == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert [file.name for file in out.parent.iterdir()] == ["golden"]
    before, after = load_lm(source), load_lm(out)
    assert (after.digest, after.config) == (before.digest, before.config)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_converting_to_fewer_bits_tells_what_it_cost(
    tmp_path: Path, dtype: str
) -> None:
    done = run("convert", OFFICIAL, tmp_path / "small", "--dtype", dtype)
    assert "rounding moved weights by at most" in done.stdout
    tensors = load_file(tmp_path / "small" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {getattr(torch, dtype)}
    rna = ["GGGAAACCC"]
    small, whole = (
        load_lm(tmp_path / "small").logits(rna),
        load_lm(OFFICIAL).logits(rna),
    )
    np.testing.assert_allclose(small[0], whole[0], atol=0.1)


def test_convert_writes_over_nothing_and_leaves_nothing_half(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    done = run("convert", OFFICIAL, tmp_path / "there")
    assert isinstance(done.exception, InvalidRequestError)
    state = torch.load(OFFICIAL, weights_only=True)
    state["embedding.weight"] += 1e6
    torch.save(state, tmp_path / "large.pt")
    done = run("convert", tmp_path / "large.pt", tmp_path / "out", "--dtype", "float16")
    assert "float16 cannot hold" in str(done.exception)
    assert not (tmp_path / "out").exists()
